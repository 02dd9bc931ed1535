"""Decision-based attacks: the attacker sees the predicted class only, and looks for the nearest image that fools.

All begin at an image that the model already takes for something else and make it ever more similar to the attacked
one. Each image's attack is a talk of its own (engine.attacks.talks), so the code below is about one image.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, ClassVar

from engine.attacks.base import (
    PAPER_PRESET,
    Attack,
    AttackInfo,
    Ball,
    Cost,
    Goal,
    Knowledge,
    Paper,
    Run,
    length,
    register,
    unit,
)
from engine.attacks.talks import Asking, Spent, Subject, cosines, talk_together
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

# Probes reach this share of the distance to the clean image, and the boundary is found sqrt(d) times as exactly: the
# part of a random direction that points across the boundary is sqrt(d) times shorter than the direction.
REACH = 0.01


@dataclass(frozen=True, kw_only=True)
class DecisionAttack(Attack):
    """What all have in common: a budget of queries, a starting point, and one talk an image."""

    queries: int = param(1000, title="Queries", low=1, high=100_000, step=100,
                         help="How often the attacker may ask the model about each image; never exceeded.")

    def cost(self) -> Cost:
        return Cost(gradients=0, queries=self.queries)

    def run(self, target: DecisionBased, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        def fooled(images: Tensor, rows: Tensor) -> Tensor:
            return goal.met(target.decide(images, rows), rows)

        def talk(one: Subject) -> Asking[None]:
            if not bool((yield one.clean)):
                yield from self._attack(one, _candidates(one, goal))

        return talk_together(target, fooled, ball, run, self.queries, talk)

    def _attack(self, one: Subject, candidates: Iterator[Tensor]) -> Asking[None]:
        one.left -= 1  # for the last look
        lacking = NO_START
        try:
            for image in candidates:
                if (yield from _fools(one, image)):
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
        """From `start`, which fools the model, to ever nearer images that `_fools` asks about; `others` are further
        images that may fool it too."""
        raise NotImplementedError


def _candidates(one: Subject, goal: Goal) -> Iterator[Tensor]:
    """The attacker's own images of a class that will do, nearest first, then some images of noise."""
    others = one.run.others
    fits = others.labels != goal.labels[one.index] if goal.targets is None else (
        others.labels == goal.targets[one.index])
    images = one.fit(others.images[fits])
    order = length(images - one.clean).flatten().argsort(stable=True)[:OTHERS]
    yield from (images[place][None] for place in order)
    for _ in range(NOISES):
        yield one.fit(one.noise(*one.clean.shape).add_(1).div_(2))


def _fools(one: Subject, image: Tensor) -> Asking[bool]:
    """Whether the model takes `image` for what the attacker wants; the nearest that it does is kept."""
    answer = bool((yield image))
    if answer:
        one.keep(image)
    return answer


def _between(one: Subject, image: Tensor, share: float) -> Tensor:
    """`share` of the way from the clean image to `image`: along the line, or (Linf) no pixel further than that share
    of the largest change."""
    import torch

    if one.norm == "l2":
        return torch.lerp(one.clean, image, share)
    reach = share * one.distance(image)
    return image.clamp(one.clean - reach, one.clean + reach)


def _to_boundary(one: Subject, image: Tensor, tolerance: float) -> Asking[Tensor]:
    """The nearest image on the way from the clean image to `image` that still fools, found by halving the way."""
    honest, fooling = 0.0, 1.0
    while fooling - honest > tolerance:
        middle = (honest + fooling) / 2
        if (yield from _fools(one, _between(one, image, middle))):
            fooling = middle
        else:
            honest = middle
    return image if fooling == 1.0 else _between(one, image, fooling)


def _exactness(one: Subject) -> float:
    """How exactly the boundary has to be found before it is probed, as a share of the way."""
    return REACH / math.sqrt(one.entries)


def _halvings(tolerance: float) -> int:
    """Queries of `_to_boundary`."""
    return math.ceil(math.log2(1 / tolerance))


# ---- HopSkipJump and GBBA ------------------------------------------------------------------------------------------

