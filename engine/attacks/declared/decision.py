"""Decision-based attacks: the attacker sees the predicted class only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.attacks.base import PAPER_PRESET, Attack, AttackInfo, Cost, Knowledge, Paper, register
from engine.papers import thesis_of_li_yang
from engine.params import param

OTHERS = 10  # further images of each class that the attacker has


_CHEN = Paper("Chen, Jordan, Wainwright", "HopSkipJumpAttack: A Query-Efficient Decision-Based Attack", 2020,
              "https://arxiv.org/abs/1904.02144")
_YU = Paper("Yu, Kumar, Gupta, Levine, Hausman, Finn", "Gradient Surgery for Multi-Task Learning", 2020,
            "https://arxiv.org/abs/2001.06782")
IN_CONFLICT, ALWAYS = "when it conflicts", "always"


@dataclass(frozen=True, kw_only=True)
class DecisionAttack(Attack):
    """What all have in common: a budget of queries, a starting point, and one coroutine an image."""

    queries: int = param(1000, title="Queries", low=1, high=100_000, step=100,
                         help="How often the attacker may ask the model about each image; never exceeded.")

    def cost(self) -> Cost:
        return Cost(gradients=0, queries=self.queries)


@dataclass(frozen=True, kw_only=True)
class Jumping(DecisionAttack):
    """The loop of HopSkipJump: to the boundary, a direction from random probes, a jump along it, and back."""

    probes: int = param(100, title="First probes", low=10, high=1000, step=10,
                        help="How many random probes the first direction is made of; the t-th takes sqrt(t) times as "
                             "many.")


@register
@dataclass(frozen=True, kw_only=True)
class HopSkipJump(Jumping):
    """HopSkipJump (Chen et al. 2020), in L2 and Linf.

    Deviations: it starts at the nearest image of another class that the attacker has, not at noise. Probes reach 0.01
    of the distance (Linf: of the change of every pixel), from the first step on, and the boundary is found to 0.01 /
    sqrt(d) of it; the paper's 1 / d and 1 / d^1.5 are below what float32 tells apart on images of this size. Halving
    the jump ends after 15 times. The last queries are spent on a direction of fewer probes.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="hopskipjump",
        title="HopSkipJump",
        sentence="From a picture of another class it walks along the model's boundary towards the attacked image, "
                 "feeling its way with random probes.",
        formula=r"x_{t+1} = \beta\big(x_t + \xi_t\, v_t\big),\quad v_t \propto \sum_b (\phi_b - \bar\phi)\,u_b,\quad "
                r"\phi_b = \pm 1,\ B_t = B_0\sqrt{t},\ \xi_t = \frac{\lVert x_t - x\rVert}{\sqrt t}",
        paper=_CHEN,
        knowledge=Knowledge.DECISION,
        norms=("l2", "linf"),
        look_for="The film begins with another patient's image and ends with one that looks like the attacked one.",
        bounded=False,
        others=OTHERS,
        presets={PAPER_PRESET: {"queries": 25_000}},
        version=2,
        plans="how many probes its last direction is made of follows from what is left",
    )


@register
@dataclass(frozen=True, kw_only=True)
class GBBA(Jumping):
    """GBBA: HopSkipJump whose direction loses its component along the change so far whenever the two point apart.

    That is seldom: the point on the boundary was found by halving the way along this very change, so the model is
    fooled more further along it and the true gradient never points against it. Only the estimate from random probes
    does, where they are few (on 12 X-rays of 64 x 64 the true cosine was never negative, the estimated one in 9 of 72
    directions; more in CLAIMS.md). With correction "always" the component is removed in every step, which leaves the
    part that moves around the clean image.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="gbba",
        title="GBBA",
        sentence="HopSkipJump that corrects its direction wherever that would lead back to where it came from.",
        formula=r"v_t \leftarrow v_t - \frac{\langle v_t, x_t - x\rangle}{\lVert x_t - x\rVert^2}(x_t - x)\quad "
                r"\text{if } \cos(v_t, x_t - x) < 0",
        paper=thesis_of_li_yang(5),
        builds_on=(_CHEN, _YU),
        knowledge=Knowledge.DECISION,
        norms=("l2", "linf"),
        look_for="Compare the norm after equal queries with HopSkipJump's.",
        bounded=False,
        others=OTHERS,
        presets={PAPER_PRESET: {"queries": 20_000}},
        version=2,
        plans="how many probes its last direction is made of follows from what is left",
    )
    correction: str = param(IN_CONFLICT, title="Correction", choices=(IN_CONFLICT, ALWAYS),
                            help="When the direction loses its part along the change so far: only where the two point "
                                 "apart, which is seldom, as the true gradient never does and only a noisy estimate "
                                 "may; or in every step.")


@register
@dataclass(frozen=True, kw_only=True)
class Boundary(DecisionAttack):
    """Boundary attack (Brendel et al. 2018): rounds of several steps around the image, and from those that still fool
    a step towards it, as in ART; both step sizes adapt so that 20 to 50 % of the tries work.

    Deviations: it starts at the nearest image of another class that the attacker has, from where the boundary is found
    by halving the way, not at noise. Steps adapt after every round, as in ART; foolbox, which tries one step at a time
    and adapts after 30 to 1000 queries, gets about half as near with some thousand queries.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="boundary",
        title="Boundary attack",
        sentence="A random walk along the model's boundary that takes every step which brings it nearer.",
        formula=r"\eta \perp x_t - x,\ \lVert\eta\rVert = \delta\,\lVert x_t - x\rVert,\quad "
                r"x_{t+1} = x + (1 - \epsilon)\,\lVert x_t - x\rVert\,"
                r"\frac{x_t + \eta - x}{\lVert x_t + \eta - x\rVert}",
        paper=Paper("Brendel, Rauber, Bethge", "Decision-Based Adversarial Attacks: Reliable Attacks Against Black-Box "
                    "Machine Learning Models", 2018, "https://arxiv.org/abs/1712.04248"),
        knowledge=Knowledge.DECISION,
        norms=("l2",),
        look_for="The norm falls slowly and steadily: every query is one small step, most of which are refused.",
        bounded=False,
        others=OTHERS,
        version=2,
        plans="its last round has fewer tries where fewer are left",
    )
    around: float = param(0.01, title="Step around", low=1e-4, high=1.0, step=0.001,
                          help="The first step sideways, as a share of the distance; it adapts.")
    towards: float = param(0.01, title="Step towards", low=1e-4, high=1.0, step=0.001,
                           help="The first step towards the attacked image, as a share of the distance; it adapts.")
    tries: int = param(20, title="Tries", low=1, high=1000, step=1,
                       help="How many steps sideways are tried in a round; each costs one query, and another one where "
                            "it still fools the model.")


