"""Score-based attacks: the attacker sees the class probabilities, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.attacks.base import PAPER_PRESET, Attack, AttackInfo, Cost, Knowledge, Paper, register
from engine.params import param


@dataclass(frozen=True, kw_only=True)
class ScoreAttack(Attack):
    """What all have in common: a budget of queries and one coroutine an image that ends with the first success."""

    queries: int = param(1000, title="Queries", low=1, high=100_000, step=100,
                         help="How often the attacker may ask the model about each image; never exceeded.")

    def cost(self) -> Cost:
        return Cost(gradients=0, queries=self.queries)


@register
@dataclass(frozen=True, kw_only=True)
class Square(ScoreAttack):
    """Square attack (Andriushchenko et al. 2020), in Linf and L2, with the authors' schedule stretched to the budget.

    The margin is lowered when untargeted, the cross-entropy when targeted, as in the authors' code. Deviation: a square
    may lie at any place, the last row and column included.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="square",
        title="Square attack",
        sentence="It puts squares of random colour at random places and keeps each that makes the model less sure.",
        formula=r"x_{t+1} = \arg\min\{m(x_t), m(x_t + \delta_t)\},\quad m = \log p_y - \max_{k \ne y} \log p_k,\quad "
                r"\delta_t\ \text{a square of}\ \pm\varepsilon\ \text{with side}\ \sqrt{p_t\,hw}",
        paper=Paper("Andriushchenko, Croce, Flammarion, Hein", "Square Attack: A Query-Efficient Black-box Adversarial "
                    "Attack via Random Search", 2020, "https://arxiv.org/abs/1912.00049"),
        knowledge=Knowledge.SCORE,
        norms=("linf", "l2"),
        look_for="Stripes and squares: nothing in the pattern follows the picture.",
        presets={PAPER_PRESET: {"queries": 10_000}},
        version=3,
        plans="its squares shrink by the share of its queries that is spent",
    )
    share: float = param(0.8, title="First share", low=0.001, high=1.0, step=0.05,
                         help="The share of the image that the first square covers; it shrinks as queries are spent.")


@register
@dataclass(frozen=True, kw_only=True)
class NES(ScoreAttack):
    """NES (Ilyas et al. 2018): PGD along a direction estimated from pairs of opposite random probes, with the paper's
    50 probes of 0.001 and momentum 0.9.

    Deviations: the step is eps / 5, which is the paper's 0.01 at its eps of 0.05; probes are kept between black and
    white, as what is sent to a real model has to be.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="nes",
        title="NES",
        sentence="It nudges the image at random, one way and the opposite way, and moves along the nudges that made "
                 "the model less sure.",
        formula=r"g \approx \frac{1}{2n\sigma}\sum_{i=1}^{n} \big(L(x + \sigma u_i) - L(x - \sigma u_i)\big)\,u_i,"
                r"\quad x_{t+1} = \mathrm{clip}_{x,\varepsilon}\big(x_t + \alpha\,\mathrm{sign}(m_t)\big)",
        paper=Paper("Ilyas, Engstrom, Athalye, Lin", "Black-box Adversarial Attacks with Limited Queries and "
                    "Information", 2018, "https://arxiv.org/abs/1804.08598"),
        knowledge=Knowledge.SCORE,
        norms=("linf",),
        look_for="Each step costs 51 queries; where probabilities are rounded to 0 and 1 it sees nothing.",
        version=2,
    )
    probes: int = param(50, title="Probes", low=2, high=1000, step=2,
                        help="How many random probes each step asks about, in pairs of opposites.")
    radius: float = param(0.001, title="Probe size", low=1e-5, high=0.1, step=0.001,
                          help="The standard deviation of the probes' pixels.")
    step_size: float = param(0.0, title="Step size", low=0.0, high=1.0, step=0.1 / 255, unit="/255",
                             help="How far one step moves every pixel. 0: a fifth of eps.")

PIXELS = "pixels"
WAVES = "low frequencies"


@register
@dataclass(frozen=True, kw_only=True)
class SimBA(ScoreAttack):
    """SimBA (Guo et al. 2019), with single pixels or with the lowest frequencies of the cosine transform (SimBA-DCT).

    Deviation: where all directions have been tried, it goes through them again in another order, instead of adding
    higher frequencies or ending.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="simba",
        title="SimBA",
        sentence="One direction after another, it adds or subtracts a little and keeps what makes the model less sure.",
        formula=r"x_{t+1} = x_t \pm \alpha q_t\ \text{if}\ p_y(x_t \pm \alpha q_t) < p_y(x_t),\quad "
                r"q_t\ \text{from an orthonormal basis, at random}",
        paper=Paper("Guo, Gardner, You, Wilson, Weinberger", "Simple Black-box Adversarial Attacks", 2019,
                    "https://arxiv.org/abs/1905.07121"),
        knowledge=Knowledge.SCORE,
        norms=("l2",),
        look_for="With low frequencies the change is made of soft waves, with pixels of scattered dots.",
        bounded=False,
        version=2,
    )
    step_size: float = param(0.2, title="Step size", low=0.001, high=10.0, step=0.05,
                             help="How far (L2) one direction moves the image.")
    basis: str = param(WAVES, title="Directions", choices=(WAVES, PIXELS),
                       help="What is added: soft waves over the whole image, which are few and effective, or single "
                            "pixels.")
    frequencies: int = param(28, title="Frequencies", low=1, high=512, step=1,
                             help="How many of the lowest frequencies, across and down, make up the soft waves.")
