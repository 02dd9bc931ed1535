"""Black-box attacks as one coroutine an image: all images of a batch ask the model together, each at its own pace.

An attack writes what it does to one image as a generator that yields images to ask about and is sent the answers. The
model sees full batches for as long as there are questions enough, queries are counted per image, and no image's
outcome depends on the others: neither on which there are nor on how many still run. (What the model answers may: it
rounds differently in batches of other sizes.)

Coroutines run on the host. Of each round the questions go to the model's device in one copy, and the answers come back
in one, however many images there are: an accelerator is waited for once a round.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from engine.attacks.base import Ball, Others, Run, length
from engine.attacks.norms import NORMS
from engine.serving.crossing import sent
from engine.serving.threat import Oracle

T = TypeVar("T")

# Yields images [k, C, H, W]; is sent the k answers, on the CPU.
Asking = Generator[Tensor, Tensor, T]
# Images [R, C, H, W] on the model's device, and on the host the image of the batch that each row belongs to -> an
# answer a row.
Ask = Callable[[Tensor, Tensor], Tensor]

PORTION = 16  # rows that one coroutine asks about at a time: they fill a batch of the usual size
BETWEEN_WALKS = 8  # queries an image between two reports of where the attack stands


class Spent(Exception):
    """Thrown into a coroutine that asks about more images than it has queries left. It may ask about fewer, or end."""


class Subject:
    """One attacked image as its own coroutine sees it, on the host and with a leading dimension of 1.

    `others` are the further images that the attacker has, `left` is how many questions it may still ask, `asked` how
    many queries were answered (several a question of one who averages), `best` the image to be returned: the clean one
    until `keep` is given something.
    """

    def __init__(self, index: int, ball: Ball, best: Tensor, left: int, run: Run, others: Others) -> None:
        self.index = index
        self.others = others
        self.clean = ball.clean[index:index + 1]
        self.lower, self.upper = ball.lower[index:index + 1], ball.upper[index:index + 1]
        self.free = None if ball.free is None else ball.free[index:index + 1]
        self.norm, self._budget = ball.norm, ball.budget
        self.best = best
        self.left = left
        self.asked = 0
        self.run = run
        self._nearest = float("inf")

    @property
    def eps(self) -> float:
        """The radius, of which only a bounded attack may ask."""
        assert self._budget.eps is not None, "this attack has no budget"
        return self._budget.eps

    def rows(self, count: int) -> Tensor:
        """This image's number in the batch, `count` times."""
        return torch.full((count,), self.index)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers of this image's own."""
        return self.run.normal(self.clean.new_empty(1).expand(shape), self.rows(shape[0]))

    def noise(self, *shape: int) -> Tensor:
        """Uniform numbers in [-1, 1) of this image's own."""
        return self.run.noise(self.clean.new_empty(1).expand(shape), self.rows(shape[0]))

    def shares(self, count: int) -> Iterator[int]:
        """`count` rows in portions to be asked about at a time; never by the batch or the company, as sums over
        portions would round by them, and the last queries buy other portions."""
        while count > 0:
            portion = min(count, PORTION)
            yield portion
            count -= portion

    @property
    def entries(self) -> int:
        """How many entries of the image may change."""
        return self.clean.numel() if self.free is None else int(self.free.sum()) * self.clean.shape[1]

    def freed(self, directions: Tensor) -> Tensor:
        """`directions` [k, C, H, W] with 0, in place, outside the mask: before their length is measured."""
        return directions if self.free is None else directions.mul_(self.free)

    def fit(self, images: Tensor) -> Tensor:
        """`images` moved in place to where pixels may be: between black and white, and unchanged outside the mask."""
        return images.clamp_(self.lower, self.upper)

    def distance(self, image: Tensor) -> float:
        """From the clean image, in the norm of the run."""
        return float(length(image - self.clean, NORMS[self.norm].order))

    @property
    def found(self) -> bool:
        """Whether `keep` was given anything."""
        return self._nearest < float("inf")

    def keep(self, image: Tensor) -> None:
        """Remember an image that does what the attacker wants, if it is nearer than the one known."""
        distance = self.distance(image)
        if distance < self._nearest:
            self._nearest = distance
            self.best.copy_(image)
            self.run.nearer(self.index, image, self.asked)


def cosines(side: int, count: int) -> Tensor:
    """The lowest `count` frequencies of the discrete cosine transform of `side` numbers, each of length 1, as columns
    [side, count]."""
    places, frequencies = torch.arange(side) + 0.5, torch.arange(count)
    waves = torch.cos(torch.pi / side * places[:, None] * frequencies)
    return waves / waves.norm(dim=0)


