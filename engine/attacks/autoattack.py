"""APGD, and AutoAttack: several strong attacks in turn, each on the images that the ones before could not break."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor

from engine.attacks.base import Ball, Budget, Draw, Goal, Knowledge, Run, Standing, implements, length, unit
from engine.attacks.declared.autoattack import APGD, CROSS_ENTROPY, RATIO, AutoAttack
from engine.serving.crossing import Listed
from engine.serving.threat import Objective, ScoreBased, WhiteBox

STEADY = 0.75  # the share of a step that is new; the rest repeats the last step
RISING = 0.75  # the share of steps that must raise the loss for the step size to stay


def logit_ratio(goal: Goal) -> Objective:
    """The difference of logits ratio, to be increased: how far the best other class is ahead of the true one, as a
    share of how far the first is ahead of the third; where there are two classes only, that margin itself. Targeted:
    how far the target is ahead of the best other class."""
    def objective(logits: Tensor, rows: Tensor) -> Tensor:
        margin = goal.margin(logits, rows)
        if goal.targets is not None or logits.shape[1] < 3:
            return margin
        ordered = logits.sort(dim=1, descending=True).values
        return margin / (ordered[:, 0] - ordered[:, 2] + 1e-12)

    return objective


LOSSES: dict[str, Callable[[Goal], Objective]] = {
    CROSS_ENTROPY: lambda goal: goal.objective,
    RATIO: logit_ratio,
}


@dataclass
class _Climb:
    """Where APGD stands with each image that is still in play; every field has one entry an image."""

    rows: Tensor
    images: Tensor
    before: Tensor
    gradient: Tensor
    value: Tensor
    best: Tensor
    best_gradient: Tensor
    best_value: Tensor
    step: Tensor
    rises: Tensor
    checked_value: Tensor
    halved: Tensor

    def only(self, playing: Tensor) -> _Climb:
        return _Climb(*(getattr(self, field.name)[playing] for field in fields(self)))


@implements(APGD)
def apgd(attack: APGD, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
    objective = LOSSES[attack.loss](goal)
    images = _start(ball, run)
    outcome = images.clone()
    logits, value = clean.new_zeros(len(clean), target.classes), clean.new_zeros(len(clean))
    now = _begin(torch.arange(len(clean), device=clean.device), images, 2.0 * ball.eps)
    checks = set(_checkpoints(attack.steps))
    since = 0
    for step in range(attack.steps + 1):
        ascent = target.gradient(now.images, objective, now.rows)
        outcome[now.rows] = now.images
        logits, value = logits.index_copy(0, now.rows, ascent.logits), value.index_copy(0, now.rows, ascent.value)
        run.record(step, attack.steps + 1, outcome, logits, value)
        _see(now, ball.freed_(ascent.gradient, now.rows), ascent.value)
        since += step > 0
        seen = now.images
        if step in checks:
            _adapt(now, since)
            since = 0
        if step == attack.steps:
            break
        playing = ~goal.reached(ascent.logits, now.rows)
        if target.looks(step):
            left = playing.nonzero()[:, 0]
            if len(left) == 0:
                break
            now = now.only(left)
            _advance(now, ball.only(now.rows), first=step == 0)
        else:
            _advance(now, ball.only(now.rows), first=step == 0)
            now.images = now.images.where(playing.view(-1, 1, 1, 1), seen)
    # Of the images that resist, the one with the highest loss.
    playing = ~goal.reached(logits[now.rows], now.rows)
    outcome[now.rows[playing]] = now.best[playing]
    return outcome


def _start(ball: Ball, run: Run) -> Tensor:
    """A random image on the edge of the budget."""
    if ball.norm == "l2":
        around = unit(ball.freed_(run.normal(ball.clean)))
    else:
        around = ball.freed_(run.noise(ball.clean))
        around = around / length(around, float("inf")).clamp_min(1e-12)
    return ball.project_(around.mul_(ball.eps).add_(ball.clean))


def _begin(rows: Tensor, images: Tensor, step: float) -> _Climb:
    none = images.new_full((len(rows),), float("-inf"))
    zero = torch.zeros_like(images)
    return _Climb(rows, images, images.clone(), zero, none, images.clone(), zero.clone(), none.clone(),
                  images.new_full((len(rows), 1, 1, 1), step), torch.zeros_like(rows), none.clone(),
                  torch.ones_like(rows, dtype=torch.bool))


def _see(now: _Climb, gradient: Tensor, value: Tensor) -> None:
    """Note what the model said of the current images."""
    now.rises = now.rises + ((value > now.value) & now.value.isfinite())
    better = value > now.best_value
    wide = better.view(-1, 1, 1, 1)
    now.gradient, now.value = gradient, value
    now.best = now.images.where(wide, now.best)
    now.best_gradient = gradient.where(wide, now.best_gradient)
    now.best_value = value.where(better, now.best_value)


def _checkpoints(steps: int) -> Iterator[int]:
    """The steps after which the step size is looked at: after 22 % of all, and then ever sooner, down to 6 %."""
    period, shortest, shorter = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    at = period
    while at <= steps:
        yield at
        period = max(period - shorter, shortest)
        at += period


def _adapt(now: _Climb, since: int) -> None:
    """Halve the step, and go back to the best image, where the loss rose too seldom in the last `since` steps, or
    where its best did not rise although the step was not halved the last time."""
    halve = (now.rises <= RISING * since) | (~now.halved & (now.checked_value >= now.best_value))
    wide = halve.view(-1, 1, 1, 1)
    now.step = now.step.where(~wide, now.step / 2)
    now.images = now.best.where(wide, now.images)
    now.gradient = now.best_gradient.where(wide, now.gradient)
    now.rises, now.checked_value, now.halved = now.rises * 0, now.best_value.clone(), halve


def _advance(now: _Climb, ball: Ball, first: bool) -> None:
    """One step along the gradient, three quarters of it, and a quarter of the last step again."""
    direction = unit(now.gradient.clone()) if ball.norm == "l2" else now.gradient.sign()
    aim = ball.project_(now.images + now.step * direction)
    if not first:
        aim = ball.project_(now.images + STEADY * (aim - now.images) + (1 - STEADY) * (now.images - now.before))
    now.before, now.images = now.images, aim


# ---- AutoAttack ----------------------------------------------------------------------------------------------------


WALKS_A_RECORD = 10  # of a member that sees no logits, only every tenth report is kept as a step
PARTS = 100  # steps that each member stands for in the progress of the whole


class _PartRun(Run):
    """The runner as a member of the ensemble sees it; what it reports becomes a part of the whole."""

    def __init__(self, run: Run, number: int, members: int, goal: Goal, rows: Tensor, standing: Standing) -> None:
        self.others = run.others
        self._run, self._goal, self._rows, self._standing = run, goal, rows, standing
        self._seen = standing.logits.new_zeros(len(rows), standing.logits.shape[1])
        self._listed = Listed()
        self._first, self._steps = number * PARTS, members * PARTS
        self._walks = 0

    def drawn(self, draws: Iterable[Draw], like: Tensor, rows: Tensor | None = None) -> Iterator[Tensor]:
        return self._run.drawn(draws, like, self._of_all(rows))

    def noise(self, like: Tensor, rows: Tensor | None = None) -> Tensor:
        return self._run.noise(like, self._of_all(rows))

    def normal(self, like: Tensor, rows: Tensor | None = None) -> Tensor:
        return self._run.normal(like, self._of_all(rows))

    def _of_all(self, rows: Tensor | None) -> Tensor:
        """Which images of the whole batch those are, on the host."""
        mine = torch.tensor(self._listed(self._rows))
        return mine if rows is None else mine[self._listed(rows)]

    def record(self, step: int, steps: int, images: Tensor, logits: Tensor, value: Tensor) -> None:
        now = self._standing
        now.see(self._rows, images.to(now.images.device), logits, value, self._goal.reached(logits))
        self._run.record(self._first + PARTS * step // steps, self._steps, now.images, now.logits, now.value)

    def walk(self, images: Tensor, queries: Tensor, done: float) -> None:
        if self._walks % WALKS_A_RECORD == 0 or done == 1.0:
            every, logits = torch.arange(len(images), device=self._rows.device), self._seen.clone()
            self.record(int(done * PARTS), PARTS + 1, images, logits, self._goal.objective(logits, every))
        self._walks += 1

    def nearer(self, index: int, image: Tensor, queries: int) -> None:
        self._run.nearer(self._listed(self._rows)[index], image, queries)

    def watch(self, logits: Tensor, rows: Tensor) -> None:
        """Remember the last logits of each image, for the reports of a member that sees none."""
        self._seen[rows] = logits

    def note(self, text: str, images: int = 1) -> None:
        self._run.note(text, images)

    def learned(self, fit: Callable[[], dict[str, Tensor]], show: Sequence[str] = ()) -> dict[str, Tensor]:
        return self._run.learned(fit, show)

    def generator(self) -> Generator:
        return self._run.generator()

    def learning(self, step: int, steps: int, **losses: float | Tensor) -> None:
        self._run.learning(step, steps, **losses)


@implements(AutoAttack)
def autoattack(attack: AutoAttack, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
    members = [m for m in attack.members() if ball.norm in m.info.norms and (goal.targets is None or m.info.targeted)]
    every = torch.arange(len(clean), device=clean.device)
    logits = target.logits(clean)
    now = Standing(clean.clone(), logits, goal.objective(logits, every), goal.reached(logits))
    run.record(0, len(members) * PARTS, now.images, now.logits, now.value)
    outcome, broken = clean.clone(), now.reached.clone()
    for number, member in enumerate(members):
        rows = (~broken).nonzero()[:, 0]
        if len(rows) == 0:
            break
        mine, allowed = goal.only(rows), ball.only(rows)
        room = allowed if member.info.bounded else _unlimited(allowed)
        seen = _PartRun(run, number, len(members), mine, rows, now)
        part = target.part(rows)
        asked = target.watched(rows, ScoreBased, seen.watch) if member.info.knowledge is Knowledge.SCORE else part
        found = allowed.project_(member.run(asked, clean[rows], mine, room, seen).clone())
        outcome[rows] = found
        broken[rows] = mine.reached(part.logits(found))
    return outcome


def _unlimited(ball: Ball) -> Ball:
    """The ball without its radius; what is outside the mask stays as it is."""
    return Budget(ball.norm, None).around(ball.clean, ball.free)
