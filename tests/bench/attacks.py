"""PGD with 10 steps, on the same model and images: ours, the least it can cost unprepared, and three other libraries.

The others get the network as their users do: normalisation in front, eval mode, parameters as they come.
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from engine.attacks import runner
from engine.attacks.spec import make_spec
from engine.serving.prepare import prepared
from engine.zoo.classifier import Classifier
from tests.bench.alone import attack_alone
from tests.bench.timing import Candidates, interleaved, where

EPS = 2 / 255
STEPS = 10
ALPHA = 2.5 * EPS / STEPS
SIDE = 224
ARCHS = ("resnet18", "densenet121")
CLASSES = ("a", "b", "c")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LIMIT = f"{STEPS} x (forward + backward to the input)"
# What Perturbscope may take at most of the others' time on a CPU, by network.
TARGETS = {
    "resnet18": {LIMIT: 1.0, "torchattacks": 0.82, "foolbox": 0.57, "ART": 0.53},
    "densenet121": {LIMIT: 1.0, "torchattacks": 1.0, "foolbox": 1.0, "ART": 1.0},
}
IMAGES_ONLY = "Perturbscope: the attack alone"
WHOLE = "Perturbscope: whole run, with three verdicts on the original model"


class Normalise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def _network(arch: str) -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.get_model(arch, weights=None, num_classes=len(CLASSES)).eval()


def _batch(size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(size, 3, SIDE, SIDE, generator=generator), torch.arange(size) % len(CLASSES)


def _ours(classifier: Classifier, images: Tensor, labels: Tensor, device: str,
          numerics: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """The attack alone on the prepared model, and the whole run."""
    spec = make_spec("pgd", eps=EPS, batch=len(images), numerics=numerics, params={"steps": STEPS})
    fast = prepared(classifier, torch.device(device), draft=numerics == "draft")

    def whole() -> object:
        return runner.run_attack(spec, classifier, images, labels, device=device)

    return lambda: attack_alone(spec, fast, images.to(device), labels.to(device)), whole


def _plain(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], object]:
    def passes() -> None:
        for _ in range(STEPS):
            x = images.detach().requires_grad_(True)
            torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)

    return passes


def _others(module: nn.Module, images: Tensor, labels: Tensor, device: str) -> Candidates:
    import foolbox
    import torchattacks
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    theirs = torchattacks.PGD(module, eps=EPS, alpha=ALPHA, steps=STEPS)
    fb_model = foolbox.PyTorchModel(module, bounds=(0, 1), device=device)
    fb = foolbox.attacks.LinfPGD(abs_stepsize=ALPHA, steps=STEPS)
    art_model = PyTorchClassifier(module, loss=nn.CrossEntropyLoss(), input_shape=tuple(images.shape[1:]),
                                  nb_classes=len(CLASSES), clip_values=(0, 1),
                                  device_type="gpu" if device == "cuda" else "cpu")
    art = ProjectedGradientDescentPyTorch(art_model, norm=np.inf, eps=EPS, eps_step=ALPHA, max_iter=STEPS,
                                          num_random_init=1, batch_size=len(images), verbose=False)
    here, truth = images.to(device), labels.to(device)
    array, one_hot = images.numpy(), np.eye(len(CLASSES), dtype=np.float32)[labels.numpy()]
    return {
        "torchattacks": lambda: theirs(here, truth),
        "foolbox": lambda: fb(fb_model, here, truth, epsilons=EPS),
        "ART": lambda: art.generate(array, one_hot),
    }


def _candidates(arch: str, size: int, device: str) -> Candidates:
    images, labels = _batch(size)
    classifier = Classifier(_network(arch), CLASSES, mean=MEAN, std=STD, arch=arch)
    frozen = nn.Sequential(Normalise(), _network(arch)).requires_grad_(False).to(device)
    alone, whole = _ours(classifier, images, labels, device, "fast")
    found: Candidates = {LIMIT: _plain(frozen, images.to(device), labels.to(device)), IMAGES_ONLY: alone, WHOLE: whole}
    if device == "cuda":
        found["Perturbscope: bf16 draft, the attack alone"], _ = _ours(classifier, images, labels, device, "draft")
    return found | _others(nn.Sequential(Normalise(), _network(arch)).eval().to(device), images, labels, device)


def _table(fastest: dict[str, float], size: int, targets: dict[str, float]) -> list[str]:
    limit, ours = fastest[LIMIT], fastest[IMAGES_ONLY]
    lines = ["| | seconds | images/s | of the limit | Perturbscope takes | wanted |",
             "| --- | --: | --: | --: | --: | --: |"]
    for name, seconds in fastest.items():
        wanted = f"at most {targets[name]:.2f}" if name in targets else ""
        lines.append(f"| {name} | {seconds:.3f} | {size / seconds:.1f} | {seconds / limit:.2f} | {ours / seconds:.2f} "
                     f"| {wanted} |")
    return lines


def _measured(arch: str, device: str, size: int, rounds: int) -> str:
    gpu = device == "cuda"
    lines = [f"## PGD-10 on {arch}, {'GPU' if gpu else 'CPU'}", "",
             f"{STEPS} steps, random start, {size} images of 3 x {SIDE} x {SIDE} in one batch, random weights, fastest "
             f"of {rounds} rounds.", "", f"Machine: {where(device)}.", ""]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other libraries' own
        fastest = interleaved(_candidates(arch, size, device), rounds)
    return "\n".join(lines + _table(fastest, size, {} if gpu else TARGETS[arch]))


def on_cpu(arch: str, quick: bool) -> str:
    """PGD-10 in float32 on the processor; `quick` only shows that it runs."""
    size, rounds = (2, 1) if quick else (16, 5)
    return _measured(arch, "cpu", size, rounds)


def on_gpu(arch: str, quick: bool) -> str | None:
    """The same on a CUDA GPU, float32 and bf16; None where there is none."""
    if not torch.cuda.is_available():
        return None
    size, rounds = (16, 2) if quick else (128, 4)
    return _measured(arch, "cuda", size, rounds)