@dataclass(frozen=True, kw_only=True)
class Descending(DecisionAttack):
    """The loop of OPT: among the directions from the clean image, descend to the one whose boundary is nearest."""

    starts: int = param(10, title="Starts", low=1, high=100, step=1,
                        help="How many of the attacker's images are tried for the first direction; the best is taken.")


@register
@dataclass(frozen=True, kw_only=True)
class OPT(Descending):
    """OPT (Cheng et al. 2018): random gradient-free descent on the distance to the boundary as a function of the
    direction, with the paper's 10 random directions, smoothing 0.001 and first step 0.2.

    Deviations: the first direction is the best of those towards images of another class that the attacker has instead
    of 100 random ones, which on these models hit nothing; the search along a ray widens by doubling instead of in steps
    of 1 %.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="opt",
        title="OPT",
        sentence="It measures how far the boundary lies in ten random directions around the best one, and turns "
                 "towards where it is nearer.",
        formula=r"g(\theta) = \min\{\lambda : f(x + \lambda\theta/\lVert\theta\rVert) \ne y\},\quad "
                r"\theta \leftarrow \theta - \frac{\alpha}{q}\sum_i "
                r"\frac{g(\theta + \beta u_i) - g(\theta)}{\beta} u_i",
        paper=Paper("Cheng, Le, Chen, Yi, Zhang, Hsieh", "Query-Efficient Hard-label Black-box Attack: An "
                    "Optimization-based Approach", 2018, "https://arxiv.org/abs/1807.04457"),
        knowledge=Knowledge.DECISION,
        norms=("l2",),
        look_for="The norm falls in few, large steps: each direction costs many queries to measure.",
        bounded=False,
        others=OTHERS,
        version=2,
    )
    directions: int = param(10, title="Directions", low=1, high=100, step=1,
                            help="How many random directions each step measures.")


@register
@dataclass(frozen=True, kw_only=True)
class SignOPT(Descending):
    """Sign-OPT (Cheng et al. 2020): OPT that asks of each random direction only whether the boundary comes nearer, one
    query each, with the paper's 200 directions, smoothing 0.001 and first step 0.2.

    Deviations: as OPT's.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="signopt",
        title="Sign-OPT",
        sentence="OPT that asks of each random direction only whether the boundary comes nearer, for one query.",
        formula=r"\theta \leftarrow \theta - \frac{\alpha}{Q}\sum_i \mathrm{sign}\big(g(\theta + \beta u_i) - "
                r"g(\theta)\big)\,u_i",
        paper=Paper("Cheng, Singh, Chen, Chen, Liu, Hsieh", "Sign-OPT: A Query-Efficient Hard-label Adversarial "
                    "Attack", 2020, "https://arxiv.org/abs/1909.10773"),
        knowledge=Knowledge.DECISION,
        norms=("l2",),
        look_for="After equal queries it has taken more steps than OPT.",
        bounded=False,
        others=OTHERS,
        version=2,
    )
    directions: int = param(200, title="Directions", low=10, high=2000, step=10,
                            help="How many random directions each step asks about, one query each.")



@register
@dataclass(frozen=True, kw_only=True)
class GeoDA(DecisionAttack):
    """GeoDA (Rahmati et al. 2020), in L2 and Linf: takes the boundary for a plane, estimates its normal from probes of
    low frequency and goes from the clean image along it, with the paper's share of queries (0.6) among the steps.

    Deviations: it starts at the nearest image of another class that the attacker has; probes reach 0.01 of the
    distance instead of a fixed length. As in the authors' code, the estimates of all steps add up.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="geoda",
        title="GeoDA",
        sentence="It takes the boundary for a plane, feels with smooth random patterns which way it faces, and goes "
                 "straight there from the attacked image.",
        formula=r"w \propto \sum_i \phi_i\,\eta_i,\ \eta_i \in \mathrm{span}(\mathrm{DCT}),\quad "
                r"x_{t+1} = x + r\,\frac{w}{\lVert w\rVert_2}\ (L_2),\quad x + r\,\mathrm{sign}(w)\ (L_\infty)",
        paper=Paper("Rahmati, Moosavi-Dezfooli, Frossard, Dai", "GeoDA: A Geometric Framework for Black-box "
                    "Adversarial Attacks", 2020, "https://arxiv.org/abs/2003.06468"),
        knowledge=Knowledge.DECISION,
        norms=("l2", "linf"),
        look_for="The change is smooth and wavy, for the probes are.",
        bounded=False,
        others=OTHERS,
        version=2,
        plans="it shares all its queries among its steps before it begins",
    )
    frequencies: int = param(75, title="Frequencies", low=1, high=512, step=5,
                             help="How many of the lowest frequencies, across and down, the probes are made of.")
