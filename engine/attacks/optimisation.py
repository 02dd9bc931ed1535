"""Attacks that look for the smallest change that fools the model, instead of using up a budget.

None of them has an eps. They stay between black and white, and within the mask where there is one: the runner's ball,
whose bounds `lower` and `upper` they read. "Clear" of the boundary means by CLEAR logits, so that an image found with
quick arithmetic is still wrong when the original model looks at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.attacks.base import Ball, Goal, Run, implements, length
from engine.attacks.declared.optimisation import FAB, LBFGS, CarliniWagner, DeepFool
from engine.attacks.norms import NORMS
from engine.serving.threat import Ascent, WhiteBox

CLEAR = 1e-3
ROUNDS, BLIND_ROUNDS = 30, 8  # of Newton's method at most, and where nobody looks whether it is done


class _Smallest:
    """Of every image the smallest change so far that fools the model clearly; the clean image until there is one."""

    def __init__(self, ball: Ball) -> None:
        self._clean, self._order = ball.clean, NORMS[ball.norm].order
        self.images = ball.clean.clone()
        self.sizes = ball.clean.new_full((len(ball.clean), 1, 1, 1), float("inf"))

    @property
    def found(self) -> Tensor:
        """Which images are fooled, bool [N]."""
        return self.sizes.isfinite()[:, 0, 0, 0]

    def see(self, images: Tensor, reached: Tensor) -> None:
        """Keep those of `images` [N, C, H, W] that `reached` the goal with a smaller change than before."""
        sizes = length(images - self._clean, self._order)
        smaller = reached.view(-1, 1, 1, 1) & (sizes < self.sizes)
        self.images = images.where(smaller, self.images)
        self.sizes = sizes.where(smaller, self.sizes)


class _Constants:
    """Of every image the weight of fooling against staying small: ten times more until it is fooled, then bisected."""

    def __init__(self, clean: Tensor, first: float) -> None:
        self.value = clean.new_full((len(clean), 1, 1, 1), first)
        self._low = self.value.new_zeros(self.value.shape)
        self._high = self.value.new_full(self.value.shape, float("inf"))

    def adapt(self, succeeded: Tensor) -> None:
        """Less weight for the images that `succeeded` [N], more for the others."""
        success = succeeded.view(-1, 1, 1, 1)
        self._high = self._high.minimum(self.value).where(success, self._high)
        self._low = self._low.where(success, self._low.maximum(self.value))
        self.value = ((self._low + self._high) / 2).where(self._high.isfinite(), self.value * 10)


# ---- C&W -----------------------------------------------------------------------------------------------------------


class _Tanh:
    """Images between the ball's bounds as (tanh w + 1) / 2 of the way from lower to upper, for any w."""

    INSIDE = 1 - 1e-6  # black and white lie at infinite w; begin just short of it

    def __init__(self, ball: Ball) -> None:
        self._lower, self._width = ball.lower, ball.upper - ball.lower
        self.start = ((ball.clean - ball.lower) / self._width.clamp_min(1e-12) * 2 - 1).mul_(self.INSIDE).atanh_()

    def images(self, variable: Tensor) -> Tensor:
        return variable.tanh().add_(1).mul_(self._width).div_(2).add_(self._lower)

    def gradient(self, variable: Tensor, gradient: Tensor) -> Tensor:
        """With respect to `variable`, made of the gradient with respect to the images (and in its place)."""
        return gradient.mul_(1 - variable.tanh().square_()).mul_(self._width).div_(2)


class _SquaredLength:
    """C&W in L2: the change's squared length, every round from the clean image with a bisected constant."""

    def __init__(self, ball: Ball, constant: float) -> None:
        self._constants = _Constants(ball.clean, constant)

    @property
    def constant(self) -> Tensor:
        return self._constants.value

    def gradient(self, change: Tensor) -> Tensor:
        return change.mul(2)

    def adapt(self, succeeded: Tensor, best: _Smallest) -> None:
        self._constants.adapt(succeeded)

    def restart(self, start: Tensor, reached: Tensor) -> Tensor:
        return start.clone()


class _AboveThreshold:
    """C&W in Linf: what exceeds a threshold, which shrinks to 0.9 of the best change after every success; rounds go on
    from where the last one ended, with a doubled constant where it failed."""

    SHRINK = 0.9

    def __init__(self, ball: Ball, constant: float) -> None:
        self.constant = ball.clean.new_full((len(ball.clean), 1, 1, 1), constant)
        self._threshold = ball.clean.new_ones(self.constant.shape)

    def gradient(self, change: Tensor) -> Tensor:
        return change.sign().mul_(change.abs() > self._threshold)

    def adapt(self, succeeded: Tensor, best: _Smallest) -> None:
        shrunk = best.sizes.minimum(self._threshold).mul(self.SHRINK)
        success = succeeded.view(-1, 1, 1, 1)
        self._threshold = shrunk.where(success, self._threshold)
        self.constant = self.constant.where(success, self.constant * 2)

    def restart(self, start: Tensor, reached: Tensor) -> Tensor:
        return reached


