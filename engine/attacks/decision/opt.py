"""OPT and Sign-OPT: among the directions from the clean image, descend to the one whose boundary is nearest."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from torch import Tensor

from engine.attacks.base import unit
from engine.attacks.coroutines import Asking, Subject
from engine.attacks.decision.attack import approaching
from engine.attacks.decision.geometry import exactness_for, fools, to_boundary
from engine.attacks.declared.decision import OPT, Descending, SignOPT

SMOOTHING = 0.001
FINEST = 1e-8
FIRST_STEP = 0.2
SMALLEST_STEP = 1e-4
MOST_TRIES = 15
MOST_WIDENINGS = 10


@dataclass
class _Ray:
    """A direction [1, C, H, W] of length 1 from the clean image, and how far along it the boundary lies."""

    direction: Tensor
    reach: float


# How the reach grows with the direction, and the best of the directions seen on the way.
Slope = Callable[[Any, Subject, _Ray, float], Asking[tuple[Tensor, _Ray]]]


def descend(slope: Slope, attack: Descending, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[None]:
    ray = yield from _first(attack, one, start, others)
    step, smoothing = FIRST_STEP, SMOOTHING
    while smoothing > FINEST:
        gradient, sideways = yield from slope(attack, one, ray, smoothing)
        ahead, step = yield from _descend(one, ray, gradient, step, smoothing)
        ray = min(ray, sideways, ahead, key=lambda r: r.reach)
        if step < SMALLEST_STEP:
            step, smoothing = 1.0, smoothing / 10


def _first(attack: Descending, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[_Ray]:
    """The nearest of the boundaries in the directions of `start` and of further images."""
    exactness = exactness_for(one)
    image = yield from to_boundary(one, start, exactness)
    ray = _Ray(unit(image - one.clean), one.distance(image))
    for other in islice(others, attack.starts - 1):
        direction = unit(other - one.clean)
        nearer = one.fit(one.clean.add(direction, alpha=ray.reach))
        if (yield from fools(one, nearer)):  # otherwise its boundary is further away
            image = yield from to_boundary(one, nearer, exactness)
            ray = _Ray(direction, one.distance(image))
    return ray


def _descend(one: Subject, ray: _Ray, gradient: Tensor, step: float, smoothing: float) -> Asking[tuple[_Ray, float]]:
    """The best ray found against the gradient, and the step to begin with next time: the step doubles while that helps;
    where the first does not help, it is quartered until one does."""
    best = ray
    for _ in range(MOST_TRIES):
        new = yield from _moved(one, ray, gradient, step, best.reach, smoothing)
        step *= 2
        if new.reach >= best.reach:
            break
        best = new
    if best is ray:
        for _ in range(MOST_TRIES):
            step *= 0.25
            best = yield from _moved(one, ray, gradient, step, ray.reach, smoothing)
            if best.reach < ray.reach:
                break
    return best, step


def _moved(one: Subject, ray: _Ray, gradient: Tensor, step: float, guess: float, smoothing: float) -> Asking[_Ray]:
    direction = unit(ray.direction - step * gradient)
    (reach,) = yield from _reaches(one, direction, guess, smoothing)
    return _Ray(direction, reach)


def _reaches(one: Subject, directions: Tensor, guess: float, smoothing: float) -> Asking[list[float]]:
    """How far along each of `directions` [k, C, H, W] the boundary lies, sought from `guess` on; all of them ask
    together. Infinite where none was found."""
    searches = [_search(guess, guess * smoothing / 500) for _ in directions]
    lengths = [next(search) for search in searches]
    found = [math.inf] * len(searches)
    going = list(range(len(searches)))
    while going:
        reach = directions.new_tensor([lengths[i] for i in going]).view(-1, 1, 1, 1)
        images = one.fit(directions[going].mul_(reach).add_(one.clean))
        answers = (yield images).tolist()
        still = []
        for image, fooled, i in zip(images.split(1), answers, going, strict=True):
            if fooled:
                found[i] = lengths[i]
                one.keep(image)
            try:
                lengths[i] = searches[i].send(fooled)
                still.append(i)
            except StopIteration:
                continue
        going = still
    return found


def _search(guess: float, tolerance: float) -> Generator[float, bool, None]:
    """Asks for lengths along a ray until the boundary is known to `tolerance`: first ever further from `guess`, by 1 %,
    2 %, 4 % and so on, until it is passed, then by halving. Gives up where the model is not fooled ten times as far."""
    fooled = yield guess
    honest = fooling = guess
    for widening in range(MOST_WIDENINGS):
        if fooled:
            fooling, honest = honest, max(0.0, honest - guess * 0.01 * 2 ** widening)
            if honest == 0.0 or not (yield honest):
                break
        else:
            honest, fooling = fooling, fooling + guess * 0.01 * 2 ** widening
            if (yield fooling):
                break
    else:
        return
    while fooling - honest > tolerance:
        middle = (honest + fooling) / 2
        if middle in (honest, fooling):
            return
        if (yield middle):
            fooling = middle
        else:
            honest = middle


def measured(attack: OPT, one: Subject, ray: _Ray, smoothing: float) -> Asking[tuple[Tensor, _Ray]]:
    around = unit(one.freed(one.normal(attack.directions, *one.clean.shape[1:])))
    turned = unit(ray.direction + smoothing * around)
    reaches = yield from _reaches(one, turned, ray.reach, smoothing)
    growth = [(reach - ray.reach) / smoothing if math.isfinite(reach) else 0.0 for reach in reaches]
    gradient = (around * around.new_tensor(growth).view(-1, 1, 1, 1)).mean(dim=0, keepdim=True)
    nearest = min(range(len(reaches)), key=reaches.__getitem__)
    return gradient, _Ray(turned[nearest:nearest + 1], reaches[nearest])


def told(attack: SignOPT, one: Subject, ray: _Ray, smoothing: float) -> Asking[tuple[Tensor, _Ray]]:
    total = one.clean.new_zeros(1, one.clean.numel())
    for portion in one.shares(attack.directions):
        around = unit(one.freed(one.normal(portion, *one.clean.shape[1:])))
        images = unit(ray.direction + smoothing * around).mul_(ray.reach).add_(one.clean)
        answers = yield one.fit(images)
        total.addmm_((1.0 - 2.0 * answers)[None], around.flatten(1))
    return total.div_(attack.directions).view_as(one.clean), ray


approaching(OPT)(partial(descend, measured))
approaching(SignOPT)(partial(descend, told))
