"""One perturbation for all images, learned once from further images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from engine.attacks.base import Ball, Goal, Run, implements, length, unit
from engine.attacks.declared.universal import ASCENT, BOUNDARY_STEPS, DEEPFOOL, MOST_CLASSES, UAP
from engine.serving.crossing import Tally, sent
from engine.serving.threat import Ascent, Objective, WhiteBox

BATCH = 8  # further images that decide one step of gradient ascent
SURE = 2.0  # a further image that is fooled by so many logits no longer counts
FIRST_STEP = 0.25  # of gradient ascent, as a share of eps; the last steps are next to nothing
OVERSHOOT = 0.02  # DeepFool's own, as in its paper


@implements(UAP)
def uap(attack: UAP, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
    pattern = run.learned(lambda: {"pattern": _Lesson(target, goal, ball, run).learn(attack)}, show=["pattern"])
    logits = target.logits(clean)
    rows = torch.arange(len(clean), device=clean.device)
    run.record(0, 1, clean, logits, goal.objective(logits, rows))
    return clean + pattern["pattern"]


class _Lesson:
    """Learning a pattern [C, H, W] from the further images; `goal` is away from what the model says of them clean."""

    def __init__(self, target: WhiteBox, goal: Goal, ball: Ball, run: Run) -> None:
        self.images, self.ball, self.run = run.others.images, ball, run
        self.oracle, self.generator = target.apart(len(self.images)), run.generator()
        self.logits = self.oracle.logits(self.images)
        self.goal = goal.of(self.logits.argmax(dim=1))
        self.oracle = self.oracle.aiming(self.goal)
        # Towards a class: those that the model takes for it anyway are no success.
        self.open = ~self.goal.reached(self.logits)
        self.pattern = self.images.new_zeros(1, *self.images.shape[1:])

    def learn(self, attack: UAP) -> Tensor:
        """The best pattern of at most `attack.epochs` passes over the images; the runner is told after each."""
        best, most = self.pattern, -1.0
        for fooled in LEARNERS[attack.method](self, attack.epochs):
            if fooled >= most:
                best, most = self.pattern.clone(), fooled
            if fooled >= attack.enough:
                break
        return best[0]

    def climb(self, epochs: int) -> Iterator[float]:
        """Projected gradient ascent; yields the share of fooled images after each epoch."""
        batches = -(-len(self.images) // BATCH)
        steps, step, velocity = epochs * batches, 0, self.pattern.clone()
        for _ in range(epochs):
            tally = Tally()
            for rows in self._shuffled().split(BATCH):
                ascent = self.oracle.gradient(self.patterned(rows), self._cut_margin, rows)
                tally.add("value", ascent.value.sum())
                velocity += ascent.gradient.mean(dim=0, keepdim=True)
                self.pattern += FIRST_STEP * (1 - step / steps) * self.ball.eps * self._direction(velocity)
                velocity *= 0.9
                self.shrunk(self.pattern)
                step += 1
                self.run.learning(step, steps)
            yield self._measured(step, steps, loss=-tally.read()["value"] / len(self.images))

    def push(self, epochs: int) -> Iterator[float]:
        """One image after another across its nearest boundary; yields the share of fooled images after each epoch."""
        steps = epochs * len(self.images)
        for epoch in range(epochs):
            order, done = _Turns(self, self._shuffled()), 0
            while done < len(self.images):
                # Far away so many turns as there are images go by between two looks at how many of them are done: an
                # epoch then waits for no more looks than an image may take turns, and computes few turns in vain.
                for _ in range(len(self.images) if self.oracle.far else 1):
                    order.turn()
                    self.run.learning(epoch * len(self.images) + done, steps)
                done = int(order.done)
            yield self._measured((epoch + 1) * len(self.images), steps)

    def _measured(self, step: int, steps: int, **losses: float) -> float:
        """The share of the images that the pattern fools now, told to the runner."""
        logits = self.oracle.logits(self.patterned())
        fooled = float((self.goal.reached(logits) & self.open).sum()) / max(1, int(self.open.sum()))
        self.run.learning(step, steps, **losses, fooling=fooled)
        return fooled

    def patterned(self, rows: Tensor | None = None) -> Tensor:
        images = self.images if rows is None else self.images[rows]
        return (images + self.pattern).clamp_(0.0, 1.0)

    def _shuffled(self) -> Tensor:
        return sent(torch.randperm(len(self.images), generator=self.generator), self.images.device)

    def _cut_margin(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The margin until an image is surely fooled: beyond that it leaves the pattern to the others."""
        return self.goal.margin(logits, rows).clamp_max(SURE)

    def _direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign() if self.ball.norm == "linf" else unit(gradient.clone())

    def shrunk(self, pattern: Tensor) -> Tensor:
        """`pattern` in place, brought back into the budget."""
        if self.ball.norm == "linf":
            return pattern.clamp_(-self.ball.eps, self.ball.eps)
        return pattern.mul_((self.ball.eps / length(pattern).clamp_min(1e-12)).clamp_max(1.0))


