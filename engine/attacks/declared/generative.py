"""Attacks by a network that draws the perturbation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.attacks.base import Attack, AttackInfo, Cost, Knowledge, Paper, register
from engine.params import param


@dataclass(frozen=True, kw_only=True)
class Generative(Attack):
    """The training and the attack; a subclass says what its network looks at and how it changes an image.

    The model's gradient with respect to the attacked images comes from the oracle and is passed on into the network, so
    the model is never part of the network's graph. An attack costs one forward pass, which shows the clean image.
    """

    rate: ClassVar[float]  # Adam's
    betas: ClassVar[tuple[float, float]]

    epochs: int = 1

    def cost(self) -> Cost:
        return Cost(gradients=0, queries=1)

    def learning_cost(self, images: int) -> Cost:
        return Cost(gradients=self.epochs * images, queries=(self.epochs + 1) * images)

_XIAO = Paper("Xiao, Li, Zhu, He, Liu, Song", "Generating Adversarial Examples with Adversarial Networks", 2018,
              "https://arxiv.org/abs/1801.02610")
_JANDIAL = Paper("Jandial, Mangla, Varshney, Balasubramanian", "AdvGAN++: Harnessing latent layers for adversary "
                 "generation", 2019, "https://arxiv.org/abs/1908.00706")
_LI = Paper("Li, Ji", "Generative Dynamic Patch Attack", 2021, "https://arxiv.org/abs/2111.04266")


@register
@dataclass(frozen=True, kw_only=True)
class AdvGAN(Generative):
    """AdvGAN (Xiao et al. 2018): a generator learns to fool the model, a discriminator that it must not show.

    The attack's loss is Carlini and Wagner's margin, cut off once an image is fooled by `confidence` logits; the GAN's
    is the least-squares one; the hinge loss lets the perturbation be as long as `free` allows. As published.
    Deviation: the generator's output goes through tanh to +-eps instead of being cut off there, where its gradient
    would vanish; and its statistics are those of each image alone.
    """

    rate: ClassVar[float] = 1e-3
    betas: ClassVar[tuple[float, float]] = (0.5, 0.999)
    info: ClassVar[AttackInfo] = AttackInfo(
        name="advgan",
        title="AdvGAN",
        sentence="A network learns from other pictures to draw what fools the model; after that one look is enough.",
        formula=r"x' = x + \mathcal{G}(x),\quad \min_{\mathcal{G}} \max_{\mathcal{D}}\ L_{\mathrm{adv}} "
                r"+ \alpha\,L_{\mathrm{GAN}} + \beta\,L_{\mathrm{hinge}},\quad "
                r"L_{\mathrm{hinge}} = \max\big(0, \lVert\mathcal{G}(x)\rVert_2 - c\big)",
        paper=_XIAO,
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf",),
        look_for="The change follows what is in the picture, and looks alike from one picture to the next.",
        others=32,
    )
    epochs: int = param(30, title="Epochs", low=1, high=1000, step=1,
                        help="How often every further picture is looked at in training; a trained network is kept.")
    confidence: float = param(5.0, title="Confidence", low=0.0, high=100.0, step=1.0,
                              help="By how many logits a picture must fool the model before training leaves it alone.")
    gan: float = param(1.0, title="Weight of the discriminator", low=0.0, high=100.0, step=0.1,
                       help="How much it counts that a second network cannot tell attacked pictures from clean ones.")
    hinge: float = param(1.0, title="Weight of the size", low=0.0, high=100.0, step=0.1,
                         help="How much it counts that the change is no longer than what is free.")
    free: float = param(0.5, title="Free size", low=0.0, high=1.0, step=0.05,
                        help="How long (L2) the change may be at no cost, as a share of the longest one within eps.")


@register
@dataclass(frozen=True, kw_only=True)
class AdvGANPlusPlus(AdvGAN):
    """AdvGAN++ (Jandial et al. 2019): AdvGAN whose generator sees the model's own last feature map and some noise.

    Deviation: the generator draws a perturbation, not the whole picture: from a 7 x 7 feature map no picture of 224 x
    224 can be drawn within a budget of some grey levels.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="advganpp",
        title="AdvGAN++",
        sentence="Like AdvGAN, but the drawing network starts from what the model itself makes of the picture.",
        formula=r"x' = x + \mathcal{G}\big(f(x), z\big),\quad z \sim \mathcal{N}(0, 1),\quad "
                r"\min_{\mathcal{G}} \max_{\mathcal{D}}\ L_{\mathrm{adv}} + \alpha\,L_{\mathrm{GAN}} "
                r"+ \beta\,L_{\mathrm{hinge}}",
        paper=_JANDIAL,
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf",),
        look_for="The change is coarse: it is drawn from what the model has left of the picture, not from the picture.",
        others=32,
    )

DYNAMIC, STATIC = "dynamic", "static"


@register
@dataclass(frozen=True, kw_only=True)
class GDPA(Generative):
    """Generative dynamic patch attack (Li and Ji 2021): a network paints a patch for each image and places it.

    Adam at 5e-4, a patch of 2 % of the image, the loss is the cross-entropy, as published. A static patch is one patch
    at one place for all images: the network then sees the mean of the further images instead of each image. An opacity
    below 1 makes the patch less visible. Deviations: a smaller network, in proportion to which the slope of the place
    is scaled (engine.attacks.networks.generators.Patcher); the paint always goes through tanh to between black and
    white, which the authors' code does in one of its settings, while by default it takes the network's output as it
    comes.
    """

    rate: ClassVar[float] = 5e-4
    betas: ClassVar[tuple[float, float]] = (0.5, 0.9)
    info: ClassVar[AttackInfo] = AttackInfo(
        name="gdpa",
        title="GDPA",
        sentence="A network learns from other pictures to paint a small patch and to choose where to stick it.",
        formula=r"x' = (1 - \alpha\,m_t) \odot x + \alpha\,m_t \odot p_t,\quad (p, t) = \mathcal{G}(x),\quad "
                r"\max_{\mathcal{G}} L(x', y)",
        paper=_LI,
        knowledge=Knowledge.WHITE_BOX,
        norms=("l0",),
        look_for="One square, plain to see, and nothing else: compare where it sits with where the model looks.",
        bounded=False,
        others=32,
    )
    epochs: int = param(30, title="Epochs", low=1, high=1000, step=1,
                        help="How often every further picture is looked at in training; a trained network is kept.")
    share: float = param(0.02, title="Patch", low=0.0001, high=0.5, step=0.005,
                         help="How much of the picture the square patch covers, as a share of its area.")
    opacity: float = param(1.0, title="Opacity", low=0.01, high=1.0, step=0.05,
                           help="1: the patch hides what is under it; less: the picture shines through.")
    place: str = param(DYNAMIC, title="Patch and place", choices=(DYNAMIC, STATIC),
                       help="'dynamic': for every picture its own; 'static': the same for all pictures.")
