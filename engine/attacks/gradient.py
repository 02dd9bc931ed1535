"""Gradient attacks within a budget: one step or many along the (signed or scaled) gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from engine.attacks.base import Attack, AttackInfo, Ball, Cost, Goal, Knowledge, Paper, Run, register

if TYPE_CHECKING:
    from torch import Tensor

    from engine.models.threat import WhiteBox


@register
@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """Fast gradient sign method (Goodfellow et al. 2015): one step of size eps along the sign of the gradient."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="fgsm",
        title="FGSM",
        sentence="One step: every pixel gets a little brighter or darker, whichever confuses the model more.",
        formula=r"x' = \mathrm{clip}\big(x + \varepsilon\,\mathrm{sign}(\nabla_x L(x, y))\big)",
        paper=Paper("Goodfellow, Shlens, Szegedy", "Explaining and Harnessing Adversarial Examples", 2015,
                    "https://arxiv.org/abs/1412.6572"),
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf",),
        look_for="Every pixel moves by exactly eps: the difference has two colours only.",
    )

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        ascent = target.gradient(clean, goal.objective)
        run.record(0, 1, clean, ascent.logits, ascent.value)
        return ball.project_(clean + ball.eps * ascent.gradient.sign())

    def cost(self) -> Cost:
        return Cost(gradients=1, queries=1)