class _Turns:
    """DeepFool (Moosavi-Dezfooli et al. 2016) on one image after another, all of it on the model's device: which image
    has its turn, how far it has come, and when its way over the nearest boundary is added to the pattern."""

    def __init__(self, lesson: _Lesson, order: Tensor) -> None:
        self._lesson, self._order = lesson, order
        zero = order.new_zeros(())
        self.done, self._steps, self._own = zero, zero, zero  # images; steps of the one whose turn it is, and its class
        targets = lesson.goal.targets
        classes = lesson.logits.shape[1]
        self._rivals = order.new_zeros(1 if targets is not None else min(MOST_CLASSES, classes) - 1)
        self._probes = lesson.oracle.apart(len(self._rivals))  # so that the objective can tell them apart
        self._way = torch.zeros_like(lesson.pattern)

    def turn(self) -> None:
        """One step of the image whose turn it is."""
        lesson = self._lesson
        row = self._order[self.done.clamp_max(len(self._order) - 1).view(1)]
        image = lesson.patterned(row)
        if not lesson.oracle.far and not int(self._steps) and self._fooled(image, row):
            self.done = self.done + 1
            return
        probes = self._probes.aiming(lesson.goal.only(row.expand(len(self._rivals))))
        ascent = probes.gradient((image + self._way).expand(len(self._rivals), -1, -1, -1), self._lead(row))
        reached = lesson.goal.reached(ascent.logits[:1], row)[0]
        way = self._way.where(reached, self._way + self._over(ascent))
        over = reached | (self._steps == BOUNDARY_STEPS - 1)
        counts = over & (self.done < len(self._order))
        lesson.pattern = lesson.shrunk(lesson.pattern + way).where(counts, lesson.pattern)
        self.done = self.done + counts
        self._way, self._steps = way * ~over, (self._steps + 1) * ~over

    def _fooled(self, image: Tensor, row: Tensor) -> bool:
        """Whether it is so already, for the price of a forward pass, where a look costs nothing."""
        return bool(self._lesson.goal.reached(self._lesson.oracle.logits(image, row), row))

    def _lead(self, row: Tensor) -> Objective:
        """By how much each probe's rival is ahead of the class that the image was in at its first step."""
        goal, first = self._lesson.goal, self._steps == 0

        def lead(logits: Tensor, rows: Tensor) -> Tensor:
            best = logits[0].topk(min(MOST_CLASSES, logits.shape[1])).indices
            self._own = best[0].where(first, self._own)
            rivals = best[1:] if goal.targets is None else goal.targets[row]
            self._rivals = rivals.where(first, self._rivals)
            return logits.gather(1, self._rivals[rows][:, None])[:, 0] - logits.gather(
                1, self._own.expand(len(logits), 1))[:, 0]

        return lead

    def _over(self, ascent: Ascent) -> Tensor:
        """The step over the nearest of the boundaries."""
        slopes = length(ascent.gradient).flatten()
        distances = ascent.value.neg().clamp_min(1e-4) / slopes.clamp_min(1e-12)
        nearest = distances.argmin().view(1)
        return distances[nearest] * (1 + OVERSHOOT) * unit(ascent.gradient[nearest])


LEARNERS = {ASCENT: _Lesson.climb, DEEPFOOL: _Lesson.push}
