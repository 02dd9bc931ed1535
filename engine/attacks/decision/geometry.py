"""The way from the clean image to one that fools the model, and the boundary on it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.attacks.coroutines import Asking, Subject

# Probes reach this share of the distance to the clean image, and the boundary is found sqrt(d) times as exactly: the
# part of a random direction that points across the boundary is sqrt(d) times shorter than the direction.
REACH = 0.01


def fools(one: Subject, image: Tensor) -> Asking[bool]:
    """Whether the model takes `image` for what the attacker wants; the nearest that it does is kept."""
    answer = bool((yield image))
    if answer:
        one.keep(image)
    return answer


def between(one: Subject, image: Tensor, share: float) -> Tensor:
    """`share` of the way from the clean image to `image`: along the line, or (Linf) no pixel further than that share
    of the largest change."""
    if one.norm == "l2":
        return torch.lerp(one.clean, image, share)
    reach = share * one.distance(image)
    return image.clamp(one.clean - reach, one.clean + reach)


def to_boundary(one: Subject, image: Tensor, tolerance: float) -> Asking[Tensor]:
    """The nearest image on the way from the clean image to `image` that still fools, found by halving the way."""
    honest, fooling = 0.0, 1.0
    while fooling - honest > tolerance:
        middle = (honest + fooling) / 2
        if (yield from fools(one, between(one, image, middle))):
            fooling = middle
        else:
            honest = middle
    return image if fooling == 1.0 else between(one, image, fooling)


def exactness_for(one: Subject) -> float:
    """How exactly the boundary has to be found before it is probed, as a share of the way."""
    return REACH / math.sqrt(one.entries)


def halvings(tolerance: float) -> int:
    """Queries of `to_boundary`."""
    return math.ceil(math.log2(1 / tolerance))
