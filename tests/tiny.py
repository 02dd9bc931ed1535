"""Models and images so small that an attack on them can be followed by hand; a check that nothing is left behind."""

import copy
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.attacks import ATTACKS
from engine.attacks.batch import Memory
from engine.attacks.result import AttackResult
from engine.attacks.runner import Resources, run_attack
from engine.attacks.spec import make_spec
from engine.home import home
from engine.progress import Progress
from engine.work.lessons import StoredLessons
from engine.work.store import Store
from engine.zoo.classifier import Classifier

DEVICE = os.environ.get("PERTURBSCOPE_TEST_DEVICE", "cpu")


class Slope(nn.Module):
    """Logits [0, w·x - b] of flattened x: the loss of class 0 grows along w, whose sign and direction never change."""

    def __init__(self, w: tuple[float, ...], b: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))
        self.b = b

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1) @ self.w - self.b
        return torch.stack([torch.zeros_like(z), z], dim=1)


class Ridge(nn.Module):
    """Logits [0, -|x0 - top|] of the first pixel x0: the gradient turns round when a step passes the top."""

    def __init__(self, top: float) -> None:
        super().__init__()
        self.top = top

    def forward(self, x: Tensor) -> Tensor:
        z = -(x.flatten(1)[:, 0] - self.top).abs()
        return torch.stack([torch.zeros_like(z), z], dim=1)


def grey(module: nn.Module) -> Classifier:
    """`module` as a two-class classifier of grey images, without normalisation."""
    return Classifier(module, ("no", "yes"), channels=1)


def small_net(seed: int = 0, classes: int = 3) -> Classifier:
    """A convolutional network of random weights for [N, 1 or 3, H, W]."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                               nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                               nn.Linear(32, classes))
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(3)
    return Classifier(module, [f"class {i}" for i in range(classes)], mean=(0.4,) * 3, std=(0.2,) * 3)


def some_images(count: int = 4, channels: int = 3, size: int = 8, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


# Settings with which an attack is quick on tiny images, for the tests that run every attack.
QUICK: dict[str, dict[str, object]] = {
    # transfer
    "sia": {"copies": 3, "steps": 4},
    "stm": {"copies": 3, "steps": 4},
    "usmm": {"scales": 2, "masks": 2, "steps": 4},
    "pgn": {"neighbours": 2, "steps": 4},
    "vmifgsm": {"neighbours": 2, "steps": 4},
    "combined": {"scales": 2, "neighbours": 2, "steps": 3},

    # optimisation and sparse
    "cw": {"rounds": 3, "steps": 6, "rate": 0.1},
    "lbfgs": {"rounds": 3, "steps": 6},
    "fab": {"steps": 4, "restarts": 2},
    "jsma": {"pixels": 12},
    "pgdl0": {"pixels": 6, "steps": 6},
    "onepixel": {"pixels": 2, "population": 8, "queries": 60},

    # patch, universal and generative
    "roa": {"height": 0.4, "width": 0.3, "grid": 3, "steps": 4},
    "randompatch": {"height": 0.4, "width": 0.3, "steps": 4},
    "campatch": {"height": 0.4, "width": 0.3, "steps": 4},
    "pwp": {"height": 0.4, "width": 0.3, "steps": 4},
    "patch": {"size": 0.5, "steps": 3, "sample": 2},
    "uap": {"epochs": 2},
    "advgan": {"epochs": 2},
    "advganpp": {"epochs": 2},
    "gdpa": {"epochs": 2},

    # decision and score
    "hopskipjump": {"queries": 60},
    "gbba": {"queries": 60},
    "boundary": {"queries": 60},
    "opt": {"queries": 60},
    "signopt": {"queries": 60},
    "geoda": {"queries": 60},
    "square": {"queries": 60},
    "nes": {"queries": 60},
    "simba": {"queries": 60},
    "autoattack": {"steps": 5, "queries": 20},
    "apgd": {"steps": 10},
}


def quick(name: str, model: Classifier, images: Tensor, labels: Any, *, eps: float = 0.1,
          **options: Any) -> AttackResult:
    """An attack at its quick settings; eps only where it takes one."""
    info = ATTACKS[name].info
    return attack(name, model, images, labels, **{"eps": eps if info.bounded else None, "norm": info.norms[0],
                                                  **QUICK.get(name, {}), **options})


def attack(name: str, model: Classifier, images: Tensor, labels: Any, *, eps: float | None,
           progress: Progress | None = None, keep_steps: bool = True, norm: str | None = "linf",
           target: int | None = None, seed: int = 0, batch: int = 16, numerics: str = "reference",
           max_queries: int | None = None, resources: Resources | None = None, surrogate: str = "", defenses: str = "",
           attacker: str = "oblivious", draws: int = 1, identities: Sequence[str] | None = None,
           memory: Memory | None = None, **params: Any) -> AttackResult:
    """An attack as it is on this machine's CPU, unless PERTURBSCOPE_TEST_DEVICE names another; unprepared unless said.
    """
    spec = make_spec(name, eps=eps, norm=norm, target=target, seed=seed, batch=batch, numerics=numerics,
                     max_queries=max_queries, surrogate=surrogate, defenses=defenses, attacker=attacker, draws=draws,
                     params=params)
    return run_attack(spec, model, images, torch.as_tensor(labels), identities=identities, resources=resources,
                      device=DEVICE, progress=progress, keep_steps=keep_steps, memory=memory)


def lessons() -> StoredLessons:
    """What attacks learn, kept in the home folder."""
    return StoredLessons(Store(home() / "runs"))


class Counted(nn.Module):
    """Counts, independently of the engine, the images that pass `module` forwards and the gradients that come back."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.forwards: list[int] = []
        self.backwards: list[int] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> "Counted":
        """A copy, such as the one that goes to a GPU, counts with the original."""
        twin = Counted(copy.deepcopy(self.module, memo))
        twin.forwards, twin.backwards = self.forwards, self.backwards
        return twin

    def forward(self, x: Tensor) -> Tensor:
        self.forwards.append(len(x))
        logits = self.module(x)
        if logits.requires_grad:
            logits.register_hook(lambda gradient: self.backwards.append(len(gradient)))
        return logits


def _traces(model: nn.Module) -> dict[str, Any]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "weights": {name: value.cpu().numpy().tobytes() for name, value in model.state_dict().items()},
        "grads": [p.grad for p in model.parameters()],
        "frozen": [p.requires_grad for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "hooks": [len(getattr(m, name)) for m in model.modules() for name in hooks],
        "torch random": torch.get_rng_state().numpy().tobytes(),
        "numpy random": str(np.random.get_state()),
        "python random": random.getstate(),
        "threads": torch.get_num_threads(),
        "grad mode": torch.is_grad_enabled(),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "dtype": torch.get_default_dtype(),
    }


@contextmanager
def nothing_left_behind(model: nn.Module) -> Iterator[None]:
    """Fails where the body changes the model (weights, gradients, modes, hooks) or the process's global state."""
    before = _traces(model)
    try:
        yield
    finally:
        after = _traces(model)
        assert {k for k in before if before[k] != after[k]} == set()