FEWEST_PROBES = 10
MOST_PROBES = 10_000
MOST_HALVINGS = 15


@dataclass(frozen=True, kw_only=True)
class Jumping(DecisionAttack):
    """The loop of HopSkipJump: to the boundary, a direction from random probes, a jump along it, and back."""

    probes: int = param(100, title="First probes", low=10, high=1000, step=10,
                        help="How many random probes the first direction is made of; the t-th takes sqrt(t) times as "
                             "many.")

    def approach(self, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[None]:
        exactness = _exactness(one)
        spare = _halvings(exactness) + 2
        image = yield from _to_boundary(one, start, exactness)
        for step in count(1):
            probes = min(int(self.probes * math.sqrt(step)), MOST_PROBES, one.left - spare)
            if probes < FEWEST_PROBES:
                return
            direction = yield from _direction(one, image, probes)
            direction = self.adjust(direction, image - one.clean)
            direction = unit(direction) if one.norm == "l2" else direction.sign_()
            jumped = yield from _jump(one, image, direction, one.distance(image) / math.sqrt(step))
            if jumped is not None:
                image = yield from _to_boundary(one, jumped, exactness)

    def adjust(self, direction: Tensor, change: Tensor) -> Tensor:
        """The estimated direction, given the `change` from the clean image so far."""
        return direction


def _direction(one: Subject, image: Tensor, probes: int) -> Asking[Tensor]:
    """Where the model is fooled more, seen from `image` on the boundary: the mean of random directions, each with the
    sign of its answer, less the mean answer (which steadies the estimate where the answers are uneven)."""
    import torch

    radius = REACH * one.distance(image) * (1.0 if one.norm == "l2" else math.sqrt(one.entries))
    sums = image.new_zeros(2, image.numel())
    fooling = 0
    for portion in one.shares(probes):
        around = one.freed((one.normal if one.norm == "l2" else one.noise)(portion, *image.shape[1:]))
        around.mul_(radius / length(around).clamp_min_(1e-12)).add_(image)
        answers = yield one.fit(around)
        fooling += int(answers.sum())
        weights = torch.stack([torch.ones(portion), answers * 2.0 - 1.0]).to(image.device)
        sums.addmm_(weights, around.sub_(image).flatten(1))
    mean = 2 * fooling / probes - 1
    direction = sums[1] if abs(mean) == 1 else sums[1].sub_(sums[0], alpha=mean)
    return direction.view_as(image)


def _jump(one: Subject, image: Tensor, direction: Tensor, size: float) -> Asking[Tensor | None]:
    """`image` moved along `direction`, by `size` or the largest of its halves where the model is still fooled."""
    for _ in range(MOST_HALVINGS):
        jumped = one.fit(image.add(direction, alpha=size))
        if (yield from _fools(one, jumped)):
            return jumped
        size /= 2
    return None


_CHEN = Paper("Chen, Jordan, Wainwright", "HopSkipJumpAttack: A Query-Efficient Decision-Based Attack", 2020,
              "https://arxiv.org/abs/1904.02144")


@register
@dataclass(frozen=True, kw_only=True)
class HopSkipJump(Jumping):
    """HopSkipJump (Chen et al. 2020), in L2 and Linf.

    Deviations: it starts at the nearest image of another class that the attacker has, not at noise. Probes reach 0.01
    of the distance (Linf: of the change of every pixel), from the first step on, and the boundary is found to 0.01 /
    sqrt(d) of it; the paper's 1 / d and 1 / d^1.5 are below what float32 tells apart on images of this size. Halving
    the jump ends after 15 times. The last queries are spent on a direction of fewer probes.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="hopskipjump",
        title="HopSkipJump",
        sentence="From a picture of another class it walks along the model's boundary towards the attacked image, "
                 "feeling its way with random probes.",
        formula=r"x_{t+1} = \beta\big(x_t + \xi_t\, v_t\big),\quad v_t \propto \sum_b (\phi_b - \bar\phi)\,u_b,\quad "
                r"\phi_b = \pm 1,\ B_t = B_0\sqrt{t},\ \xi_t = \frac{\lVert x_t - x\rVert}{\sqrt t}",
        paper=_CHEN,
        knowledge=Knowledge.DECISION,
        norms=("l2", "linf"),
        look_for="The film begins with another patient's image and ends with one that looks like the attacked one.",
        bounded=False,
        others=OTHERS,
        presets={PAPER_PRESET: {"queries": 25_000}},
        version=2,
    )


_LI_YANG = Paper("Li Yang", "Research on Adversarial Attacks and Enhancing Defense Capabilities in Medical Image Deep "
                 "Learning Systems, ch. 5", 2024, where="thesis, Hiroshima University")
_YU = Paper("Yu, Kumar, Gupta, Levine, Hausman, Finn", "Gradient Surgery for Multi-Task Learning", 2020,
            "https://arxiv.org/abs/2001.06782")
IN_CONFLICT, ALWAYS = "when it conflicts", "always"


@register
@dataclass(frozen=True, kw_only=True)
class GBBA(Jumping):
    """GBBA: HopSkipJump whose direction loses its component along the change so far whenever the two point apart.

    That is seldom: the point on the boundary was found by halving the way along this very change, so the model is
    fooled more further along it and the true gradient never points against it. Only the estimate from random probes
    does, where they are few (on 12 X-rays of 64 x 64 the true cosine was never negative, the estimated one in 9 of 72
    directions; more in CLAIMS.md). With correction "always" the component is removed in every step, which leaves the
    part that moves around the clean image.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="gbba",
        title="GBBA",
        sentence="HopSkipJump that corrects its direction wherever that would lead back to where it came from.",
        formula=r"v_t \leftarrow v_t - \frac{\langle v_t, x_t - x\rangle}{\lVert x_t - x\rVert^2}(x_t - x)\quad "
                r"\text{if } \cos(v_t, x_t - x) < 0",
        paper=_LI_YANG,
        builds_on=(_CHEN, _YU),
        knowledge=Knowledge.DECISION,
        norms=("l2", "linf"),
        look_for="Compare the norm after equal queries with HopSkipJump's.",
        bounded=False,
        others=OTHERS,
        presets={PAPER_PRESET: {"queries": 20_000}},
        version=2,
    )
    correction: str = param(IN_CONFLICT, title="Correction", choices=(IN_CONFLICT, ALWAYS),
                            help="When the direction loses its part along the change so far: only where the two point "
                                 "apart, which is seldom, as the true gradient never does and only a noisy estimate "
                                 "may; or in every step.")

    def adjust(self, direction: Tensor, change: Tensor) -> Tensor:
        along = float((direction * change).sum())
        if along == 0 or (along > 0 and self.correction == IN_CONFLICT):
            return direction
        return direction - change * (along / float((change * change).sum()))


