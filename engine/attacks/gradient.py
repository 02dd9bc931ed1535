"""Gradient attacks within a budget: one step or many along the gradient, made into a direction of a given length.

One loop serves them all; an attack is a declaration of its direction, its step and which settings a user may change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from engine.attacks.base import (
    Attack,
    AttackInfo,
    Ball,
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
from engine.attacks.norms import IN_NORM
from engine.params import param

if TYPE_CHECKING:
    from torch import Tensor

    from engine.serving.threat import Ascent, WhiteBox

ALL_STEPS = "all steps"
FIRST_SUCCESS = "first success"

# Gradient [R, C, H, W] to the direction of a step, perhaps in the same memory.
Direction = Callable[["Tensor"], "Tensor"]


def sign(gradient: Tensor) -> Tensor:
    """-1, 0 or 1 for every pixel: the steepest direction of a linear model within an Linf budget."""
    return gradient.sign_()


def non_sign(gradient: Tensor) -> Tensor:
    """The gradient itself, made as long (L2) as its sign would be, per image; 0 where it is 0."""
    gradient = unit(gradient)
    return gradient.mul_(length(gradient, 0).sqrt_())


@dataclass
class _Standing:
    """Where every image of the batch stands: its iterate, and what the model said when it last saw that image."""

    images: Tensor
    logits: Tensor
    value: Tensor
    reached: Tensor

    @classmethod
    def unknown(cls, images: Tensor, classes: int) -> _Standing:
        """Before the model has seen anything: worse than whatever comes."""
        value = images.new_full((len(images),), float("-inf"))
        return cls(images, images.new_zeros(len(images), classes), value, value.isfinite())

    def see(self, rows: Tensor, images: Tensor, ascent: Ascent, reached: Tensor) -> None:
        """Note the iterates `images` of `rows` and the model's answer; the others keep what is known of them."""
        if images is not self.images:
            self.images.index_copy_(0, rows, images)
        self.logits = self.logits.index_copy(0, rows, ascent.logits)
        self.value = self.value.index_copy(0, rows, ascent.value)
        self.reached = self.reached.index_copy(0, rows, reached)

    def better(self, other: _Standing) -> _Standing:
        """Of every image the standing that reached the goal, or else has the higher objective."""
        takes = (other.reached & ~self.reached) | ((other.reached == self.reached) & (other.value > self.value))
        images = other.images.where(takes.view(-1, 1, 1, 1), self.images)
        return _Standing(images, other.logits.where(takes[:, None], self.logits),
                         other.value.where(takes, self.value), other.reached | self.reached)


@dataclass(frozen=True, kw_only=True)
class GradientAscent(Attack):
    """The loop: `restarts` times `steps` steps, each along a direction made of the gradient, back into the budget.

    A subclass says which of these fields a user may set, by declaring them again with `param`. `directions` has one
    entry a norm; `paper_step` is the step length in units of eps / steps, used where `step_size` is 0. Each step
    costs one forward and one backward pass; an attempt is judged by its last forward pass, so its final images, which
    no pass has seen, are left to the runner's verdict.
    """

    directions: ClassVar[Mapping[str, Direction]] = {"linf": sign}
    paper_step: ClassVar[float] = 1.0

    steps: int = 1
    step_size: float = 0.0
    momentum: float = 0.0
    random_start: bool = False
    restarts: int = 1
    stop: str = ALL_STEPS

    def cost(self) -> Cost:
        passes = self.steps * self.restarts
        return Cost(gradients=passes, queries=passes)

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        import torch

        rows = torch.arange(len(clean), device=clean.device)
        best = _Standing.unknown(clean, target.classes)
        for restart in range(self.restarts):
            best = best.better(self._attempt(restart, best, rows, target, goal, ball, run))
            if self.stop == FIRST_SUCCESS:
                rows = (~best.reached).nonzero()[:, 0]
                if len(rows) == 0:
                    break
        return best.images

    def _attempt(self, restart: int, known: _Standing, rows: Tensor, target: WhiteBox, goal: Goal, ball: Ball,
                 run: Run) -> _Standing:
        """One climb of the images `rows` from a start of its own; the others stay as they are `known`."""
        images = self._start(restart, ball, run)
        now = _Standing(images, known.logits, known.value, known.reached)
        if len(rows) < len(images):
            now.images = known.images.clone()
            images, ball = images[rows], ball.only(rows)
        step_size = self.step_size or self.paper_step * ball.eps / self.steps
        velocity = images.new_zeros(images.shape) if self.momentum else None
        for step in range(self.steps):
            ascent = target.gradient(images, goal.objective, rows)
            reached = goal.reached(ascent.logits, rows)
            now.see(rows, images, ascent, reached)
            run.record(restart * self.steps + step, self.restarts * self.steps, now.images, now.logits, now.value)
            gradient = ball.freed_(ascent.gradient)
            kept = None
            if self.stop == FIRST_SUCCESS and not target.looks(step):
                kept = images.clone()
            elif self.stop == FIRST_SUCCESS:
                playing = (~reached).nonzero()[:, 0]
                if len(playing) == 0:
                    return now
                if len(playing) < len(rows):
                    rows, images, gradient, ball = rows[playing], images[playing], gradient[playing], ball.only(playing)
                    velocity = None if velocity is None else velocity[playing]
            if velocity is not None:
                gradient = ball.add_momentum(velocity, gradient, self.momentum)
            ball.project_(images.add_(self.directions[ball.norm](gradient), alpha=step_size))
            if kept is not None:  # who is fooled, and not left out yet, stays as it is
                images.copy_(kept.where(reached.view(-1, 1, 1, 1), images))
        if images is not now.images:
            now.images.index_copy_(0, rows, images)
        return now

    def _start(self, restart: int, ball: Ball, run: Run) -> Tensor:
        """Where an attempt begins: the clean images or, at random and for every further attempt, near them."""
        clean = ball.clean
        if not self.random_start and restart == 0:
            return clean.clone()
        if ball.norm == "linf":
            return ball.project_(run.noise(clean).mul_(ball.eps).add_(clean))
        # Uniform in an L2 ball of d dimensions: any direction, and a length that is the d-th root of a uniform number.
        lengths, ways = run.drawn((Draw((1, 1, 1)), Draw(tuple(clean.shape[1:]), normal=True)), clean)
        lengths = lengths.add_(1.0).div_(2.0).pow_(1.0 / ball.entries)
        return ball.project_(unit(ball.freed_(ways)).mul_(lengths.mul_(ball.eps)).add_(clean))


