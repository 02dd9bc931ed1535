"""The Boundary attack: a random walk along the boundary."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from engine.attacks.base import length
from engine.attacks.coroutines import Asking, Subject
from engine.attacks.decision.attack import approaching
from engine.attacks.decision.geometry import exactness_for, to_boundary
from engine.attacks.declared.decision import Boundary

ADAPTATION = 1.5
CONVERGED = 1e-7


def _adapted(step: float, worked: Tensor) -> float:
    """`step` for the next round, after one in which some of the tries `worked`: between 20 and 50 % of them should."""
    rate = float(worked.float().mean())
    if rate > 0.5:
        return step * ADAPTATION
    return step / ADAPTATION if rate < 0.2 else step


@approaching(Boundary)
def walk(attack: Boundary, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[None]:
    image = yield from to_boundary(one, start, exactness_for(one))
    around, towards = attack.around, attack.towards
    while towards > CONVERGED and one.left:
        aside = _aside(one, image, around, min(attack.tries, one.left))
        worked = yield aside
        around = _adapted(around, worked)
        aside = aside[worked][:one.left]
        if not len(aside):
            continue
        nearer = _nearer(one, aside, one.distance(image), towards)
        worked = yield nearer
        towards = _adapted(towards, worked)
        for found in nearer[worked]:
            one.keep(found[None])
            image = min(image, found[None], key=one.distance)


def _aside(one: Subject, image: Tensor, around: float, count: int) -> Tensor:
    """`image` moved around the clean image at the same distance, in random ways [count, C, H, W]."""
    change = image - one.clean
    distance = length(change)
    step = one.freed(one.normal(count, *image.shape[1:]))
    step.sub_(change * ((step * change).sum(dim=(1, 2, 3), keepdim=True) / distance**2))
    step.mul_(around * distance / length(step).clamp_min(1e-12))
    return one.fit(step.add_(change).div_(math.sqrt(1 + around**2)).add_(one.clean))


def _nearer(one: Subject, aside: Tensor, distance: float, towards: float) -> Tensor:
    """The images moved towards the clean one, so that they end `towards` nearer than `distance`, whatever clipping did
    to the step aside."""
    now = length(aside - one.clean)
    share = (towards * distance + now - distance).clamp_min(0.0) / now.clamp_min(1e-12)
    return one.fit(aside.lerp(one.clean.expand_as(aside), share.clamp_max(1.0)))
