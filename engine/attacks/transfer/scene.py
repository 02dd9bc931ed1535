"""What the pieces of an attack share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.attacks.base import Ball, Draw, Goal, Run
from engine.errors import EngineError
from engine.serving.threat import Ascent, WhiteBox

if TYPE_CHECKING:
    from engine.attacks.transfer.rules import Rule
    from engine.attacks.transfer.transformations import Transformation


@dataclass(frozen=True)
class Looks:
    """How often a step takes the gradient: so often at the point itself, and then `each` times at `places` around."""

    here: int
    places: int = 0
    each: int = 1


@dataclass
class Scene:
    """An attack under way, as its pieces see it: the model, the batch, the transformations, and the random numbers of
    the step, which are all drawn when it begins and then taken one after the other."""

    target: WhiteBox
    goal: Goal
    ball: Ball
    run: Run
    transformations: tuple[Transformation, ...]
    step_size: float
    numbers: Iterator[Tensor] = field(default_factory=lambda: iter(()))

    def step(self, rule: Rule, points: Tensor, memory: Tensor | None, last: bool) -> tuple[Ascent, Tensor | None]:
        """What `rule` finds at `points`, one for each image."""
        self.numbers = self.run.drawn(self._draws_of(rule.looks(last), points), points)
        return rule(self, points, memory, last)

    def _draws_of(self, looks: Looks, points: Tensor) -> Iterator[Draw]:
        """The random numbers that a step takes, in their order."""
        look = [draw for transformation in self.transformations for draw in transformation.draws(points)]
        look *= product(self.transformations)
        yield from look * looks.here
        for _ in range(looks.places):
            yield Draw(tuple(points.shape[1:]))
            yield from look * looks.each

    @property
    def size(self) -> int:
        return len(self.ball.clean)

    @cached_property
    def rows(self) -> Tensor:
        """The number of every image of the batch."""
        return torch.arange(self.size, device=self.ball.clean.device)

    def repeated(self, count: int) -> Tensor:
        """`rows`, so many times over: the same tensor each time, which the runner then reads but once."""
        if count not in self._repeats:
            self._repeats[count] = self.rows.repeat(count)
        return self._repeats[count]

    @cached_property
    def _repeats(self) -> dict[int, Tensor]:
        return {1: self.rows}

    def gradient(self, points: Tensor, rows: Tensor) -> Ascent:
        """The gradient at points [R, C, H, W] near all images, so many times over, which `rows` are `repeated`, as the
        mean over all copies of each point.

        The model sees `rows_at_once` copies together, however many there are.
        """
        if not self.transformations:
            return self.target.gradient(points, self.goal.objective, rows)
        copies = product(self.transformations)
        parts = (self._gradients(points, rows, numbers) for numbers in self._groups(copies, len(points)))
        return mean_of(parts, len(points), copies)

    def around(self, points: Tensor, count: int, reach: float, look: Callable[[Tensor, Tensor], Ascent]) -> Ascent:
        """The mean of what `look` sees at `count` random places no farther than `reach` from each image's point, and
        unchanged where the image may not change."""
        # Where copies are drawn at random, places are visited one by one: otherwise the order in which an image's
        # random numbers are taken, and so its result, would depend on how many images share the batch.
        random = any(transformation.draws(points) for transformation in self.transformations)
        groups = (range(i, i + 1) for i in range(count)) if random else self._groups(count, self.size)
        parts = (look(torch.cat([points + self.ball.freed_(next(self.numbers)).mul_(reach) for _ in group]),
                      self.repeated(len(group))) for group in groups)
        return mean_of(parts, self.size, count)

    def _groups(self, count: int, size: int) -> Iterator[range]:
        """The numbers below `count` in groups, so that a group of batches of `size` is what the model takes at once."""
        together = max(1, self.target.rows_at_once // size)
        return (range(first, min(first + together, count)) for first in range(0, count, together))

    def _gradients(self, points: Tensor, rows: Tensor, numbers: range) -> Ascent:
        """The gradient at every point by way of the copies `numbers`, one after the other [len(numbers) * R, ...]."""
        points = torch.cat([points] * len(numbers)).requires_grad_(True)
        with torch.enable_grad():
            copies = torch.cat([self._copy(some, rows, number)
                                for some, number in zip(points.chunk(len(numbers)), numbers, strict=True)])
        together = self.repeated(len(copies) // self.size)
        ascent = self.target.gradient(copies.detach(), self.goal.objective, together)
        # The model and the transformation are differentiated apart, so that only the cheap one keeps a graph here.
        (gradient,) = torch.autograd.grad(copies, points, ascent.gradient)
        return type(ascent)(gradient, ascent.logits, ascent.value)

    def _copy(self, points: Tensor, rows: Tensor, number: int) -> Tensor:
        """Copy `number` of the points: one transformation after the other, each at one of its own copies."""
        for transformation in self.transformations:
            number, own = divmod(number, transformation.copies)
            drawn = [next(self.numbers) for _ in transformation.draws(points)]
            points = transformation(points, rows, own, drawn, self)
        return points

    @cached_property
    def different(self) -> Tensor:
        """Which of the attacker's further images differ from which image of the batch, bool [N, M]."""
        pool = self.run.others.images
        found = torch.stack([(one != self.ball.clean).flatten(1).any(dim=1) for one in pool], dim=1)
        if not bool(found.any(dim=1).all()):
            raise EngineError("this attack mixes in other images and has none that differs from the attacked one; "
                              "attack several images, or give it others")
        return found

    def other(self, rows: Tensor, share: Tensor) -> Tensor:
        """For every row that one of the further images that differ from image `rows[i]` which lies `share` [R] of the
        way through them."""
        allowed = self.different[rows]
        count = allowed.sum(dim=1)
        place = (share * count).long()
        chosen = (allowed.cumsum(dim=1) == place[:, None] + 1).long().argmax(dim=1)
        return self.run.others.images[chosen]


def mean_of(parts: Iterable[Ascent], size: int, count: int) -> Ascent:
    """The mean of `count` ascents for each of `size` points, which come in parts of [k * size, ...].

    They are added one after the other: how many make a part depends on the size of the batch, and sums would round by
    it.
    """
    total: Ascent | None = None
    for part in parts:
        for copy in zip(*(t.split(size) for t in (part.gradient, part.logits, part.value)), strict=True):
            if total is None:
                total = type(part)(*copy)
            else:
                total.add_(type(part)(*copy))
    assert total is not None, "no copies"
    total.div_(count)
    return total


def product(transformations: tuple[Transformation, ...]) -> int:
    """How many copies these transformations make together."""
    copies = 1
    for transformation in transformations:
        copies *= transformation.copies
    return copies
