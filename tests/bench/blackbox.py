"""HopSkipJump, Boundary and Square at equal queries: how many images a second the model sees, of what it could see.

All attack the same trained network, and a model that counts ends each run of the others once the budget is spent.
"""

import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import engine
from engine.attacks.base import Others
from engine.attacks.spec import AttackSpec, make_spec
from engine.serving.prepare import prepared
from engine.zoo.classifier import Classifier
from tests.bench.alone import attack_alone
from tests.bench.timing import interleaved, where

MODEL, DATA = "phantom-cxr/resnet18", "phantom-cxr"
EPS = 0.05 / 255  # of Square: so little that no image is fooled and none stops early
TITLES = {"hopskipjump": "HopSkipJump", "boundary": "Boundary attack", "square": "Square attack"}
SIDE = 224
FORWARD = "forward passes alone, in batches of {}"
BATCHES = (8, 16, 32, 64)
GPU_BATCHES = (32, 128, 512)
FORWARD_ROUNDS = 4  # how often each image goes through in those
OURS = "Perturbscope"
WANTED = 0.95


class Enough(Exception):
    """The budget is spent."""


class Metered(nn.Module):
    """Shows `left` images to the model, then ends the run."""

    def __init__(self, model: nn.Module, left: int) -> None:
        super().__init__()
        self.model, self.left = model, left

    def forward(self, x: Tensor) -> Tensor:
        if self.left <= 0:
            raise Enough
        x = x[:self.left].float()
        self.left -= len(x)
        with torch.no_grad():
            logits = self.model(x)
        if self.left <= 0:
            raise Enough
        return logits


@dataclass(frozen=True)
class Scene:
    """Attacked images [N, 1, H, W], what the model takes them for, and for each an image of another class."""

    model: Classifier
    images: Tensor
    labels: Tensor
    starts: Tensor
    starts_labels: Tensor

    def until(self, queries: int, attack: Callable[[nn.Module], object]) -> Callable[[], int]:
        """`attack` on a model that ends it after `queries` for each image; returns how many images that saw."""
        def run() -> int:
            model = Metered(self.model, queries * len(self.images)).eval()
            with suppress(Enough):
                attack(model)
            return queries * len(self.images) - model.left

        return run


def _scene(size: int, device: str) -> Scene:
    model, data = engine.load_model(MODEL).to(device), engine.load_dataset(DATA, "test")
    images = torch.from_numpy(data.images(range(size))).to(device)
    with torch.no_grad():
        labels = model(images).argmax(1)
    others = [int((labels != label).nonzero()[0, 0]) for label in labels]
    return Scene(model, images, labels, images[others], labels[others])


def _spec(attack: str, queries: int, size: int) -> AttackSpec:
    eps = EPS if attack == "square" else None
    return make_spec(attack, eps=eps, norm="linf" if eps else "l2", batch=size, params={"queries": queries})


def _ours(scene: Scene, spec: AttackSpec) -> Callable[[], int]:
    model = prepared(scene.model, scene.images.device)
    others = Others(scene.starts, scene.starts_labels)
    return lambda: attack_alone(spec, model, scene.images, scene.labels, others)


def _foolbox(name: str, scene: Scene, **options: object) -> Callable[[nn.Module], object]:
    import foolbox

    theirs = getattr(foolbox.attacks, name)(**options)
    return lambda model: theirs.run(foolbox.PyTorchModel(model, bounds=(0, 1), device=scene.images.device),
                                    scene.images, foolbox.criteria.Misclassification(scene.labels),
                                    starting_points=scene.starts)


def _art(name: str, scene: Scene, starts: bool = True, **options: object) -> Callable[[nn.Module], object]:
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    one_hot = np.eye(len(scene.model.classes), dtype=np.float32)[scene.labels.cpu().numpy()]
    images, more = scene.images.cpu().numpy(), {"x_adv_init": scene.starts.cpu().numpy()} if starts else {}

    def attack(model: nn.Module) -> object:
        theirs = PyTorchClassifier(model, loss=nn.CrossEntropyLoss(), input_shape=scene.images.shape[1:],
                                   nb_classes=len(scene.model.classes), clip_values=(0, 1),
                                   device_type="gpu" if scene.images.is_cuda else "cpu")
        return getattr(evasion, name)(theirs, verbose=False, **options).generate(images, one_hot, **more)

    return attack


