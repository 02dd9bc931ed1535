"""APGD, and AutoAttack: several strong attacks in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.attacks.base import ATTACKS, Attack, AttackInfo, Cost, Knowledge, Paper, register
from engine.params import build, param, params_of

CROSS_ENTROPY = "cross-entropy"
RATIO = "difference of logits ratio"
_CROCE = Paper("Croce, Hein", "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse "
               "Parameter-free Attacks", 2020, "https://arxiv.org/abs/2003.01690")


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
    loss: str = param(CROSS_ENTROPY, title="Loss", choices=(CROSS_ENTROPY, RATIO),
                      help="What is raised. The ratio does not change when all logits are scaled, so it also works "
                           "where the model is so sure that cross-entropy shows no slope.")

    def cost(self) -> Cost:
        return Cost(gradients=self.steps + 1, queries=self.steps + 1)


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