@dataclass
class _Question:
    """What one coroutine waits for: `images` to be asked about, and the `answers` there are so far."""

    subject: Subject
    coroutine: Asking[None]
    images: Tensor
    answers: list[Tensor] = field(default_factory=list)
    asked: int = 0

    @property
    def open(self) -> int:
        return len(self.images) - self.asked


def run_coroutines(target: Oracle, ask: Ask, ball: Ball, run: Run, queries: int,
                   coroutine: Callable[[Subject], Asking[None]]) -> Tensor:
    """The best images [N, C, H, W] once every image's `coroutine` is over or has spent its `queries`.

    Into a coroutine that asks for more than is left, Spent is thrown.
    """
    ball, others = ball.to("cpu"), run.others.to("cpu")
    best = ball.clean.clone()
    allowed = target.left.clamp(max=queries).tolist()
    subjects = [Subject(i, ball, best[i:i + 1], allowed[i], run, others) for i in range(len(best))]
    _Scheduler(target, ask, subjects, best, run).run(coroutine)
    return best.to(target.device)


@dataclass
class _Resumable:
    """A coroutine that can go on: `step` lets it run until its next question."""

    subject: Subject
    coroutine: Asking[None]
    step: Callable[[], Tensor]


class _Scheduler:
    """All coroutines of a batch. One runs only when the model would otherwise have too little to do, so that at most a
    batch and one question of images wait to be asked about."""

    def __init__(self, target: Oracle, ask: Ask, subjects: list[Subject], best: Tensor, run: Run) -> None:
        self._target, self._ask, self._subjects, self._best, self._run = target, ask, subjects, best, run
        self._ready: deque[_Resumable] = deque()
        self._waiting: deque[_Question] = deque()
        self._budget = sum(subject.left for subject in subjects)

    def run(self, coroutine: Callable[[Subject], Asking[None]]) -> None:
        self._report(0.0)
        for subject in self._subjects:
            started = coroutine(subject)
            self._ready.append(_Resumable(subject, started, started.__next__))
        since = 0
        while self._ready or self._waiting:
            while self._ready and self._open < self._target.rows_at_once:
                self._go_on(self._ready.popleft())
            if self._waiting:
                since += self._round()
            if since >= BETWEEN_WALKS * len(self._subjects):
                self._report(self._done())
                since = 0
        self._report(1.0)

    @property
    def _open(self) -> int:
        return sum(question.open for question in self._waiting)

    def _report(self, done: float) -> None:
        self._run.walk(self._best, self._target.queries, done)

    def _done(self) -> float:
        """The share of all queries that is spent, or will not be asked for."""
        unfinished = [resumable.subject for resumable in self._ready] + [question.subject for question in self._waiting]
        return 1.0 - sum(subject.left for subject in unfinished) / max(1, self._budget)

    def _go_on(self, resumable: _Resumable) -> None:
        """Let a coroutine run until its next question that it can pay for, and queue that."""
        step = resumable.step
        while True:
            try:
                images = step()
            except (StopIteration, Spent):
                return
            if len(images) <= resumable.subject.left:
                self._waiting.append(_Question(resumable.subject, resumable.coroutine, images))
                return
            step = _refuse(resumable.coroutine)

    def _round(self) -> int:
        """One call of the model, of full batches where there are rows enough; returns how many rows it was."""
        total = self._open
        batch = self._target.rows_at_once
        rows_left = total // batch * batch or total
        parts: list[tuple[_Question, Tensor]] = []
        for question in self._waiting:
            part = question.images[question.asked:question.asked + rows_left]
            parts.append((question, part))
            question.asked += len(part)
            question.subject.left -= len(part)
            question.subject.asked += len(part) * self._target.each
            rows_left -= len(part)
            if not rows_left:
                break
        sizes = [len(part) for _, part in parts]
        rows = torch.tensor([question.subject.index for question, _ in parts]).repeat_interleave(torch.tensor(sizes))
        answers = self._ask(sent(torch.cat([part for _, part in parts]), self._target.device), rows).cpu()
        for (question, _), answer in zip(parts, answers.split(sizes), strict=True):
            question.answers.append(answer)
        while self._waiting and not self._waiting[0].open:
            question = self._waiting.popleft()
            self._ready.append(_Resumable(question.subject, question.coroutine,
                                          _tell(question.coroutine, torch.cat(question.answers))))
        return sum(sizes)


def _refuse(coroutine: Asking[None]) -> Callable[[], Tensor]:
    return lambda: coroutine.throw(Spent())


def _tell(coroutine: Asking[None], answers: Tensor) -> Callable[[], Tensor]:
    return lambda: coroutine.send(answers)
