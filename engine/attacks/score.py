"""Score-based attacks: the attacker sees the class probabilities, and nothing else.

Each image's attack is a coroutine of its own (engine.attacks.coroutines), so the code below is about one image; it ends
as soon as the model is fooled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.attacks.base import Ball, Goal, Run, implements, length, unit
from engine.attacks.coroutines import Asking, Spent, Subject, cosines, run_coroutines
from engine.attacks.declared.score import NES, WAVES, ScoreAttack, SimBA, Square
from engine.serving.threat import ScoreBased


@dataclass(frozen=True)
class Aim:
    """The goal of one image, told by log-probabilities [k, K]: both values are to be lowered.

    A row that is NaN was refused: it reaches nothing, and no value is higher than its own.
    """

    wanted: int
    targeted: bool

    @classmethod
    def of(cls, goal: Goal, index: int) -> Aim:
        return cls(int((goal.labels if goal.targets is None else goal.targets)[index]), goal.targets is not None)

    def reached(self, scores: Tensor) -> bool:
        """Whether the first row is where the attacker wants it."""
        return not bool(scores[0].isnan().any()) and (int(scores[0].argmax()) == self.wanted) == self.targeted

    def cross_entropy(self, scores: Tensor) -> Tensor:
        """The log-probability of the true class, or minus that of the target [k]."""
        return _told(-scores[:, self.wanted] if self.targeted else scores[:, self.wanted])

    def margin(self, scores: Tensor) -> Tensor:
        """How far the true class is ahead of the best other one, or the target behind it [k]."""
        others = scores.clone()
        others[:, self.wanted] = -math.inf
        ahead = scores[:, self.wanted] - others.amax(dim=1)
        return _told(-ahead if self.targeted else ahead)


def _told(values: Tensor) -> Tensor:
    return values.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)


# From the clean image, of those scores, to one that fools the model; the subject's `best` is where it stands.
Search = Callable[[Any, Subject, Aim, Tensor], Asking[None]]


def searching(declared: type[ScoreAttack]) -> Callable[[Search], Search]:
    """Decorator of how `declared` searches."""
    def note(search: Search) -> Search:
        implements(declared)(partial(_run, search))
        return search

    return note


def _run(search: Search, attack: ScoreAttack, target: ScoreBased, clean: Tensor, goal: Goal, ball: Ball,
         run: Run) -> Tensor:
    near = goal.to("cpu")

    def ask(images: Tensor, rows: Tensor) -> Tensor:
        return target.scores(images, rows).clamp_min(1e-38).log()

    def coroutine(one: Subject) -> Asking[None]:
        aim = Aim.of(near, one.index)
        scores = yield one.clean
        if not aim.reached(scores):
            try:
                yield from search(attack, one, aim, scores)
            except Spent:
                return

    return run_coroutines(target, ask, ball, run, attack.queries, coroutine)


# ---- Square --------------------------------------------------------------------------------------------------------

# From which of 10,000 queries on the share of changed pixels is halved.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
MOST_COLOURS = 10  # drawn for one square: where nothing may change, all are alike


@searching(Square)
def square(attack: Square, one: Subject, aim: Aim, scores: Tensor) -> Asking[None]:
    first, move = (_stripes, _squared) if one.norm == "linf" else (_bumps, _bump)
    loss = aim.cross_entropy if aim.targeted else aim.margin
    one.best.copy_(first(one))
    scores = yield one.best
    best = float(loss(scores))
    for query in range(attack.queries):
        if aim.reached(scores):
            return
        new = move(one, _share(attack, query))
        scores = yield new
        if float(loss(scores)) < best or aim.reached(scores):
            best = float(loss(scores))
            one.best.copy_(new)


def _share(attack: Square, query: int) -> float:
    query = int(query / attack.queries * 10_000)
    return attack.share / 2 ** sum(query > limit for limit in HALVINGS)


def _signs(one: Subject, *shape: int) -> Tensor:
    return one.noise(1, *shape).sign_()


def _places(one: Subject, *sizes: int) -> list[int]:
    """A random whole number from 0 to below each of `sizes`."""
    drawn = one.noise(1, len(sizes)).add_(1).div_(2)[0].tolist()
    return [min(int(number * size), size - 1) for number, size in zip(drawn, sizes, strict=True)]


def _window(one: Subject, side: int) -> tuple[slice, slice, slice, slice]:
    """A random square in the image, among those in which something may change."""
    _, _, height, width = one.clean.shape
    if one.free is None:
        top, left = _places(one, height - side + 1, width - side + 1)
    else:
        fit = _touching(one.free, side)
        (place,) = _places(one, len(fit))
        top, left = fit[place].tolist()
    return slice(None), slice(None), slice(top, top + side), slice(left, left + side)


def _touching(free: Tensor, side: int) -> Tensor:
    """Where squares of `side` begin that hold a pixel of the mask `free` [1, 1, H, W]: rows and columns [k, 2]."""
    across = F.max_pool2d(free.float(), (1, side), stride=1)
    return F.max_pool2d(across, (side, 1), stride=1)[0, 0].nonzero()


def _stripes(one: Subject) -> Tensor:
    """Every column of every channel as bright, or as dark, as it may be."""
    _, channels, _, width = one.clean.shape
    return one.upper.where(_signs(one, channels, 1, width) > 0, one.lower)


def _squared(one: Subject, share: float) -> Tensor:
    """The best image with one square of every channel as bright, or as dark, as it may be.

    As in the authors' code another colour is drawn where the square has this one already: asking the model about the
    same image again would waste a query, with one channel nearly every second.
    """
    _, channels, height, width = one.clean.shape
    window = _window(one, min(max(round(math.sqrt(share * height * width)), 1), height, width))
    new = one.best.clone()
    for _ in range(MOST_COLOURS):
        new[window] = one.upper[window].where(_signs(one, channels, 1, 1) > 0, one.lower[window])
        if not new[window].equal(one.best[window]):
            break
    return new


def _bumps(one: Subject) -> Tensor:
    """Bumps of random signs in five rows and columns, of length eps."""
    _, channels, height, width = one.clean.shape
    side = max(1, min(height, width) // 5)
    change = torch.zeros_like(one.clean)
    for top in range((height - height // side * side) // 2, height - side + 1, side):
        for left in range((width - width // side * side) // 2, width - side + 1, side):
            change[:, :, top:top + side, left:left + side] += _shape(one, side) * _signs(one, channels, 1, 1)
    return _at_length(one, change)


def _at_length(one: Subject, change: Tensor) -> Tensor:
    change = one.freed(change)
    return one.fit(change.mul_(one.eps / length(change).clamp_min(1e-12)).add_(one.clean))


def _bump(one: Subject, share: float) -> Tensor:
    """The best image with the change of one random window moved, as a bump, into another."""
    _, channels, height, width = one.clean.shape
    side = max(round(math.sqrt(share * height * width)), 3)
    side = min(side + 1 - side % 2, height, width)
    change = one.best - one.clean
    to, away = _window(one, side), _window(one, side)
    there = change[to]
    unused = max(0.0, one.eps ** 2 - float(length(change)) ** 2)
    both = change.new_zeros(1, 1, height, width)
    both[to[0], :, to[2], to[3]] = 1.0
    both[away[0], :, away[2], away[3]] = 1.0
    moved = float(length(change * both)) ** 2
    new = _shape(one, side) * _signs(one, channels, 1, 1) + there / _by_channel(there)
    new = new / _by_channel(new) * math.sqrt(unused / channels + moved)
    change[away] = 0.0
    change[to] = new
    return _at_length(one, change)


def _by_channel(window: Tensor) -> Tensor:
    return window.norm(dim=(2, 3), keepdim=True).clamp_min(1e-12)


def _shape(one: Subject, side: int) -> Tensor:
    """A bump and a dent side by side in a square [side, side] of length 1, across or down at random."""
    if side < 2:
        return one.clean.new_ones(side, side)
    shape = torch.cat([_hill(side // 2, side), -_hill(side - side // 2, side)])
    shape = shape / shape.norm()
    return shape if float(one.noise(1, 1)) < 0 else shape.T


def _hill(height: int, width: int) -> Tensor:
    """A pyramid of nested rectangles, the n-th from the middle adding 1 / n^2."""
    hill = torch.zeros(height, width)
    top, left = height // 2, width // 2
    for ring in range(max(height // 2 + 1, width // 2 + 1)):
        rows = slice(max(top, 0), min(top + 2 * ring + 1, height))
        hill[rows, max(left, 0):min(left + 2 * ring + 1, width)] += 1 / (ring + 1) ** 2
        top, left = top - 1, left - 1
    return hill / hill.norm()


# ---- NES -----------------------------------------------------------------------------------------------------------

MOMENTUM = 0.9


@searching(NES)
def nes(attack: NES, one: Subject, aim: Aim, scores: Tensor) -> Asking[None]:
    step = attack.step_size or one.eps / 5
    image, velocity = one.clean, one.clean * 0.0
    for _ in range(attack.queries):
        gradient = yield from _gradient(attack, one, aim, image)
        velocity = MOMENTUM * velocity + (1 - MOMENTUM) * gradient
        image = one.fit(image.sub(velocity.sign(), alpha=step))
        one.best.copy_(image)
        if aim.reached((yield image)):
            return


def _gradient(attack: NES, one: Subject, aim: Aim, image: Tensor) -> Asking[Tensor]:
    """The estimated gradient of what is to be lowered, up to its length."""
    gradient = image.new_zeros(1, image.numel())
    for portion in one.shares(max(1, attack.probes // 2)):
        around = one.freed(one.normal(portion, *image.shape[1:]))
        probes = torch.cat([image + attack.radius * around, image - attack.radius * around]).clamp_(0.0, 1.0)
        ahead, behind = aim.cross_entropy((yield probes)).split(portion)
        both = ahead.isfinite() & behind.isfinite()  # a pair of which one was refused tells nothing
        gradient.addmm_((ahead - behind).where(both, 0.0)[None], around.flatten(1))
    return gradient.view_as(image)


# ---- SimBA ---------------------------------------------------------------------------------------------------------


@searching(SimBA)
def simba(attack: SimBA, one: Subject, aim: Aim, scores: Tensor) -> Asking[None]:
    directions = _Waves(one, attack.frequencies) if attack.basis == WAVES else _Pixels(one)
    best = float(aim.cross_entropy(scores))
    order: list[int] = []
    while True:
        order = order or one.noise(1, directions.count)[0].argsort().tolist()
        direction = directions[order.pop()]
        for step in (attack.step_size, -attack.step_size):
            new = one.fit(one.best.add(direction, alpha=step))
            scores = yield new
            if float(aim.cross_entropy(scores)) < best:
                best = float(aim.cross_entropy(scores))
                one.best.copy_(new)
                if aim.reached(scores):
                    return
                break


class _Pixels:
    """Directions that are single entries of the image which may change."""

    def __init__(self, one: Subject) -> None:
        self._clean = one.clean
        self._places = one.freed(one.clean.new_ones(one.clean.shape)).flatten().nonzero()[:, 0]
        self.count = len(self._places)

    def __getitem__(self, number: int) -> Tensor:
        direction = torch.zeros_like(self._clean)
        direction.view(-1)[self._places[number]] = 1.0
        return direction


class _Waves:
    """Directions that are cosine waves of low frequency in one channel; with a mask, what of them lies within."""

    def __init__(self, one: Subject, frequencies: int) -> None:
        self._one, self._clean = one, one.clean
        _, channels, height, width = one.clean.shape
        self._down, self._across = (cosines(side, min(side, frequencies)) for side in (height, width))
        self._sizes = channels, self._down.shape[1], self._across.shape[1]
        self.count = math.prod(self._sizes)

    def __getitem__(self, number: int) -> Tensor:
        _, down, across = self._sizes
        direction = torch.zeros_like(self._clean)
        channel, place = divmod(number, down * across)
        direction[0, channel] = self._down[:, place // across, None] * self._across[None, :, place % across]
        return direction if self._one.free is None else unit(self._one.freed(direction))
