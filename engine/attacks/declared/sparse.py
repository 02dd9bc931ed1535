"""Attacks that change few pixels, each as much as it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.attacks.base import PAPER_PRESET, Attack, AttackInfo, Cost, Knowledge, Paper, register
from engine.errors import EngineError
from engine.params import param

BOTH, BRIGHTER, DARKER = "both", "brighter", "darker"


@register
@dataclass(frozen=True, kw_only=True)
class JSMA(Attack):
    """Jacobian-based saliency map attack (Papernot et al. 2016), on probabilities, at any image size.

    The paper scores a pair of pixels by -(a1 + a2)(b1 + b2), a being the derivative of the target's output and b that
    of all others together. Probabilities add up to 1, so b = -a and the score is (a1 + a2)^2: the best pair is the two
    pixels with the largest a, found without a table of pairs, and as many more as one likes. The derivative of the
    logarithm has the same order and does not vanish where the target is unlikely.

    Deviations: untargeted, it lowers the true class's probability (Wiyatno & Xu 2018); with direction "both" each pixel
    goes the way that helps, and goes on that way if it is chosen again. ART and torchattacks only brighten (or only
    darken), and torchattacks has the table of pairs.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="jsma",
        title="JSMA",
        sentence="Turns the few pixels that count most for the answer black or white, two after two.",
        formula=r"(p, q) = \arg\max_{p, q}\ -(a_p + a_q)(b_p + b_q),\quad a_i = \frac{\partial F_t}{\partial x_i},\ "
                r"b_i = \sum_{j \ne t} \frac{\partial F_j}{\partial x_i},\quad x_{p,q} \leftarrow x_{p,q} + \theta",
        paper=Paper("Papernot, McDaniel, Jha, Fredrikson, Celik, Swami",
                    "The Limitations of Deep Learning in Adversarial Settings", 2016,
                    "https://arxiv.org/abs/1511.07528"),
        knowledge=Knowledge.WHITE_BOX,
        norms=("l0",),
        look_for="Single black and white dots where the model looks; they survive saving with 8 bits.",
        bounded=False,
        version=2,
    )
    pixels: int = param(200, title="Most pixels", low=1, high=100000, step=10,
                        help="How many pixels may change at most.")
    at_once: int = param(2, title="Pixels a step", low=1, high=1000, step=1,
                         help="How many pixels change between two looks at the model (the paper: 2); more is faster.")
    theta: float = param(1.0, title="Change", low=1 / 255, high=1.0, step=1 / 255, unit="/255",
                         help="How far a pixel moves in one step; 255/255 goes to black or white at once.")
    direction: str = param(BOTH, title="Direction", choices=(BOTH, BRIGHTER, DARKER),
                           help="Whether pixels may become brighter, darker (the paper has these two) or both.")

    @property
    def steps(self) -> int:
        return -(-self.pixels // self.at_once)

    def cost(self) -> Cost:
        return Cost(gradients=self.steps, queries=self.steps)


@register
@dataclass(frozen=True, kw_only=True)
class PGDL0(Attack):
    """PGD_0 (Croce & Hein 2019): a step along the gradient, then the nearest image in [0,1] with so few changed pixels.

    Deviations: it starts from the clean image, not from a random one, and the step is given per pixel of the image,
    so that it needs no new value for another image size (the paper's 120000/255 at 32 x 32 x 3 is 0.15).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="pgdl0",
        title="PGD-L0",
        sentence="Moves all pixels towards a wrong answer and, after every step, takes all but a few moves back.",
        formula=r"x_{t+1} = \Pi_{\lVert x' - x\rVert_0 \le k}\Big(x_t + \alpha\,\frac{g_t}{\lVert g_t\rVert_1}\Big),"
                r"\quad g_t = \nabla_x L(x_t, y)",
        paper=Paper("Croce, Hein", "Sparse and Imperceivable Adversarial Attacks", 2019,
                    "https://arxiv.org/abs/1909.05040"),
        knowledge=Knowledge.WHITE_BOX,
        norms=("l0",),
        look_for="A fixed number of dots, which settle on the places that matter most.",
        bounded=False,
        version=2,
    )
    pixels: int = param(100, title="Pixels", low=1, high=100000, step=10, help="How many pixels may change.")
    steps: int = param(20, title="Steps", low=1, high=1000, step=1,
                       help="How many times the image is moved; each costs one forward and one backward pass.")
    step_size: float = param(0.15, title="Step size", low=0.001, high=100.0, step=0.01,
                             help="How far one step moves each entry of the image on average, before most moves are "
                                  "taken back.")

    def cost(self) -> Cost:
        return Cost(gradients=self.steps, queries=self.steps)


@register
@dataclass(frozen=True, kw_only=True)
class OnePixel(Attack):
    """One-pixel attack (Su et al. 2019): differential evolution of places and colours, seeing probabilities only.

    Deviations: colours begin uniform, not normal (which puts a third of them on black and white); an image is left
    alone as soon as it fools the model, and the best candidate of the first generation may come from the parents.
    Children are bred from the fittest candidate, as torchattacks and ART do (SciPy's default), not from a random one:
    at the same queries the paper's rule fools fewer images.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="onepixel",
        title="One pixel",
        sentence="Breeds places and colours for a handful of pixels, or just one, without knowing the model's inside.",
        formula=r"c_i' = c_{\text{best}} + F\,(c_{r_1} - c_{r_2}),\quad c = (u, v, \text{colour}),\ F = 0.5",
        paper=Paper("Su, Vargas, Sakurai", "One Pixel Attack for Fooling Deep Neural Networks", 2019,
                    "https://arxiv.org/abs/1710.08864"),
        knowledge=Knowledge.SCORE,
        norms=("l0",),
        look_for="Large images rarely flip from one pixel alone; a few dozen do more.",
        bounded=False,
        presets={PAPER_PRESET: {"population": 400, "queries": 40_401}},  # 100 generations
    )
    pixels: int = param(1, title="Pixels", low=1, high=1000, step=1, help="How many pixels may change.")
    population: int = param(100, title="Population", low=3, high=1000, step=10,
                            help="How many candidates live at a time (the paper: 400).")
    queries: int = param(1000, title="Queries", low=4, high=1000000, step=100,
                         help="How many times the model may be asked about each image.")

    def __post_init__(self) -> None:
        self.check(self.queries)

    def check(self, queries: int) -> None:
        """Raises EngineError where so many queries are too few."""
        if queries <= self.population:
            raise EngineError(f"{self.info.title} needs at least {self.population + 1} queries for its first "
                              f"{self.population} candidates, not {queries}; allow more or take a smaller population")

    def cost(self) -> Cost:
        return Cost(gradients=0, queries=self.queries)
