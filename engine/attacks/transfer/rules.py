"""Where the gradient is taken that a step is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from engine.attacks.transfer.scene import Looks, Scene
from engine.serving.threat import Ascent


class Rule(ABC):
    """Where the gradient is taken that a step is made of."""

    @abstractmethod
    def looks(self, last: bool) -> Looks:
        """What one step takes, the `last` or another."""

    @abstractmethod
    def __call__(self, scene: Scene, points: Tensor, memory: Tensor | None, last: bool) -> tuple[Ascent, Tensor | None]:
        """The gradient for a step from `points`, and what the next step shall know; `last`: there is none."""


class AtThePoint(Rule):
    """The gradient at the image itself."""

    def looks(self, last: bool) -> Looks:
        return Looks(1)

    def __call__(self, scene: Scene, points: Tensor, memory: Tensor | None, last: bool) -> tuple[Ascent, Tensor | None]:
        return scene.gradient(points, scene.rows), None


@dataclass(frozen=True)
class TunedVariance(Rule):
    """Variance tuning (Wang and He 2021): plus how the gradient around the previous point differed from that at it."""

    neighbours: int = 20
    reach: float = 1.5

    def looks(self, last: bool) -> Looks:
        return Looks(1, 0 if last else self.neighbours)

    def __call__(self, scene: Scene, points: Tensor, memory: Tensor | None, last: bool) -> tuple[Ascent, Tensor | None]:
        here = scene.gradient(points, scene.rows)
        variance = None
        if not last:
            around = scene.around(points, self.neighbours, self.reach * scene.ball.eps, scene.gradient)
            variance = around.gradient.sub_(here.gradient)
        if memory is not None:
            here.gradient.add_(memory)
        return here, variance


@dataclass(frozen=True)
class PenalisedNorm(Rule):
    """Penalised gradient norm (Ge et al. 2023): around the point, and once more a step back down from each place."""

    neighbours: int = 20
    reach: float = 3.0
    balance: float = 0.5

    def looks(self, last: bool) -> Looks:
        return Looks(0, self.neighbours, each=2)

    def __call__(self, scene: Scene, points: Tensor, memory: Tensor | None, last: bool) -> tuple[Ascent, Tensor | None]:
        def look(near: Tensor, rows: Tensor) -> Ascent:
            first = scene.gradient(near, rows)
            below = near.sub_(scene.ball.l1_normalised_(first.gradient.clone(), rows), alpha=scene.step_size)
            second = scene.gradient(below, rows)
            first.gradient.lerp_(second.gradient, self.balance)
            return first

        return scene.around(points, self.neighbours, self.reach * scene.ball.eps, look), None