# ---- Boundary attack -----------------------------------------------------------------------------------------------


ADAPTATION = 1.5
CONVERGED = 1e-7


def _adapted(step: float, worked: Tensor) -> float:
    """`step` for the next round, after one in which some of the tries `worked`: between 20 and 50 % of them should."""
    rate = float(worked.float().mean())
    if rate > 0.5:
        return step * ADAPTATION
    return step / ADAPTATION if rate < 0.2 else step


@register
@dataclass(frozen=True, kw_only=True)
class Boundary(DecisionAttack):
    """Boundary attack (Brendel et al. 2018): rounds of several steps around the image, and from those that still fool
    a step towards it, as in ART; both step sizes adapt so that 20 to 50 % of the tries work.

    Deviations: it starts at the nearest image of another class that the attacker has, from where the boundary is found
    by halving the way, not at noise. Steps adapt after every round, as in ART; foolbox, which tries one step at a time
    and adapts after 30 to 1000 queries, gets about half as near with some thousand queries.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="boundary",
        title="Boundary attack",
        sentence="A random walk along the model's boundary that takes every step which brings it nearer.",
        formula=r"\eta \perp x_t - x,\ \lVert\eta\rVert = \delta\,\lVert x_t - x\rVert,\quad "
                r"x_{t+1} = x + (1 - \epsilon)\,\lVert x_t - x\rVert\,"
                r"\frac{x_t + \eta - x}{\lVert x_t + \eta - x\rVert}",
        paper=Paper("Brendel, Rauber, Bethge", "Decision-Based Adversarial Attacks: Reliable Attacks Against Black-Box "
                    "Machine Learning Models", 2018, "https://arxiv.org/abs/1712.04248"),
        knowledge=Knowledge.DECISION,
        norms=("l2",),
        look_for="The norm falls slowly and steadily: every query is one small step, most of which are refused.",
        bounded=False,
        others=OTHERS,
        version=2,
    )
    around: float = param(0.01, title="Step around", low=1e-4, high=1.0, step=0.001,
                          help="The first step sideways, as a share of the distance; it adapts.")
    towards: float = param(0.01, title="Step towards", low=1e-4, high=1.0, step=0.001,
                           help="The first step towards the attacked image, as a share of the distance; it adapts.")
    tries: int = param(20, title="Tries", low=1, high=1000, step=1,
                       help="How many steps sideways are tried in a round; each costs one query, and another one where "
                            "it still fools the model.")

    def approach(self, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[None]:
        image = yield from _to_boundary(one, start, _exactness(one))
        around, towards = self.around, self.towards
        while towards > CONVERGED and one.left:
            aside = _aside(one, image, around, min(self.tries, one.left))
            worked = yield aside
            around = _adapted(around, worked)
            aside = aside[worked.to(aside.device)][:one.left]
            if not len(aside):
                continue
            nearer = _nearer(one, aside, one.distance(image), towards)
            worked = yield nearer
            towards = _adapted(towards, worked)
            for found in nearer[worked.to(nearer.device)]:
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


# ---- OPT and Sign-OPT ----------------------------------------------------------------------------------------------

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
            slope, sideways = yield from self.slope(one, ray, smoothing)
            ahead, step = yield from _descend(one, ray, slope, step, smoothing)
            ray = min(ray, sideways, ahead, key=lambda r: r.reach)
            if step < SMALLEST_STEP:
                step, smoothing = 1.0, smoothing / 10

    def slope(self, one: Subject, ray: _Ray, smoothing: float) -> Asking[tuple[Tensor, _Ray]]:
        """How the reach grows with the direction, and the best of the directions seen on the way."""
        raise NotImplementedError

    def _first(self, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[_Ray]:
        """The nearest of the boundaries in the directions of `start` and of further images."""
        exactness = _exactness(one)
        image = yield from _to_boundary(one, start, exactness)
        ray = _Ray(unit(image - one.clean), one.distance(image))
        for other in islice(others, self.starts - 1):
            direction = unit(other - one.clean)
            nearer = one.fit(one.clean.add(direction, alpha=ray.reach))
            if (yield from _fools(one, nearer)):  # otherwise its boundary is further away
                image = yield from _to_boundary(one, nearer, exactness)
                ray = _Ray(direction, one.distance(image))
        return ray


def _descend(one: Subject, ray: _Ray, slope: Tensor, step: float, smoothing: float) -> Asking[tuple[_Ray, float]]:
    """The best ray found against the slope, and the step to begin with next time: the step doubles while that helps;
    where the first does not help, it is quartered until one does."""
    best = ray
    for _ in range(MOST_TRIES):
        new = yield from _moved(one, ray, slope, step, best.reach, smoothing)
        step *= 2
        if new.reach >= best.reach:
            break
        best = new
    if best is ray:
        for _ in range(MOST_TRIES):
            step *= 0.25
            best = yield from _moved(one, ray, slope, step, ray.reach, smoothing)
            if best.reach < ray.reach:
                break
    return best, step


def _moved(one: Subject, ray: _Ray, slope: Tensor, step: float, guess: float, smoothing: float) -> Asking[_Ray]:
    direction = unit(ray.direction - step * slope)
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

    def slope(self, one: Subject, ray: _Ray, smoothing: float) -> Asking[tuple[Tensor, _Ray]]:
        around = unit(one.freed(one.normal(self.directions, *one.clean.shape[1:])))
        turned = unit(ray.direction + smoothing * around)
        reaches = yield from _reaches(one, turned, ray.reach, smoothing)
        growth = [(reach - ray.reach) / smoothing if math.isfinite(reach) else 0.0 for reach in reaches]
        slope = (around * around.new_tensor(growth).view(-1, 1, 1, 1)).mean(dim=0, keepdim=True)
        nearest = min(range(len(reaches)), key=reaches.__getitem__)
        return slope, _Ray(turned[nearest:nearest + 1], reaches[nearest])


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

    def slope(self, one: Subject, ray: _Ray, smoothing: float) -> Asking[tuple[Tensor, _Ray]]:
        total = one.clean.new_zeros(1, one.clean.numel())
        for portion in one.shares(self.directions):
            around = unit(one.freed(one.normal(portion, *one.clean.shape[1:])))
            images = unit(ray.direction + smoothing * around).mul_(ray.reach).add_(one.clean)
            answers = yield one.fit(images)
            total.addmm_((1.0 - 2.0 * answers)[None].to(around.device), around.flatten(1))
        return total.div_(self.directions).view_as(one.clean), ray


# ---- GeoDA ---------------------------------------------------------------------------------------------------------

GROWTH = 1.5
MOST_GROWTHS = 12


@register
@dataclass(frozen=True, kw_only=True)
class GeoDA(DecisionAttack):
    """GeoDA (Rahmati et al. 2020), in L2 and Linf: takes the boundary for a plane, estimates its normal from probes of
    low frequency and goes from the clean image along it, with the paper's share of queries (0.6) among the steps.

    Deviations: it starts at the nearest image of another class that the attacker has; probes reach 0.01 of the
    distance instead of a fixed length. As in the authors' code, the estimates of all steps add up.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="geoda",
        title="GeoDA",
        sentence="It takes the boundary for a plane, feels with smooth random patterns which way it faces, and goes "
                 "straight there from the attacked image.",
        formula=r"w \propto \sum_i \phi_i\,\eta_i,\ \eta_i \in \mathrm{span}(\mathrm{DCT}),\quad "
                r"x_{t+1} = x + r\,\frac{w}{\lVert w\rVert_2}\ (L_2),\quad x + r\,\mathrm{sign}(w)\ (L_\infty)",
        paper=Paper("Rahmati, Moosavi-Dezfooli, Frossard, Dai", "GeoDA: A Geometric Framework for Black-box "
                    "Adversarial Attacks", 2020, "https://arxiv.org/abs/2003.06468"),
        knowledge=Knowledge.DECISION,
        norms=("l2", "linf"),
        look_for="The change is smooth and wavy, for the probes are.",
        bounded=False,
        others=OTHERS,
        version=2,
    )
    frequencies: int = param(75, title="Frequencies", low=1, high=512, step=5,
                             help="How many of the lowest frequencies, across and down, the probes are made of.")

    def approach(self, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[None]:
        exactness = _exactness(one)
        image = yield from _to_boundary(one, start, exactness)
        total = one.clean.new_zeros(1, one.clean.numel())
        for probes in _portions(one.left, _halvings(exactness) + 2):
            total += yield from self._normal(one, image, probes)
            outside = yield from _outwards(one, total.view_as(one.clean).clone(), one.distance(image))
            if outside is not None:
                image = yield from _to_boundary(one, outside, exactness)

    def _normal(self, one: Subject, image: Tensor, probes: int) -> Asking[Tensor]:
        """Which way the boundary faces at `image`: the mean of smooth random patterns, each with its answer's sign."""
        _, channels, height, width = image.shape
        down, across = (cosines(side, min(side, self.frequencies)).to(image.device) for side in (height, width))
        radius = REACH * float(length(image - one.clean))
        total = image.new_zeros(1, image.numel())
        for portion in one.shares(probes):
            patterns = down @ one.normal(portion, channels, down.shape[1], across.shape[1]) @ across.T
            patterns = unit(one.freed(patterns))
            answers = yield one.fit(image.add(patterns, alpha=radius))
            total.addmm_((2.0 * answers - 1.0)[None].to(image.device), patterns.flatten(1))
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
        if (yield from _fools(one, image)):
            return image
        size *= GROWTH
    return None