_DISTANCES: dict[str, type[_SquaredLength] | type[_AboveThreshold]] = {"l2": _SquaredLength, "linf": _AboveThreshold}


@implements(CarliniWagner)
def carlini_wagner(attack: CarliniWagner, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
    enough = max(attack.confidence, CLEAR)
    space, best = _Tanh(ball), _Smallest(ball)
    distance = _DISTANCES[ball.norm](ball, attack.constant)
    variable = space.start.clone()
    for round_ in range(attack.rounds):
        variable = distance.restart(space.start, variable)
        adam = torch.optim.Adam([variable], lr=attack.rate)
        succeeded = clean.new_zeros(len(clean)) > 0
        for step in range(attack.steps):
            images = space.images(variable) if round_ or step else clean.clone()  # tanh is inexact
            ascent = target.gradient(images, goal.margin)
            run.record(round_ * attack.steps + step, attack.rounds * attack.steps, images, ascent.logits, ascent.value)
            reached = ascent.value >= enough
            best.see(images, reached)
            succeeded = succeeded | reached
            push = ascent.gradient.mul_(distance.constant).mul_(~reached.view(-1, 1, 1, 1))
            variable.grad = space.gradient(variable, distance.gradient(images.sub_(clean)).sub_(push))
            adam.step()
        distance.adapt(succeeded, best)
    return best.images


# ---- L-BFGS --------------------------------------------------------------------------------------------------------


class _Curvature:
    """The last few steps and changes of the gradient of every image, from which L-BFGS makes a direction."""

    KEPT = 5

    def __init__(self, like: Tensor) -> None:
        self._steps = like.new_zeros(self.KEPT, *like.shape)
        self._turns = like.new_zeros(self.KEPT, *like.shape)
        self._weights = like.new_zeros(self.KEPT, len(like), 1, 1, 1)  # 1 / (step . turn); 0: nothing kept

    def learn(self, step: Tensor, turn: Tensor, accepted: Tensor) -> None:
        """Keep `step` and the `turn` of the gradient for the images `accepted` whose curvature is positive."""
        bend = _dot(step, turn)
        takes = accepted & (bend > 1e-10 * _dot(turn, turn))
        for kept, new in ((self._steps, step), (self._turns, turn), (self._weights, 1 / bend)):
            kept.copy_(torch.cat([kept[1:], new[None]]).where(takes, kept))

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the inverse Hessian times `gradient`; where nothing is known of it, that of the squared size is 2."""
        way, shares = gradient.clone(), []
        for step, turn, weight in zip(*(reversed(k.unbind()) for k in (self._steps, self._turns, self._weights)),
                                      strict=True):
            shares.append(weight * _dot(step, way))
            way.sub_(shares[-1] * turn)
        newest = self._turns[-1]
        known = self._weights[-1] > 0
        way.div_((self._weights[-1] * _dot(newest, newest)).where(known, way.new_full((), 2.0)))
        for step, turn, weight, share in zip(self._steps, self._turns, self._weights, reversed(shares), strict=True):
            way.add_((share - weight * _dot(turn, way)) * step)
        return torch.neg(way)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Per image, [N, 1, 1, 1]."""
    return (one * other).sum(dim=(1, 2, 3), keepdim=True)


@implements(LBFGS)
def lbfgs(attack: LBFGS, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
    aim = goal if goal.targets is not None else Goal(goal.labels, _rivals(target.logits(clean), goal, 1)[:, 0])
    best, constants = _Smallest(ball), _Constants(clean, attack.constant)
    for round_ in range(attack.rounds):
        succeeded = clean.new_zeros(len(clean)) > 0
        for step, (images, ascent, accepted) in enumerate(_descent(attack, target, aim, ball, constants.value)):
            reached = goal.margin(ascent.logits) >= CLEAR
            run.record(round_ * attack.steps + step, attack.rounds * attack.steps, images, ascent.logits, ascent.value)
            best.see(images, reached)
            # A step that goes too far fools the model too, and says nothing of the constant.
            succeeded = reached.where(accepted, succeeded)
        constants.adapt(succeeded)
    return best.images


def _descent(attack: LBFGS, target: WhiteBox, aim: Goal, ball: Ball, constant: Tensor,
             ) -> Iterator[tuple[Tensor, Ascent, Tensor]]:
    """Projected L-BFGS from the clean images: what was tried, the model's answer, and whether it was a descent."""
    clean = ball.clean
    curvature = _Curvature(clean)
    at, height, gradient = clean, clean.new_full((len(clean), 1, 1, 1), float("inf")), clean.new_zeros(clean.shape)
    way, stride = gradient, clean.new_ones(height.shape)
    tried = clean
    for _ in range(attack.steps):
        ascent = target.gradient(tried, aim.objective)
        change = tried - clean
        here = _dot(change, change) - constant * ascent.value.view(-1, 1, 1, 1)
        steep = change.mul_(2).sub_(constant * ball.freed_(ascent.gradient))
        accepted = here <= height + 1e-4 * _dot(gradient, tried - at)
        yield tried, ascent, accepted[:, 0, 0, 0]
        curvature.learn(tried - at, steep - gradient, accepted & height.isfinite())
        at, height = tried.where(accepted, at), here.where(accepted, height)
        gradient = steep.where(accepted, gradient)
        free = ~(((at <= ball.lower) & (gradient > 0)) | ((at >= ball.upper) & (gradient < 0)))
        downhill = curvature.direction(gradient * free).mul_(free)
        way = downhill.where(accepted, way)
        stride = stride.new_ones(stride.shape).where(accepted, stride / 2)
        tried = (at + stride * way).clamp_(ball.lower, ball.upper)


# ---- DeepFool and FAB: from one tangent plane of the decision boundary to the next ---------------------------------


def _rivals(logits: Tensor, goal: Goal, most: int) -> Tensor:
    """The likeliest classes but the true one, at most `most`, int64 [N, J]."""
    others = logits.scatter(1, goal.labels[:, None], float("-inf"))
    return others.topk(min(most, logits.shape[1] - 1), dim=1).indices


@dataclass
class _Plane:
    """Where a linear model of the boundary says it is: `gap` [R, 1, 1, 1] is missing along `normal` [R, C, H, W]."""

    gap: Tensor
    normal: Tensor

    def nearer(self, other: _Plane, norm: str) -> _Plane:
        """Per image the one at the smaller distance."""
        first = self.distance(norm) <= other.distance(norm)
        return _Plane(self.gap.where(first, other.gap), self.normal.where(first, other.normal))

    def distance(self, norm: str) -> Tensor:
        """Of the plane in `norm`, were there no black and white, [R, 1, 1, 1]."""
        return self.gap.abs() / self._size(norm)

    def step(self, norm: str) -> Tensor:
        """The shortest way to the plane in `norm`, were there no black and white."""
        ways = {"l2": self.normal / length(self.normal).clamp_min(1e-37), "linf": self.normal.sign()}
        return ways[norm] * (self.gap / self._size(norm))

    def _size(self, norm: str) -> Tensor:
        return length(self.normal, NORMS[norm].dual).clamp_min(1e-37)

    def step_within(self, ball: Ball, images: Tensor, missing: Tensor | None = None, *, blind: bool) -> Tensor:
        """The shortest way from `images` to the plane that stays within the ball's bounds, or as far as they let it.

        Each entry moves at a speed (L2: of its own slope; Linf: 1) until it meets its bound. How far the image has come
        by a time is concave and made of straight pieces, so Newton's method from 0 meets the exact time from below,
        nearly always after 3 or 4 rounds. `blind`: without a look at whether it has.
        """
        missing = self.gap if missing is None else missing
        way = self.normal.sign() * missing.sign()
        room = (ball.upper - images).where(way > 0, images - ball.lower)
        slope = self.normal.abs()
        speed = slope if ball.norm == "l2" else (slope > 0).to(slope.dtype)
        time = missing.new_zeros(missing.shape)
        for _ in range(BLIND_ROUNDS if blind else ROUNDS):
            moved = (time * speed).minimum(room)
            lacks = missing.abs() - _dot(slope, moved)
            moving = _dot(slope, speed * (time * speed < room))
            more = (lacks / moving.clamp_min(1e-37)).where((moving > 0) & (lacks > 1e-6 * missing.abs()), lacks * 0)
            if not blind and not bool(more.any()):
                break
            time = time + more
        return (time * speed).minimum(room).mul_(way)


class _Boundary:
    """Asks the model for the tangent planes at images, one per class that might take over, and keeps the answers."""

    def __init__(self, target: WhiteBox, goal: Goal, ball: Ball, candidates: int) -> None:
        self._target, self._goal, self._ball = target, goal, ball
        self.logits = target.logits(ball.clean)
        self.margin = goal.margin(self.logits)
        self._rivals = _rivals(self.logits, goal, candidates)

    @property
    def far(self) -> bool:
        """Whether a look at the answers means to wait for the model."""
        return self._target.far

    @property
    def reached(self) -> Tensor:
        """Which images were clearly beyond the boundary when last seen, bool [N]."""
        return self.margin >= CLEAR

    def nearest(self, images: Tensor, rows: Tensor) -> _Plane:
        """The nearest of the tangent planes at `images`, which belong to the images `rows`."""
        objectives = [self._goal.margin] if self._goal.targets is not None else [
            self._lead(rivals) for rivals in self._rivals.unbind(1)]
        nearest: _Plane | None = None
        for objective in objectives:
            ascent = self._target.gradient(images, objective, rows)
            self.note(rows, ascent.logits)
            plane = _Plane((2 * CLEAR - ascent.value).view(-1, 1, 1, 1), self._ball.freed_(ascent.gradient, rows))
            nearest = plane if nearest is None else nearest.nearer(plane, self._ball.norm)
        assert nearest is not None  # there are at least two classes
        return nearest

    def note(self, rows: Tensor, logits: Tensor) -> None:
        self.logits = self.logits.index_copy(0, rows, logits)
        self.margin = self.margin.index_copy(0, rows, self._goal.margin(logits, rows))

    def _lead(self, rivals: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """By how many logits each row's rival leads its true class."""
        def lead(logits: Tensor, rows: Tensor) -> Tensor:
            found = logits.gather(1, rivals[rows, None]) - logits.gather(1, self._goal.labels[rows, None])
            return found[:, 0]

        return lead


@implements(DeepFool)
def deepfool(attack: DeepFool, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
    boundary = _Boundary(target, goal, ball, attack.candidates)
    images, change = clean.clone(), clean.new_zeros(clean.shape)
    run.record(0, attack.steps + 1, images, boundary.logits, boundary.margin)
    rows = (~boundary.reached).nonzero()[:, 0]
    for step in range(attack.steps):
        if len(rows) == 0:
            break
        plane = boundary.nearest(images[rows], rows)
        run.record(step + 1, attack.steps + 1, images, boundary.logits, boundary.margin)
        playing = ~boundary.reached[rows]
        way = plane.step(ball.norm)
        if target.looks(step):
            left = playing.nonzero()[:, 0]
            rows, way = rows[left], way[left]
        else:
            way = way.where(playing.view(-1, 1, 1, 1), 0.0)
        change[rows] += way
        images[rows] = ball.project_(clean[rows] + (1 + attack.overshoot) * change[rows], rows)
    return images


@implements(FAB)
def fab(attack: FAB, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
    boundary, best = _Boundary(target, goal, ball, attack.candidates), _Smallest(ball)
    run.record(0, attack.restarts * attack.steps + 1, clean, boundary.logits, boundary.margin)
    best.see(clean, boundary.reached)
    rows = (~boundary.reached).nonzero()[:, 0]
    for restart in range(attack.restarts if len(rows) else 0):
        images = clean.clone() if restart == 0 else _nearby(attack, best, ball, run)
        for step in range(attack.steps):
            images[rows] = _approach(attack, boundary, images[rows], rows, ball.only(rows))
            boundary.note(rows, target.logits(images[rows], rows))
            run.record(restart * attack.steps + step + 1, attack.restarts * attack.steps + 1, images, boundary.logits,
                       boundary.margin)
            reached = boundary.reached
            best.see(images, reached)
            back = clean + attack.backward * (images - clean)
            images = back.where(reached.view(-1, 1, 1, 1), images)
    return best.images


def _approach(attack: FAB, boundary: _Boundary, images: Tensor, rows: Tensor, ball: Ball) -> Tensor:
    """One step of the images `rows` towards the boundary, between straight on and anew from the clean image."""
    plane = boundary.nearest(images, rows)
    missing = plane.gap - _dot(plane.normal, ball.clean - images)
    on = plane.step_within(ball, images, blind=boundary.far)
    anew = plane.step_within(ball, ball.clean, missing, blind=boundary.far)
    far_on, far_anew = (length(way, NORMS[ball.norm].order).clamp_min(1e-8) for way in (on, anew))
    weight = (far_on / (far_on + far_anew)).clamp_max(attack.bias)
    moved = (images + attack.overshoot * on).lerp(ball.clean + attack.overshoot * anew, weight)
    return moved.clamp_(ball.lower, ball.upper)


def _nearby(attack: FAB, best: _Smallest, ball: Ball, run: Run) -> Tensor:
    """A random point at half the best change's distance; of an image never fooled, at a tenth of the L2 or Linf
    distance from black to white."""
    clean = ball.clean
    noise = ball.freed_(run.noise(clean) if ball.norm == "linf" else run.normal(clean))
    limit = 0.1 * length(ball.upper - ball.lower, NORMS[ball.norm].order)
    radius = best.sizes.minimum(limit) / 2
    return (clean + noise * (radius / length(noise, NORMS[ball.norm].order))).clamp_(ball.lower, ball.upper)
