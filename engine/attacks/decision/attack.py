"""What all decision-based attacks have in common: a budget, a starting point, and a last look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.attacks.base import Attack, Ball, Cost, Goal, Run, length
from engine.attacks.coroutines import Asking, Spent, Subject, run_coroutines
from engine.attacks.decision.geometry import fools
from engine.params import param

if TYPE_CHECKING:
    from torch import Tensor

    from engine.serving.threat import DecisionBased

OTHERS = 10  # further images of each class that the attacker has
NOISES = 5  # images of noise that are tried where none of those will do
NO_START = ("no starting point: the model gave none of the images tried the wanted class, so the image stays "
            "unchanged")
TOO_FEW = "the query budget was spent before a starting point was found, so the image stays unchanged"

# The image returned lies this share further from the clean one than the nearest found, on the very boundary, where
# another rounding (other batches, the saved image's check) could make the model change its mind.
INSIDE = 1e-3


@dataclass(frozen=True, kw_only=True)
class DecisionAttack(Attack):
    """What all have in common: a budget of queries, a starting point, and one coroutine an image."""

    queries: int = param(1000, title="Queries", low=1, high=100_000, step=100,
                         help="How often the attacker may ask the model about each image; never exceeded.")

    def cost(self) -> Cost:
        return Cost(gradients=0, queries=self.queries)

    def run(self, target: DecisionBased, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        near = goal.to("cpu")

        def fooled(images: Tensor, rows: Tensor) -> Tensor:
            return near.reached_by(target.decide(images, rows).cpu(), rows)

        def coroutine(one: Subject) -> Asking[None]:
            if not bool((yield one.clean)):
                yield from self._attack(one, candidates(one, near))

        return run_coroutines(target, fooled, ball, run, self.queries, coroutine)

    def _attack(self, one: Subject, candidates: Iterator[Tensor]) -> Asking[None]:
        one.left -= 1  # for the last look
        lacking = NO_START
        try:
            for image in candidates:
                if (yield from fools(one, image)):
                    yield from self.approach(one, image, candidates)
                    break
        except Spent:
            lacking = TOO_FEW
        if not one.found:
            one.run.note(lacking)
            return
        one.left += 1
        inside = one.fit(one.clean.lerp(one.best, 1 + INSIDE))
        if bool((yield inside)):
            one.best.copy_(inside)

    def approach(self, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[None]:
        """From `start`, which fools the model, to ever nearer images that `fools` asks about; `others` are further
        images that may fool it too."""
        raise NotImplementedError


def candidates(one: Subject, goal: Goal) -> Iterator[Tensor]:
    """The attacker's own images of a class that will do, nearest first, then some images of noise."""
    others = one.others
    fits = others.labels != goal.labels[one.index] if goal.targets is None else (
        others.labels == goal.targets[one.index])
    images = one.fit(others.images[fits])
    order = length(images - one.clean).flatten().argsort(stable=True)[:OTHERS]
    yield from (images[place][None] for place in order)
    for _ in range(NOISES):
        yield one.fit(one.noise(*one.clean.shape).add_(1).div_(2))
