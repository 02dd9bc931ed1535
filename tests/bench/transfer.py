"""What PGN, SIA and STM cost beyond the forward and backward passes they are made of."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

import engine
from engine.attacks.base import ATTACKS
from engine.attacks.spec import make_spec
from engine.params import build
from engine.serving.prepare import prepared
from engine.zoo.classifier import Classifier
from tests.bench.alone import attack_alone
from tests.bench.timing import interleaved, where

MODEL, DATA = "phantom-cxr/resnet18", "phantom-cxr"
SIZE, GPU_SIZE = 16, 64
EPS = 2 / 255
PLAIN, PREPARED = "on the model as it is", "on the prepared model"
WANTED = "at most 1.10"
SETTINGS: dict[str, dict[str, object]] = {
    "pgn": {"steps": 2, "neighbours": 4},
    "sia": {"steps": 2, "copies": 8},
    "stm": {"steps": 2, "copies": 8},
}


def _passes(model: Classifier, images: Tensor, labels: Tensor, count: int) -> Callable[[], object]:
    def run() -> None:
        for _ in range(count):
            x = images.detach().requires_grad_(True)
            with torch.enable_grad():
                torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)

    return run


def on_cpu(quick: bool) -> str:
    """One table for the three attacks; `quick` only shows that it runs."""
    size, rounds = (2, 1) if quick else (SIZE, 2)
    return _measured("cpu", size, rounds)


def on_gpu(quick: bool) -> str | None:
    """The same on a CUDA GPU; None where there is none."""
    if not torch.cuda.is_available():
        return None
    size, rounds = (2, 1) if quick else (GPU_SIZE, 5)
    return _measured("cuda", size, rounds)


def _measured(device: str, size: int, rounds: int) -> str:
    gpu = device == "cuda"
    plain, data = engine.load_model(MODEL).to(device), engine.load_dataset(DATA, "test")
    images, labels = (torch.from_numpy(some).to(device) for some in (data.images(range(size)), data.labels[:size]))
    fast = prepared(plain, torch.device(device))
    lines = [f"## Transfer attacks on resnet18, {'GPU' if gpu else 'CPU'}", "",
             f"{size} phantoms of 224 x 224 in one batch; 16 gradients each, against as many bare forward and backward "
             "passes.", "", f"Machine: {where(device)}.", "",
             f"| | seconds | of the passes {PLAIN} | of the passes {PREPARED} | wanted |",
             "| --- | --: | --: | --: | --: |"]
    for attack, params in SETTINGS.items():
        spec = make_spec(attack, eps=EPS, batch=size, params=params)
        count = build(ATTACKS[attack], spec.params).cost().gradients
        took = interleaved({
            PLAIN: _passes(plain, images, labels, count),
            PREPARED: _passes(fast, images, labels, count),
            attack: lambda spec=spec: attack_alone(spec, fast, images, labels),
        }, rounds, warm_up=int(gpu))
        lines.append(f"| {ATTACKS[attack].info.title} | {took[attack]:.{3 if gpu else 2}f} "
                     f"| {took[attack] / took[PLAIN]:.2f} | {took[attack] / took[PREPARED]:.2f} "
                     f"| {'' if gpu else WANTED} |")
    return "\n".join(lines)
