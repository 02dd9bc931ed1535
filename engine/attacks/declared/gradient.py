"""Gradient attacks within a budget: one step or many along the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.attacks.base import Attack, AttackInfo, Cost, Knowledge, Paper, register
from engine.attacks.norms import IN_NORM
from engine.params import Value, param

ALL_STEPS = "all steps"
FIRST_SUCCESS = "first success"


@dataclass(frozen=True, kw_only=True)
class GradientAscent(Attack):
    """The loop: `restarts` times `steps` steps, each along a direction made of the gradient, and back into the budget.

    A subclass says which of these fields a user may set, by declaring them again with `param`. In Linf a step goes
    along the sign of the gradient, or along the gradient `scaled` to the sign's length; `paper_step` is the step length
    in units of eps / steps, used where `step_size` is 0. Each step costs one forward and one backward pass; an attempt
    is judged by its last forward pass, so its final images, which no pass has seen, are left to the runner's verdict.
    """

    scaled: ClassVar[bool] = False
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

    @property
    def straight(self) -> bool:
        return self.steps * self.restarts == 1 and not self.random_start


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

    def hasty(self) -> dict[str, Value]:
        return {"stop": FIRST_SUCCESS}


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
    scaled: ClassVar[bool] = True


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
    scaled: ClassVar[bool] = True


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
    scaled: ClassVar[bool] = True


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
