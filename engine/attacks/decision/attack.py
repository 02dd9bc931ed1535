"""What all decision-based attacks have in common: a budget, a starting point, and a last look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor

from engine.attacks.base import Ball, Goal, Run, implements, length
from engine.attacks.coroutines import Asking, Spent, Subject, run_coroutines
from engine.attacks.decision.geometry import fools
from engine.attacks.declared.decision import OTHERS, DecisionAttack
from engine.serving.threat import DecisionBased

NOISES = 5  # images of noise that are tried where none of those will do
NO_START = ("no starting point: the model gave none of the images tried the wanted class, so the image stays "
            "unchanged")
TOO_FEW = "the query budget was spent before a starting point was found, so the image stays unchanged"

# The image returned lies this share further from the clean one than the nearest found, on the very boundary, where
# another rounding (other batches, the saved image's check) could make the model change its mind.
INSIDE = 1e-3


# From a start, which fools the model, to ever nearer images that `fools` asks about; the last are further images that
# may fool it too.
Approach = Callable[[Any, Subject, Tensor, Iterator[Tensor]], Asking[None]]


def approaching(declared: type[DecisionAttack]) -> Callable[[Approach], Approach]:
    """Decorator of how `declared` approaches the clean image."""
    def note(approach: Approach) -> Approach:
        implements(declared)(partial(_run, approach))
        return approach

    return note


def _run(approach: Approach, attack: DecisionAttack, target: DecisionBased, clean: Tensor, goal: Goal, ball: Ball,
         run: Run) -> Tensor:
    near = goal.to("cpu")

    def fooled(images: Tensor, rows: Tensor) -> Tensor:
        return near.reached_by(target.decide(images, rows).cpu(), rows)

    def coroutine(one: Subject) -> Asking[None]:
        if not bool((yield one.clean)):
            yield from _nearest(partial(approach, attack), one, candidates(one, near))

    return run_coroutines(target, fooled, ball, run, attack.queries, coroutine)


def _nearest(approach: Callable[[Subject, Tensor, Iterator[Tensor]], Asking[None]], one: Subject,
             candidates: Iterator[Tensor]) -> Asking[None]:
    one.left -= 1  # for the last look
    lacking = NO_START
    try:
        for image in candidates:
            if (yield from fools(one, image)):
                yield from approach(one, image, candidates)
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
