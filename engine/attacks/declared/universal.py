"""One perturbation for all images, learned once from further images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.attacks.base import Attack, AttackInfo, Cost, Knowledge, Paper, register
from engine.params import param

ASCENT = "gradient ascent"
DEEPFOOL = "DeepFool"
# DeepFool's own settings, those of its paper.
BOUNDARY_STEPS = 10
MOST_CLASSES = 10


@register
@dataclass(frozen=True, kw_only=True)
class UAP(Attack):
    """Universal adversarial perturbation (Moosavi-Dezfooli et al. 2017), untargeted and targeted, in Linf or L2.

    With method "DeepFool" as published: for one image after another that is not fooled yet, the smallest change that
    would fool it (in L2) is added to the pattern, which is then brought back into the budget.
    Deviation: by default the pattern climbs the mean margin of batches instead (projected gradient ascent with
    momentum, as in Shafahi et al. 2020, "Universal Adversarial Training", where the loss is a cut-off cross-entropy).
    Of all epochs the pattern that fooled most of the further images is kept; the paper's and ART's is the last, which
    with "DeepFool" may be a worse one.
    What counts as fooled is, as in the paper, an answer other than that on the clean image, right or not.
    With a mask an image gets the part of the pattern that lies within; in L2 that is shorter than eps.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="uap",
        title="UAP",
        sentence="One pattern for all pictures: learned from other pictures, then simply added to each.",
        formula=r"x' = \mathrm{clip}(x + v),\quad \lVert v\rVert_p \le \varepsilon,\quad "
                r"v = \arg\max_v\, \mathbb{P}_{x}\big[k(x + v) \ne k(x)\big]",
        paper=Paper("Moosavi-Dezfooli, Fawzi, Fawzi, Frossard", "Universal adversarial perturbations", 2017,
                    "https://arxiv.org/abs/1610.08401"),
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf", "l2"),
        look_for="The difference is the same for every picture; it often drives all of them to the same wrong class.",
        others=32,
    )
    method: str = param(ASCENT, title="Learned by", choices=(ASCENT, DEEPFOOL),
                        help="'gradient ascent' moves the pattern by what fools a batch of pictures; 'DeepFool', as "
                             "first published, by what fools one picture after another.")
    epochs: int = param(20, title="Epochs", low=1, high=500, step=1,
                        help="How often every further picture is looked at while learning; nothing is learned again "
                             "when other pictures are attacked.")
    enough: float = param(1.0, title="Enough", low=0.0, high=1.0, step=0.05,
                          help="Learning ends early when this share of the further pictures is fooled.")

    def cost(self) -> Cost:
        return Cost(gradients=0, queries=1)

    def learning_cost(self, images: int) -> Cost:
        looks = {ASCENT: 1, DEEPFOOL: BOUNDARY_STEPS * (MOST_CLASSES - 1)}[self.method]
        further = {ASCENT: 0, DEEPFOOL: 1}[self.method]
        return Cost(gradients=self.epochs * images * looks,
                    queries=images * (1 + self.epochs * (looks + further + 1)))
