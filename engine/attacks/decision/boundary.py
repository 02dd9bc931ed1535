"""The Boundary attack: a random walk along the boundary."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from engine.attacks.base import AttackInfo, Knowledge, Paper, length, register
from engine.attacks.coroutines import Asking, Subject
from engine.attacks.decision.attack import OTHERS, DecisionAttack
from engine.attacks.decision.geometry import exactness_for, to_boundary
from engine.params import param

if TYPE_CHECKING:
    from torch import Tensor

ADAPTATION = 1.5
CONVERGED = 1e-7


def _adapted(step: float, worked: Tensor) -> float:
    """`step` for the next round, after one in which some of the tries `worked`: between 20 and 50 % of them should."""
    rate = float(worked.float().mean())
    if rate > 0.5:
        return step * ADAPTATION
    return step / ADAPTATION if rate < 0.2 else step


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
    )
    around: float = param(0.01, title="Step around", low=1e-4, high=1.0, step=0.001,
                          help="The first step sideways, as a share of the distance; it adapts.")
    towards: float = param(0.01, title="Step towards", low=1e-4, high=1.0, step=0.001,
                           help="The first step towards the attacked image, as a share of the distance; it adapts.")
    tries: int = param(20, title="Tries", low=1, high=1000, step=1,
                       help="How many steps sideways are tried in a round; each costs one query, and another one where "
                            "it still fools the model.")

    def approach(self, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[None]:
        image = yield from to_boundary(one, start, exactness_for(one))
        around, towards = self.around, self.towards
        while towards > CONVERGED and one.left:
            aside = _aside(one, image, around, min(self.tries, one.left))
            worked = yield aside
            around = _adapted(around, worked)
            aside = aside[worked][:one.left]
            if not len(aside):
                continue
            nearer = _nearer(one, aside, one.distance(image), towards)
            worked = yield nearer
            towards = _adapted(towards, worked)
            for found in nearer[worked]:
                one.keep(found[None])
                image = min(image, found[None], key=one.distance)


def _aside(one: Subject, image: Tensor, around: float, count: int) -> Tensor:
    """`image` moved around the clean image at the same distance, in random ways [count, C, H, W]."""
    change = image - one.clean
    distance = length(change)
    step = one.freed(one.normal(count, *image.shape[1:]))
    step.sub_(change * ((step * change).sum(dim=(1, 2, 3), keepdim=True) / distance**2))
    step.mul_(around * distance / length(step).clamp_min(1e-12))
    return one.fit(step.add_(change).div_(math.sqrt(1 + around**2)).add_(one.clean))


def _nearer(one: Subject, aside: Tensor, distance: float, towards: float) -> Tensor:
    """The images moved towards the clean one, so that they end `towards` nearer than `distance`, whatever clipping did
    to the step aside."""
    now = length(aside - one.clean)
    share = (towards * distance + now - distance).clamp_min(0.0) / now.clamp_min(1e-12)
    return one.fit(aside.lerp(one.clean.expand_as(aside), share.clamp_max(1.0)))
