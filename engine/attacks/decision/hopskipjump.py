"""HopSkipJump and GBBA: to the boundary, a direction from random probes, a jump along it, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor

from engine.attacks.base import length, unit
from engine.attacks.coroutines import Asking, Subject
from engine.attacks.decision.attack import approaching
from engine.attacks.decision.geometry import REACH, exactness_for, fools, halvings, to_boundary
from engine.attacks.declared.decision import GBBA, IN_CONFLICT, Jumping

FEWEST_PROBES = 10
MOST_PROBES = 10_000
MOST_HALVINGS = 15


@approaching(Jumping)
def jump(attack: Jumping, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[None]:
    exactness = exactness_for(one)
    spare = halvings(exactness) + 2
    image = yield from to_boundary(one, start, exactness)
    for step in count(1):
        probes = min(int(attack.probes * math.sqrt(step)), MOST_PROBES, one.left - spare)
        if probes < FEWEST_PROBES:
            return
        direction = yield from _direction(one, image, probes)
        if isinstance(attack, GBBA):
            direction = corrected(attack, direction, image - one.clean)
        direction = unit(direction) if one.norm == "l2" else direction.sign_()
        jumped = yield from _jump(one, image, direction, one.distance(image) / math.sqrt(step))
        if jumped is not None:
            image = yield from to_boundary(one, jumped, exactness)


def _direction(one: Subject, image: Tensor, probes: int) -> Asking[Tensor]:
    """Where the model is fooled more, seen from `image` on the boundary: the mean of random directions, each with the
    sign of its answer, less the mean answer (which steadies the estimate where the answers are uneven)."""
    radius = REACH * one.distance(image) * (1.0 if one.norm == "l2" else math.sqrt(one.entries))
    sums = image.new_zeros(2, image.numel())
    fooling = 0
    for portion in one.shares(probes):
        around = one.freed((one.normal if one.norm == "l2" else one.noise)(portion, *image.shape[1:]))
        around.mul_(radius / length(around).clamp_min_(1e-12)).add_(image)
        answers = yield one.fit(around)
        fooling += int(answers.sum())
        weights = torch.stack([torch.ones(portion), answers * 2.0 - 1.0])
        sums.addmm_(weights, around.sub_(image).flatten(1))
    mean = 2 * fooling / probes - 1
    direction = sums[1] if abs(mean) == 1 else sums[1].sub_(sums[0], alpha=mean)
    return direction.view_as(image)


def _jump(one: Subject, image: Tensor, direction: Tensor, size: float) -> Asking[Tensor | None]:
    """`image` moved along `direction`, by `size` or the largest of its halves where the model is still fooled."""
    for _ in range(MOST_HALVINGS):
        jumped = one.fit(image.add(direction, alpha=size))
        if (yield from fools(one, jumped)):
            return jumped
        size /= 2
    return None


def corrected(attack: GBBA, direction: Tensor, change: Tensor) -> Tensor:
    """`direction` without its part along the `change` so far, where the two point apart, or always."""
    along = float((direction * change).sum())
    if along == 0 or (along > 0 and attack.correction == IN_CONFLICT):
        return direction
    return direction - change * (along / float((change * change).sum()))
