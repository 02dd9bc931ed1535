"""GeoDA: the boundary taken for a plane."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from engine.attacks.base import length, unit
from engine.attacks.coroutines import Asking, Subject, cosines
from engine.attacks.decision.attack import approaching
from engine.attacks.decision.geometry import REACH, exactness_for, fools, halvings, to_boundary
from engine.attacks.declared.decision import GeoDA

GROWTH = 1.5
MOST_GROWTHS = 12


@approaching(GeoDA)
def along_normals(attack: GeoDA, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[None]:
    exactness = exactness_for(one)
    image = yield from to_boundary(one, start, exactness)
    total = one.clean.new_zeros(1, one.clean.numel())
    for probes in _portions(one.left, halvings(exactness) + 2):
        total += yield from _normal(attack, one, image, probes)
        outside = yield from _outwards(one, total.view_as(one.clean).clone(), one.distance(image))
        if outside is not None:
            image = yield from to_boundary(one, outside, exactness)


def _normal(attack: GeoDA, one: Subject, image: Tensor, probes: int) -> Asking[Tensor]:
    """Which way the boundary faces at `image`: the mean of smooth random patterns, each with its answer's sign."""
    _, channels, height, width = image.shape
    down, across = (cosines(side, min(side, attack.frequencies)) for side in (height, width))
    radius = REACH * float(length(image - one.clean))
    total = image.new_zeros(1, image.numel())
    for portion in one.shares(probes):
        patterns = down @ one.normal(portion, channels, down.shape[1], across.shape[1]) @ across.T
        patterns = unit(one.freed(patterns))
        answers = yield one.fit(image.add(patterns, alpha=radius))
        total.addmm_((2.0 * answers - 1.0)[None], patterns.flatten(1))
    return total.div_(probes)


def _portions(queries: int, apart: int) -> list[int]:
    """How `queries` are shared among the steps: each takes 0.6^(-2/3) times as many probes as the one before, the
    first 50 or more, and `apart` are set apart for finding the boundary after each."""
    ratio = 0.6 ** (-2 / 3)

    def shared(steps: int) -> list[int]:
        first = (queries - steps * apart) * (ratio - 1) / (ratio ** steps - 1)
        return [int(first * ratio ** step) for step in range(steps)]

    steps = 1
    while shared(steps + 1)[0] >= 50:
        steps += 1
    return [probes for probes in shared(steps) if probes > 0]


def _outwards(one: Subject, normal: Tensor, size: float) -> Asking[Tensor | None]:
    """An image along `normal` from the clean one that fools the model, `size` away or somewhat further; None where
    there is none."""
    direction = unit(normal) if one.norm == "l2" else normal.sign_()
    for _ in range(MOST_GROWTHS):
        image = one.fit(one.clean.add(direction, alpha=size))
        if (yield from fools(one, image)):
            return image
        size *= GROWTH
    return None
