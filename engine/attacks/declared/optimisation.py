"""Attacks that look for the smallest change that fools the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.attacks.base import PAPER_PRESET, Attack, AttackInfo, Cost, Knowledge, Paper, register
from engine.params import param


@register
@dataclass(frozen=True, kw_only=True)
class CarliniWagner(Attack):
    """Carlini & Wagner (2017): Adam on size plus c times what is missing to fool the model, for a series of constants.

    The default budget (6 rounds of 30 steps) is far under the paper's (20 of 10,000), which is the preset "paper"
    (with the rate and the first constant of the authors' code, which itself bisects 9 times).
    Deviations: every image of a batch takes all steps (the paper stops one that makes no progress); Linf starts with
    the threshold at the first success, as nothing is gained by lowering it from 1 in steps of 0.9. An image that is
    never fooled stays as it was (foolbox gives a black one). In L2 foolbox finds the same; ART searches along each
    gradient, and torchattacks takes one constant for all images. In Linf ART, like the paper, lowers the threshold
    from 1, and takes far more gradients.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="cw",
        title="C&W",
        sentence="Weighs staying close to the image against fooling the model, and finds the balance that just does.",
        formula=r"\min_\delta\ \lVert\delta\rVert_2^2 + c\,\max\big(z_y - \max_{k \ne y} z_k + \kappa,\ 0\big),\quad "
                r"x + \delta = \tfrac{1}{2}(\tanh w + 1)",
        paper=Paper("Carlini, Wagner", "Towards Evaluating the Robustness of Neural Networks", 2017,
                    "https://arxiv.org/abs/1608.04644"),
        knowledge=Knowledge.WHITE_BOX,
        norms=("l2", "linf"),
        look_for="The change is too faint to see, and gone once the image is saved with 8 bits.",
        bounded=False,
        version=2,
        presets={PAPER_PRESET: {"rounds": 20, "steps": 10_000, "rate": 0.01, "constant": 0.001}},
    )
    rounds: int = param(6, title="Rounds", low=1, high=50, step=1,
                        help="How many constants c are tried for each image, one after another. The paper tries 20: "
                             "with the default the change found is not the smallest.")
    steps: int = param(30, title="Steps a round", low=1, high=10000, step=1,
                       help="How many steps of Adam each round takes; each costs one forward and one backward pass. "
                            "The paper takes 10,000, a thousand times the work of the default in all.")
    rate: float = param(0.002, title="Learning rate", low=1e-5, high=1.0, step=0.001,
                        help="How far a step of Adam goes. Large rates waste the first steps of sensitive models.")
    constant: float = param(0.01, title="First constant", low=1e-6, high=1e6, step=0.001,
                            help="The weight c of fooling the model in the first round.")
    confidence: float = param(0.0, title="Confidence", low=0.0, high=100.0, step=0.5,
                              help="By how many logits the wrong class must lead (the paper's kappa).")

    def cost(self) -> Cost:
        passes = self.rounds * self.steps
        return Cost(gradients=passes, queries=passes)


