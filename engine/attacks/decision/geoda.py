"""GeoDA: the boundary taken for a plane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from engine.attacks.base import AttackInfo, Knowledge, Paper, length, register, unit
from engine.attacks.coroutines import Asking, Subject, cosines
from engine.attacks.decision.attack import OTHERS, DecisionAttack
from engine.attacks.decision.geometry import REACH, exactness_for, fools, halvings, to_boundary
from engine.params import param

if TYPE_CHECKING:
    from torch import Tensor

GROWTH = 1.5
MOST_GROWTHS = 12


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
    )
    frequencies: int = param(75, title="Frequencies", low=1, high=512, step=5,
                             help="How many of the lowest frequencies, across and down, the probes are made of.")

    def approach(self, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[None]:
        exactness = exactness_for(one)
        image = yield from to_boundary(one, start, exactness)
        total = one.clean.new_zeros(1, one.clean.numel())
        for probes in _portions(one.left, halvings(exactness) + 2):
            total += yield from self._normal(one, image, probes)
            outside = yield from _outwards(one, total.view_as(one.clean).clone(), one.distance(image))
            if outside is not None:
                image = yield from to_boundary(one, outside, exactness)

    def _normal(self, one: Subject, image: Tensor, probes: int) -> Asking[Tensor]:
        """Which way the boundary faces at `image`: the mean of smooth random patterns, each with its answer's sign."""
        _, channels, height, width = image.shape
        down, across = (cosines(side, min(side, self.frequencies)) for side in (height, width))
        radius = REACH * float(length(image - one.clean))
        total = image.new_zeros(1, image.numel())
        for portion in one.shares(probes):
            patterns = down @ one.normal(portion, channels, down.shape[1], across.shape[1]) @ across.T
            patterns = unit(one.freed(patterns))
            answers = yield one.fit(image.add(patterns, alpha=radius))
            total.addmm_((2.0 * answers - 1.0)[None], patterns.flatten(1))
        return total.div_(probes)


def _portions(queries: int, apart: int) -> list[int]:
    """How `queries` are shared among the steps: each takes 0.6^(-2/3) times as many probes as the one before, the
    first 50 or more, and `apart` are set apart for finding the boundary after each."""
    ratio = 0.6 ** (-2 / 3)

    def shared(steps: int) -> list[int]:
        first = (queries - steps * apart) * (ratio - 1) / (ratio ** steps - 1)
        return [int(first * ratio ** step) for step in range(steps)]

    steps = 1
    while shared(steps + 1)[0] >= 50:
        steps += 1
    return [probes for probes in shared(steps) if probes > 0]


def _outwards(one: Subject, normal: Tensor, size: float) -> Asking[Tensor | None]:
    """An image along `normal` from the clean one that fools the model, `size` away or somewhat further; None where
    there is none."""
    direction = unit(normal) if one.norm == "l2" else normal.sign_()
    for _ in range(MOST_GROWTHS):
        image = one.fit(one.clean.add(direction, alpha=size))
        if (yield from fools(one, image)):
            return image
        size *= GROWTH
    return None
