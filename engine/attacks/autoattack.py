"""APGD, and AutoAttack: several strong attacks in turn, each on the images that the ones before could not break."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from engine.attacks.base import (
    ATTACKS,
    Attack,
    AttackInfo,
    Ball,
    Budget,
    Cost,
    Draw,
    Goal,
    Knowledge,
    Paper,
    Run,
    length,
    register,
    unit,
)
from engine.params import build, param, params_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from engine.serving.threat import Objective, WhiteBox

CROSS_ENTROPY = "cross-entropy"
RATIO = "difference of logits ratio"
STEADY = 0.75  # the share of a step that is new; the rest repeats the last step
RISING = 0.75  # the share of steps that must raise the loss for the step size to stay

_CROCE = Paper("Croce, Hein", "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse "
               "Parameter-free Attacks", 2020, "https://arxiv.org/abs/2003.01690")


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


@register
@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """Auto-PGD (Croce and Hein 2020), in Linf and L2: momentum, and a step that halves where progress stalls.

    Deviation: an image that fools the model leaves at once, as it is; the authors' code goes on to raise the loss and
    in the end returns the last image that fooled, so the same images fall.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="apgd",
        title="APGD",
        sentence="PGD without a step size to choose: it begins with long steps and halves them where they fail.",
        formula=r"z = \Pi\big(x_t + \eta_t\, d(\nabla L(x_t))\big),\quad "
                r"x_{t+1} = \Pi\big(x_t + 0.75\,(z - x_t) + 0.25\,(x_t - x_{t-1})\big)",
        paper=_CROCE,
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf", "l2"),
        look_for="The loss rises quickly, then ever more finely: each time the step is halved it goes on from its best "
                 "point.",
        version=2,
    )
    steps: int = param(100, title="Steps", low=1, high=1000, step=10,
                       help="How many times the image is moved at most; each costs one forward and one backward pass, "
                            "and so does the start.")
    loss: str = param(CROSS_ENTROPY, title="Loss", choices=tuple(LOSSES),
                      help="What is raised. The ratio does not change when all logits are scaled, so it also works "
                           "where the model is so sure that cross-entropy shows no slope.")

    def cost(self) -> Cost:
        return Cost(gradients=self.steps + 1, queries=self.steps + 1)

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        import torch

        objective = LOSSES[self.loss](goal)
        images = _start(ball, run)
        outcome = images.clone()
        logits, value = clean.new_zeros(len(clean), target.classes), clean.new_zeros(len(clean))
        now = _begin(torch.arange(len(clean), device=clean.device), images, 2.0 * ball.eps)
        checks = set(_checkpoints(self.steps))
        since = 0
        for step in range(self.steps + 1):
            ascent = target.gradient(now.images, objective, now.rows)
            outcome[now.rows] = now.images
            logits, value = logits.index_copy(0, now.rows, ascent.logits), value.index_copy(0, now.rows, ascent.value)
            run.record(step, self.steps + 1, outcome, logits, value)
            _see(now, ball.freed_(ascent.gradient, now.rows), ascent.value)
            since += step > 0
            seen = now.images
            if step in checks:
                _adapt(now, since)
                since = 0
            if step == self.steps:
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
    import torch

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

    def __init__(self, run: Run, number: int, members: int, goal: Goal, rows: Tensor, standing: _Standing) -> None:
        from engine.serving.crossing import Listed

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
        import torch

        mine = torch.tensor(self._listed(self._rows))
        return mine if rows is None else mine[self._listed(rows)]

    def record(self, step: int, steps: int, images: Tensor, logits: Tensor, value: Tensor) -> None:
        now = self._standing
        now.images[self._rows] = images.to(now.images.device)
        now.logits, now.value = (kept.index_copy(0, self._rows, new) for kept, new in ((now.logits, logits),
                                                                                      (now.value, value)))
        self._run.record(self._first + PARTS * step // steps, self._steps, now.images, now.logits, now.value)

    def walk(self, images: Tensor, queries: Tensor, done: float) -> None:
        import torch

        if self._walks % WALKS_A_RECORD == 0 or done == 1.0:
            every, logits = torch.arange(len(images), device=self._rows.device), self._seen.clone()
            self.record(int(done * PARTS), PARTS + 1, images, logits, self._goal.objective(logits, every))
        self._walks += 1

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


@dataclass
class _Standing:
    """Images, logits and objective of the whole batch as last reported."""

    images: Tensor
    logits: Tensor
    value: Tensor


@register
@dataclass(frozen=True, kw_only=True)
class AutoAttack(Attack):
    """AutoAttack (Croce and Hein 2020): APGD on the cross-entropy, APGD on the difference of logits ratio, FAB and
    Square, each on the images that resisted the ones before.

    Deviations: APGD on the ratio and FAB are untargeted, where the authors' standard version runs both towards each of
    the nine likeliest other classes, which these data sets do not have. With two classes the ratio is the plain margin;
    torchattacks' fails there, and its AutoAttack with it.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="autoattack",
        title="AutoAttack",
        sentence="Four strong attacks in turn, each on the images that resisted so far: the usual test of a defense.",
        formula=r"\text{APGD}_{\text{CE}} \to \text{APGD}_{\text{DLR}} \to \text{FAB} \to \text{Square}",
        paper=_CROCE,
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf", "l2"),
        look_for="On undefended models the first attack nearly always suffices; where a later one is needed, the "
                 "model hides its slopes.",
        version=2,
    )
    steps: int = param(100, title="Steps", low=1, high=1000, step=10,
                       help="How many steps APGD and FAB take at most.")
    queries: int = param(5000, title="Queries", low=1, high=100_000, step=100,
                         help="How many queries Square spends at most on an image that resists all others.")

    def members(self) -> list[Attack]:
        """The attacks in their order. FAB and Square are families of their own."""
        chosen: list[Attack] = [APGD(steps=self.steps), APGD(steps=self.steps, loss=RATIO)]
        for name in ("fab", "square"):
            if name in ATTACKS:
                names = {p.name for p in params_of(ATTACKS[name])}
                settings = {"steps": self.steps, "queries": self.queries}
                chosen.append(build(ATTACKS[name], {k: v for k, v in settings.items() if k in names}))
        return chosen

    def cost(self) -> Cost:
        """What they cost all together, and a look at the clean image and at each outcome."""
        costs = [member.cost() for member in self.members()]
        return Cost(sum(c.gradients for c in costs), 1 + sum(c.queries + 1 for c in costs))

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        import torch

        from engine.serving.threat import ScoreBased

        members = [m for m in self.members() if ball.norm in m.info.norms and (goal.targets is None or m.info.targeted)]
        every = torch.arange(len(clean), device=clean.device)
        logits = target.logits(clean)
        now = _Standing(clean.clone(), logits, goal.objective(logits, every))
        run.record(0, len(members) * PARTS, now.images, now.logits, now.value)
        outcome, broken = clean.clone(), goal.reached(logits)
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