@register
@dataclass(frozen=True, kw_only=True)
class LBFGS(Attack):
    """Box-constrained L-BFGS (Szegedy et al. 2014): squared size plus c times the cross-entropy of the target class.

    Deviations: all images of a batch go on together, each with its own curvature, halving its step where it did not
    descend (projected onto the box, on which entries at a bound that push outwards are left out); c is found by
    bisection as in C&W. Untargeted, which the paper has not, it aims at the likeliest other class.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="lbfgs",
        title="L-BFGS",
        sentence="The first attack of all: a classical optimiser seeks a small change that makes another class likely.",
        formula=r"\min_{r}\ \lVert r\rVert_2^2 + c\,L(x + r, t)\quad \text{with}\quad x + r \in [0, 1]^d",
        paper=Paper("Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow, Fergus",
                    "Intriguing properties of neural networks", 2014, "https://arxiv.org/abs/1312.6199"),
        knowledge=Knowledge.WHITE_BOX,
        norms=("l2",),
        look_for="Hardly anything to see: the change is about as small as C&W's.",
        bounded=False,
        version=2,
    )
    rounds: int = param(6, title="Rounds", low=1, high=50, step=1,
                        help="How many constants c are tried for each image, one after another.")
    steps: int = param(20, title="Steps a round", low=1, high=10000, step=1,
                       help="How often the model is asked in each round; each costs a forward and a backward pass.")
    constant: float = param(0.01, title="First constant", low=1e-6, high=1e6, step=0.001,
                            help="The weight c of the target class in the first round.")

    def cost(self) -> Cost:
        passes = self.rounds * self.steps
        return Cost(gradients=passes, queries=passes + 1)


@dataclass(frozen=True, kw_only=True)
class Tangential(Attack):
    """What a user may set of an attack that asks for tangent planes."""

    candidates: int = param(3, title="Rival classes", low=1, high=1000, step=1,
                            help="How many of the likeliest other classes are looked at; each costs a forward and a "
                                 "backward pass a step.")


@register
@dataclass(frozen=True, kw_only=True)
class DeepFool(Tangential):
    """DeepFool (Moosavi-Dezfooli et al. 2016): step to the nearest boundary of a linear model, until it is crossed.

    In L2, and in Linf with the dual norm. Deviation: only the likeliest rival classes are looked at; the preset "paper"
    has the nine, the 50 steps and the overshoot of the authors' code. An image that resists comes back as far as it
    came, as the paper's does; C&W, L-BFGS and FAB leave such an image as it was.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="deepfool",
        title="DeepFool",
        sentence="Takes the model for a straight line, steps just over it, looks again, and is done after a few steps.",
        formula=r"x_{t+1} = x_t + \frac{|f_{\hat k}|}{\lVert w_{\hat k}\rVert_2^2}\,w_{\hat k},\quad "
                r"\hat k = \arg\min_{k \ne y} \frac{|f_k|}{\lVert w_k\rVert_2},\quad f_k = z_k - z_y,\ "
                r"w_k = \nabla_x f_k",
        paper=Paper("Moosavi-Dezfooli, Fawzi, Frossard",
                    "DeepFool: a simple and accurate method to fool deep neural networks", 2016,
                    "https://arxiv.org/abs/1511.04599"),
        knowledge=Knowledge.WHITE_BOX,
        norms=("l2", "linf"),
        look_for="Two or three steps are enough, and the model is left undecided between two classes.",
        targeted=False,
        bounded=False,
        presets={PAPER_PRESET: {"steps": 50, "candidates": 9}},
    )
    steps: int = param(20, title="Steps", low=1, high=1000, step=1,
                       help="The most steps an image may take; most need two or three.")
    overshoot: float = param(0.02, title="Overshoot", low=0.0, high=1.0, step=0.01,
                             help="By what share the change is made larger, to end beyond the boundary and not on it.")

    def cost(self) -> Cost:
        gradients = self.steps * self.candidates
        return Cost(gradients=gradients, queries=gradients + 1)


@register
@dataclass(frozen=True, kw_only=True)
class FAB(Tangential):
    """Fast adaptive boundary attack (Croce & Hein 2020): like DeepFool, with the exact projection onto plane and box,
    drawn towards the clean image, and from every success part of the way back.

    The preset "paper" has the steps of the authors' code, and the restarts and the nine rivals of AutoAttack's.
    Restarts begin at random within half the best change. Targeted, the plane is that between the target and the
    likeliest other class. Deviation: only the likeliest rival classes are looked at; torchattacks takes the gradient of
    every class at every step, and a forward pass more.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="fab",
        title="FAB",
        sentence="Walks along the decision boundary towards the point that is closest to the image.",
        formula=r"x_{t+1} = \mathrm{clip}\big((1-\alpha)(x_t + \eta\,\delta_t) + \alpha\,(x + \eta\,\delta_x)\big),"
                r"\quad \delta_\cdot = \mathrm{proj}_{\pi_t \cap [0,1]^d}(\cdot) - \cdot,\ "
                r"\alpha = \min\Big(\frac{\lVert\delta_t\rVert}{\lVert\delta_t\rVert + \lVert\delta_x\rVert},"
                r"\ \alpha_{\max}\Big)",
        paper=Paper("Croce, Hein", "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack",
                    2020, "https://arxiv.org/abs/1907.02044"),
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf", "l2"),
        look_for="The smallest change of all, and so a measure of how far the model is from changing its mind.",
        bounded=False,
        presets={PAPER_PRESET: {"steps": 100, "restarts": 5, "candidates": 9}},
        version=2,
    )
    steps: int = param(20, title="Steps", low=1, high=1000, step=1,
                       help="How often the boundary is approached in each try.")
    restarts: int = param(1, title="Restarts", low=1, high=100, step=1,
                          help="How many tries; every try after the first begins at a random point near the image.")
    overshoot: float = param(1.05, title="Extrapolation", low=1.0, high=2.0, step=0.01,
                             help="How far beyond the plane a step goes (the paper's eta).")
    bias: float = param(0.1, title="Largest bias", low=0.0, high=1.0, step=0.05,
                        help="How strongly a step is drawn towards the clean image (the paper's alpha max).")
    backward: float = param(0.9, title="Backward step", low=0.0, high=1.0, step=0.05,
                            help="How much of a successful change is kept for the next step (the paper's beta).")

    def cost(self) -> Cost:
        approaches = self.steps * self.restarts
        return Cost(gradients=approaches * self.candidates, queries=approaches * (self.candidates + 1) + 1)
