"""OPT and Sign-OPT: among the directions from the clean image, descend to the one whose boundary is nearest."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from engine.attacks.base import AttackInfo, Knowledge, Paper, register, unit
from engine.attacks.coroutines import Asking, Subject
from engine.attacks.decision.attack import OTHERS, DecisionAttack
from engine.attacks.decision.geometry import exactness_for, fools, to_boundary
from engine.params import param

if TYPE_CHECKING:
    from torch import Tensor

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


@dataclass(frozen=True, kw_only=True)
class Descending(DecisionAttack):
    """The loop of OPT: among the directions from the clean image, descend to the one whose boundary is nearest."""

    starts: int = param(10, title="Starts", low=1, high=100, step=1,
                        help="How many of the attacker's images are tried for the first direction; the best is taken.")

    def approach(self, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[None]:
        ray = yield from self._first(one, start, others)
        step, smoothing = FIRST_STEP, SMOOTHING
        while smoothing > FINEST:
            gradient, sideways = yield from self.gradient(one, ray, smoothing)
            ahead, step = yield from _descend(one, ray, gradient, step, smoothing)
            ray = min(ray, sideways, ahead, key=lambda r: r.reach)
            if step < SMALLEST_STEP:
                step, smoothing = 1.0, smoothing / 10

    def gradient(self, one: Subject, ray: _Ray, smoothing: float) -> Asking[tuple[Tensor, _Ray]]:
        """How the reach grows with the direction, and the best of the directions seen on the way."""
        raise NotImplementedError

    def _first(self, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[_Ray]:
        """The nearest of the boundaries in the directions of `start` and of further images."""
        exactness = exactness_for(one)
        image = yield from to_boundary(one, start, exactness)
        ray = _Ray(unit(image - one.clean), one.distance(image))
        for other in islice(others, self.starts - 1):
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


@register
@dataclass(frozen=True, kw_only=True)
class OPT(Descending):
    """OPT (Cheng et al. 2018): random gradient-free descent on the distance to the boundary as a function of the
    direction, with the paper's 10 random directions, smoothing 0.001 and first step 0.2.

    Deviations: the first direction is the best of those towards images of another class that the attacker has instead
    of 100 random ones, which on these models hit nothing; the search along a ray widens by doubling instead of in steps
    of 1 %.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="opt",
        title="OPT",
        sentence="It measures how far the boundary lies in ten random directions around the best one, and turns "
                 "towards where it is nearer.",
        formula=r"g(\theta) = \min\{\lambda : f(x + \lambda\theta/\lVert\theta\rVert) \ne y\},\quad "
                r"\theta \leftarrow \theta - \frac{\alpha}{q}\sum_i "
                r"\frac{g(\theta + \beta u_i) - g(\theta)}{\beta} u_i",
        paper=Paper("Cheng, Le, Chen, Yi, Zhang, Hsieh", "Query-Efficient Hard-label Black-box Attack: An "
                    "Optimization-based Approach", 2018, "https://arxiv.org/abs/1807.04457"),
        knowledge=Knowledge.DECISION,
        norms=("l2",),
        look_for="The norm falls in few, large steps: each direction costs many queries to measure.",
        bounded=False,
        others=OTHERS,
        version=2,
    )
    directions: int = param(10, title="Directions", low=1, high=100, step=1,
                            help="How many random directions each step measures.")

    def gradient(self, one: Subject, ray: _Ray, smoothing: float) -> Asking[tuple[Tensor, _Ray]]:
        around = unit(one.freed(one.normal(self.directions, *one.clean.shape[1:])))
        turned = unit(ray.direction + smoothing * around)
        reaches = yield from _reaches(one, turned, ray.reach, smoothing)
        growth = [(reach - ray.reach) / smoothing if math.isfinite(reach) else 0.0 for reach in reaches]
        gradient = (around * around.new_tensor(growth).view(-1, 1, 1, 1)).mean(dim=0, keepdim=True)
        nearest = min(range(len(reaches)), key=reaches.__getitem__)
        return gradient, _Ray(turned[nearest:nearest + 1], reaches[nearest])


@register
@dataclass(frozen=True, kw_only=True)
class SignOPT(Descending):
    """Sign-OPT (Cheng et al. 2020): OPT that asks of each random direction only whether the boundary comes nearer, one
    query each, with the paper's 200 directions, smoothing 0.001 and first step 0.2.

    Deviations: as OPT's.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="signopt",
        title="Sign-OPT",
        sentence="OPT that asks of each random direction only whether the boundary comes nearer, for one query.",
        formula=r"\theta \leftarrow \theta - \frac{\alpha}{Q}\sum_i \mathrm{sign}\big(g(\theta + \beta u_i) - "
                r"g(\theta)\big)\,u_i",
        paper=Paper("Cheng, Singh, Chen, Chen, Liu, Hsieh", "Sign-OPT: A Query-Efficient Hard-label Adversarial "
                    "Attack", 2020, "https://arxiv.org/abs/1909.10773"),
        knowledge=Knowledge.DECISION,
        norms=("l2",),
        look_for="After equal queries it has taken more steps than OPT.",
        bounded=False,
        others=OTHERS,
        version=2,
    )
    directions: int = param(200, title="Directions", low=10, high=2000, step=10,
                            help="How many random directions each step asks about, one query each.")

    def gradient(self, one: Subject, ray: _Ray, smoothing: float) -> Asking[tuple[Tensor, _Ray]]:
        total = one.clean.new_zeros(1, one.clean.numel())
        for portion in one.shares(self.directions):
            around = unit(one.freed(one.normal(portion, *one.clean.shape[1:])))
            images = unit(ray.direction + smoothing * around).mul_(ray.reach).add_(one.clean)
            answers = yield one.fit(images)
            total.addmm_((1.0 - 2.0 * answers)[None], around.flatten(1))
        return total.div_(self.directions).view_as(one.clean), ray
