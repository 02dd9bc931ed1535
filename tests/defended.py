"""Defenses for tests: what is served with them can be followed by hand."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from engine.defenses import DEFENSES
from engine.papers import Paper
from engine.params import param
from engine.serving.defense import Caller, Defense, DefenseInfo
from engine.serving.draws import Draws

NOBODY = Paper("Nobody", "For tests", None)


@dataclass(frozen=True, kw_only=True)
class Shift(Defense):
    """Adds a constant to every pixel, and another to the logits of the first class."""

    info: ClassVar[DefenseInfo] = DefenseInfo("shift", "Shift", "Makes every image brighter.", NOBODY)
    by: float = param(0.05, title="By", low=-1.0, high=1.0, step=0.01, help="How much brighter.")
    bias: float = param(0.0, title="Bias", low=-100.0, high=100.0, step=0.1, help="What the first logit gains.")

    def incoming(self, images: Tensor, draws: Draws) -> Tensor:
        return images + self.by

    def outgoing(self, logits: Tensor, draws: Draws) -> Tensor:
        return logits + self.bias * torch.nn.functional.one_hot(torch.tensor(0, device=logits.device), logits.shape[1])


@dataclass(frozen=True, kw_only=True)
class Rounding(Defense):
    """Leaves `levels` grey levels: a step function, which has no gradient."""

    info: ClassVar[DefenseInfo] = DefenseInfo("rounding", "Rounding", "Leaves few grey levels.", NOBODY,
                                              differentiable=False)
    levels: int = param(9, title="Levels", low=2, high=256, step=1, help="How many grey levels are left.")

    def incoming(self, images: Tensor, draws: Draws) -> Tensor:
        return (images * (self.levels - 1)).round() / (self.levels - 1)


@dataclass(frozen=True, kw_only=True)
class Noise(Defense):
    """Adds noise to every image and to its logits, and refuses every n-th query of a client."""

    info: ClassVar[DefenseInfo] = DefenseInfo("noise", "Noise", "Adds noise, and refuses now and then.", NOBODY,
                                              random=True)
    sigma: float = param(0.02, title="Sigma", low=0.0, high=1.0, step=0.01, help="The noise's standard deviation.")
    every: int = param(3, title="Every", low=0, high=1000, step=1, help="Which queries are refused; 0: none.")

    def refuses(self, images: Tensor, callers: Sequence[Caller]) -> Tensor | None:
        if not self.every:
            return None
        return torch.tensor([self._counted(caller) % self.every == 0 for caller in callers])

    def _counted(self, caller: Caller) -> int:
        caller.memory["seen"] = caller.memory.get("seen", 0) + 1
        return caller.memory["seen"]

    def incoming(self, images: Tensor, draws: Draws) -> Tensor:
        return images + self.sigma * draws.normal(images)

    def outgoing(self, logits: Tensor, draws: Draws) -> Tensor:
        return logits + self.sigma * draws.normal(logits)


EACH = (Shift, Rounding, Noise)


@contextmanager
def registered() -> Iterator[None]:
    """These defenses among those that can be named."""
    for cls in EACH:
        DEFENSES.add(cls.info.name, cls)
    try:
        yield
    finally:
        for cls in EACH:
            del DEFENSES._items[cls.info.name]