def _torchattacks(scene: Scene, queries: int) -> Callable[[nn.Module], object]:
    import torchattacks

    return lambda model: torchattacks.Square(model, eps=EPS, n_queries=10 * queries, n_restarts=100)(scene.images,
                                                                                                     scene.labels)


def _peers(attack: str, scene: Scene, queries: int) -> dict[str, Callable[[nn.Module], object]]:
    endless = 100 * queries
    return {
        "hopskipjump": lambda: {
            "foolbox": _foolbox("HopSkipJumpAttack", scene, steps=endless, constraint="l2"),
            "ART": _art("HopSkipJump", scene, norm=2, max_iter=endless)},
        "boundary": lambda: {
            "foolbox": _foolbox("BoundaryAttack", scene, steps=endless),
            "ART": _art("BoundaryAttack", scene, targeted=False, max_iter=endless)},
        "square": lambda: {
            "torchattacks": _torchattacks(scene, queries),
            "ART": _art("SquareAttack", scene, starts=False, eps=EPS, max_iter=endless, nb_restarts=100)},
    }[attack]()


def _forward(scene: Scene, batch: int) -> Callable[[], int]:
    images = torch.cat([scene.images] * FORWARD_ROUNDS)

    def run() -> int:
        with torch.no_grad():
            for some in images.split(batch):
                scene.model(some)
        return len(images)

    return run


def on_cpu(attack: str, quick: bool) -> str:
    """One attack's table; `quick` only shows that it runs."""
    return _measured(attack, "cpu", BATCHES, *((4, 20) if quick else (32, 60)))


def on_gpu(attack: str, quick: bool) -> str | None:
    """The same on a CUDA GPU; None where there is none."""
    if not torch.cuda.is_available():
        return None
    return _measured(attack, "cuda", GPU_BATCHES, *((4, 20) if quick else (32, 1_000)))


def _measured(attack: str, device: str, batches: tuple[int, ...], size: int, queries: int) -> str:
    scene = _scene(size, device)
    runs: dict[str, Callable[[], int]] = {FORWARD.format(batch): _forward(scene, batch) for batch in batches}
    runs[OURS] = _ours(scene, _spec(attack, queries, size))
    runs |= {name: scene.until(queries, run) for name, run in _peers(attack, scene, queries).items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other libraries' own
        rates = _rates(runs, warm_up=int(device == "cuda"))
    best = max(rate for name, rate in rates.items() if name.startswith("forward"))
    wanted = f"at least {WANTED}" if device == "cpu" else ""
    lines = [f"## {TITLES[attack]} on resnet18, {'GPU' if device == 'cuda' else 'CPU'}", "",
             f"{size} phantoms of {SIDE} x {SIDE} in one batch, {queries} queries each at most, starting points given.",
             "", f"Machine: {where(device)}.", "",
             "| | queries/s | of the best forward rate | wanted |", "| --- | --: | --: | --: |"]
    lines += [f"| {name} | {rate:.1f} | {rate / best:.2f} | {wanted if name == OURS else ''} |"
              for name, rate in rates.items()]
    return "\n".join(lines)


def _rates(runs: dict[str, Callable[[], int]], warm_up: int) -> dict[str, float]:
    """Images a second that the model saw in each, each run once, and before that `warm_up` times."""
    seen: dict[str, int] = {}

    def noting(name: str, run: Callable[[], int]) -> Callable[[], object]:
        return lambda: seen.update({name: run()})

    seconds = interleaved({name: noting(name, run) for name, run in runs.items()}, rounds=1, warm_up=warm_up)
    return {name: seen[name] / seconds[name] for name in runs}