@dataclass(frozen=True, kw_only=True)
class Iterated(GradientAscent):
    """What a user may set of an attack with several steps."""

    steps: int = param(10, title="Steps", low=1, high=1000, step=1,
                       help="How many times the image is moved; each costs one forward and one backward pass.")
    step_size: float = param(0.0, title="Step size", low=0.0, high=1000.0, step=0.1 / 255, unit=IN_NORM,
                             help="How far one step moves the image, in the unit of epsilon. 0: the paper's rule, "
                                  "eps / steps, and for PGD 2.5 times that.")
    stop: str = param(ALL_STEPS, title="Stop", choices=(ALL_STEPS, FIRST_SUCCESS),
                      help="'all steps' goes on after the model is fooled and makes it surer of its mistake; "
                           "'first success' leaves each image alone as soon as it fools the model, which is faster.")


@dataclass(frozen=True, kw_only=True)
class Restarted(Iterated):
    """What a user may set of an attack that begins at random."""

    random_start: bool = param(True, title="Random start",
                               help="Begin at a random point of the budget instead of at the image itself.")
    restarts: int = param(1, title="Restarts", low=1, high=100, step=1,
                          help="How many times to try, keeping the best try of each image; every try after the first "
                               "begins at a random point.")


_GOODFELLOW = Paper("Goodfellow, Shlens, Szegedy", "Explaining and Harnessing Adversarial Examples", 2015,
                    "https://arxiv.org/abs/1412.6572")
_KURAKIN = Paper("Kurakin, Goodfellow, Bengio", "Adversarial Examples in the Physical World", 2017,
                 "https://arxiv.org/abs/1607.02533")
_MADRY = Paper("Madry, Makelov, Schmidt, Tsipras, Vladu",
               "Towards Deep Learning Models Resistant to Adversarial Attacks", 2018, "https://arxiv.org/abs/1706.06083")
_CHENG = Paper("Cheng, Song, Zhu, Zhang, Gao, Shen", "Fast Gradient Non-sign Methods", 2021,
               "https://arxiv.org/abs/2110.12734")
_DONG = Paper("Dong, Liao, Pang, Su, Zhu, Hu, Li", "Boosting Adversarial Attacks with Momentum", 2018,
              "https://arxiv.org/abs/1710.06081")


@register
@dataclass(frozen=True, kw_only=True)
class FGSM(GradientAscent):
    """Fast gradient sign method (Goodfellow et al. 2015): one step of size eps along the sign of the gradient."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="fgsm",
        title="FGSM",
        sentence="One step: every pixel gets a little brighter or darker, whichever confuses the model more.",
        formula=r"x' = \mathrm{clip}\big(x + \varepsilon\,\mathrm{sign}(\nabla_x L(x, y))\big)",
        paper=_GOODFELLOW,
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf",),
        look_for="Nearly every pixel moves by exactly eps, up or down: the difference has two colours only.",
    )


@register
@dataclass(frozen=True, kw_only=True)
class FGNM(GradientAscent):
    """Fast gradient non-sign method (Cheng et al. 2021): FGSM along the scaled gradient instead of its sign."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="fgnm",
        title="FGNM",
        sentence="One step like FGSM, but pixels that matter more move more, up to the limit.",
        formula=r"x' = \mathrm{clip}\Big(x + \varepsilon\,\frac{\lVert \mathrm{sign}(g)\rVert_2}{\lVert g\rVert_2}\,g"
                r"\Big),\quad g = \nabla_x L(x, y)",
        paper=_CHENG,
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf",),
        look_for="The difference has many shades; it is strongest where the model looks and faint elsewhere.",
        version=2,
    )
    directions: ClassVar[Mapping[str, Direction]] = {"linf": non_sign}


