"""HopSkipJump and GBBA: to the boundary, a direction from random probes, a jump along it, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, ClassVar

from engine.attacks.base import PAPER_PRESET, AttackInfo, Knowledge, Paper, length, register, unit
from engine.attacks.coroutines import Asking, Subject
from engine.attacks.decision.attack import OTHERS, DecisionAttack
from engine.attacks.decision.geometry import REACH, exactness_for, fools, halvings, to_boundary
from engine.params import param

if TYPE_CHECKING:
    from torch import Tensor

FEWEST_PROBES = 10
MOST_PROBES = 10_000
MOST_HALVINGS = 15


@dataclass(frozen=True, kw_only=True)
class Jumping(DecisionAttack):
    """The loop of HopSkipJump: to the boundary, a direction from random probes, a jump along it, and back."""

    probes: int = param(100, title="First probes", low=10, high=1000, step=10,
                        help="How many random probes the first direction is made of; the t-th takes sqrt(t) times as "
                             "many.")

    def approach(self, one: Subject, start: Tensor, others: Iterator[Tensor]) -> Asking[None]:
        exactness = exactness_for(one)
        spare = halvings(exactness) + 2
        image = yield from to_boundary(one, start, exactness)
        for step in count(1):
            probes = min(int(self.probes * math.sqrt(step)), MOST_PROBES, one.left - spare)
            if probes < FEWEST_PROBES:
                return
            direction = yield from _direction(one, image, probes)
            direction = self.adjust(direction, image - one.clean)
            direction = unit(direction) if one.norm == "l2" else direction.sign_()
            jumped = yield from _jump(one, image, direction, one.distance(image) / math.sqrt(step))
            if jumped is not None:
                image = yield from to_boundary(one, jumped, exactness)

    def adjust(self, direction: Tensor, change: Tensor) -> Tensor:
        """The estimated direction, given the `change` from the clean image so far."""
        return direction


def _direction(one: Subject, image: Tensor, probes: int) -> Asking[Tensor]:
    """Where the model is fooled more, seen from `image` on the boundary: the mean of random directions, each with the
    sign of its answer, less the mean answer (which steadies the estimate where the answers are uneven)."""
    import torch

    radius = REACH * one.distance(image) * (1.0 if one.norm == "l2" else math.sqrt(one.entries))
    sums = image.new_zeros(2, image.numel())
    fooling = 0
    for portion in one.shares(probes):
        around = one.freed((one.normal if one.norm == "l2" else one.noise)(portion, *image.shape[1:]))
        around.mul_(radius / length(around).clamp_min_(1e-12)).add_(image)
        answers = yield one.fit(around)
        fooling += int(answers.sum())
        weights = torch.stack([torch.ones(portion), answers * 2.0 - 1.0])
        sums.addmm_(weights, around.sub_(image).flatten(1))
    mean = 2 * fooling / probes - 1
    direction = sums[1] if abs(mean) == 1 else sums[1].sub_(sums[0], alpha=mean)
    return direction.view_as(image)


def _jump(one: Subject, image: Tensor, direction: Tensor, size: float) -> Asking[Tensor | None]:
    """`image` moved along `direction`, by `size` or the largest of its halves where the model is still fooled."""
    for _ in range(MOST_HALVINGS):
        jumped = one.fit(image.add(direction, alpha=size))
        if (yield from fools(one, jumped)):
            return jumped
        size /= 2
    return None


_CHEN = Paper("Chen, Jordan, Wainwright", "HopSkipJumpAttack: A Query-Efficient Decision-Based Attack", 2020,
              "https://arxiv.org/abs/1904.02144")


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
    )


_LI_YANG = Paper("Li Yang", "Research on Adversarial Attacks and Enhancing Defense Capabilities in Medical Image Deep "
                 "Learning Systems, ch. 5", 2024, where="thesis, Hiroshima University")
_YU = Paper("Yu, Kumar, Gupta, Levine, Hausman, Finn", "Gradient Surgery for Multi-Task Learning", 2020,
            "https://arxiv.org/abs/2001.06782")
IN_CONFLICT, ALWAYS = "when it conflicts", "always"


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
        paper=_LI_YANG,
        builds_on=(_CHEN, _YU),
        knowledge=Knowledge.DECISION,
        norms=("l2", "linf"),
        look_for="Compare the norm after equal queries with HopSkipJump's.",
        bounded=False,
        others=OTHERS,
        presets={PAPER_PRESET: {"queries": 20_000}},
        version=2,
    )
    correction: str = param(IN_CONFLICT, title="Correction", choices=(IN_CONFLICT, ALWAYS),
                            help="When the direction loses its part along the change so far: only where the two point "
                                 "apart, which is seldom, as the true gradient never does and only a noisy estimate "
                                 "may; or in every step.")

    def adjust(self, direction: Tensor, change: Tensor) -> Tensor:
        along = float((direction * change).sum())
        if along == 0 or (along > 0 and self.correction == IN_CONFLICT):
            return direction
        return direction - change * (along / float((change * change).sum()))