@register
@dataclass(frozen=True, kw_only=True)
class BIM(Iterated):
    """Basic iterative method (Kurakin et al. 2017): FGSM in small steps, each from where the last one ended."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="bim",
        title="BIM (I-FGSM)",
        sentence="FGSM in small steps, asking the model for the best direction again after each.",
        formula=r"x_{t+1} = \mathrm{clip}_{x,\varepsilon}\big(x_t + \alpha\,\mathrm{sign}(\nabla_x L(x_t, y))\big),"
                r"\quad \alpha = \varepsilon / T",
        paper=_KURAKIN,
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf",),
        look_for="In the step-by-step view, confidence in the true class often collapses within the first few steps.",
    )


@register
@dataclass(frozen=True, kw_only=True)
class BINM(Iterated):
    """Basic iterative non-sign method (Cheng et al. 2021): BIM along the scaled gradient instead of its sign."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="binm",
        title="BINM",
        sentence="Small steps like BIM, but pixels that matter more move more, up to the limit.",
        formula=r"x_{t+1} = \mathrm{clip}_{x,\varepsilon}\Big(x_t + \alpha\,"
                r"\frac{\lVert \mathrm{sign}(g_t)\rVert_2}{\lVert g_t\rVert_2}\,g_t\Big),"
                r"\quad g_t = \nabla_x L(x_t, y),\ \alpha = \varepsilon / T",
        paper=_CHENG,
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf",),
        look_for="Compared with BIM, the change is smaller (L2) and gathers in fewer places.",
        version=2,
    )
    directions: ClassVar[Mapping[str, Direction]] = {"linf": non_sign}


@register
@dataclass(frozen=True, kw_only=True)
class PGD(Restarted):
    """Projected gradient descent (Madry et al. 2018), in Linf (steps along the sign) or L2 (along the unit gradient).

    The default step, 2.5 eps / T, is that of Madry et al.; PGDNM's authors take eps / T, for PGD as well: to compare
    the two give both the same step.
    Deviation: with restarts, an attempt is judged by its last forward pass, which saw the iterate before the final one.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="pgd",
        title="PGD",
        sentence="Small steps from a random point near the image; the usual yardstick for how robust a model is.",
        formula=r"x_{t+1} = \Pi_{x,\varepsilon}\big(x_t + \alpha\,d(\nabla_x L(x_t, y))\big),\quad "
                r"d_{\infty}(g) = \mathrm{sign}(g),\ d_2(g) = g / \lVert g\rVert_2,\quad \alpha = 2.5\,\varepsilon / T",
        paper=_MADRY,
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf", "l2"),
        look_for="Different seeds give different noise and nearly always the same wrong answer.",
        version=2,
    )
    directions: ClassVar[Mapping[str, Direction]] = {"linf": sign, "l2": unit}
    paper_step: ClassVar[float] = 2.5


@register
@dataclass(frozen=True, kw_only=True)
class PGDNM(Restarted):
    """PGD with the non-sign step (Cheng et al. 2021): the scaled gradient instead of its sign, from a random start.

    The default step, eps / T, is its authors'; PGD's default here is 2.5 times as long (Madry et al.): to compare the
    two give both the same step.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="pgdnm",
        title="PGDNM",
        sentence="Small steps from a random point, as in PGD, but pixels that matter more move more.",
        formula=r"x_{t+1} = \Pi_{x,\varepsilon}\Big(x_t + \alpha\,"
                r"\frac{\lVert \mathrm{sign}(g_t)\rVert_2}{\lVert g_t\rVert_2}\,g_t\Big),"
                r"\quad g_t = \nabla_x L(x_t, y),\ \alpha = \varepsilon / T",
        paper=_CHENG,
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf",),
        look_for="The random start remains as fine noise where the model hardly looks.",
        version=2,
    )
    directions: ClassVar[Mapping[str, Direction]] = {"linf": non_sign}


@register
@dataclass(frozen=True, kw_only=True)
class MIFGSM(Iterated):
    """Momentum iterative FGSM (Dong et al. 2018): the sign of a decaying sum of gradients, each of mean size 1."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="mifgsm",
        title="MI-FGSM",
        sentence="Small steps with momentum: earlier directions count too, which keeps the path steady.",
        formula=r"m_{t+1} = \mu\,m_t + \frac{g_t}{\mathrm{mean}\,|g_t|},\quad g_t = \nabla_x L(x_t, y),\quad "
                r"x_{t+1} = \mathrm{clip}_{x,\varepsilon}\big(x_t + \alpha\,\mathrm{sign}(m_{t+1})\big),"
                r"\quad \alpha = \varepsilon / T",
        paper=_DONG,
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf",),
        look_for="The difference is coarser than BIM's, closer to FGSM's two colours.",
        version=2,
    )
    momentum: float = param(1.0, title="Momentum", low=0.0, high=2.0, step=0.1,
                            help="How much of the earlier directions is kept at each step; 0 is BIM.")
