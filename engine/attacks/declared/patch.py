"""Attacks that change one region as much as they like: patches and stickers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from engine.attacks.base import Attack, AttackInfo, Cost, Knowledge, Paper, register
from engine.params import param

_BROWN = Paper("Brown, Mané, Roy, Abadi, Gilmer", "Adversarial Patch", 2017, "https://arxiv.org/abs/1712.09665")
_SELVARAJU = Paper("Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra",
                   "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", 2017,
                   "https://arxiv.org/abs/1610.02391")

_KHANDELWAL = Paper("Khandelwal, Karthikeyan et al.",
                    "Patching with Perturbation (PwP) Attack on Pneumonia X-ray Images", None,
                    where="course report, Arizona State University")
_LI = Paper("Li, Ji", "Generative Dynamic Patch Attack", 2021, "https://arxiv.org/abs/2111.04266")
_GOODFELLOW = Paper("Goodfellow, Shlens, Szegedy", "Explaining and Harnessing Adversarial Examples", 2015,
                    "https://arxiv.org/abs/1412.6572")


@dataclass(frozen=True, kw_only=True)
class RegionAttack(Attack):
    """Finds a rectangle in each image and paints it by PGD of unlimited size from random grey values."""

    height: float = param(0.2, title="Height", low=0.01, high=1.0, step=0.01,
                          help="The patch's height as a share of the image's.")
    width: float = param(0.2, title="Width", low=0.01, high=1.0, step=0.01,
                         help="The patch's width as a share of the image's.")
    steps: int = param(20, title="Steps", low=1, high=1000, step=1,
                       help="How many times the patch is repainted; each costs one forward and one backward pass.")
    step_size: float = param(0.1, title="Step size", low=1 / 255, high=1.0, step=1 / 255, unit="/255",
                             help="How much brighter or darker a pixel of the patch gets in one step.")

    @abstractmethod
    def search_cost(self) -> Cost:
        """What finding the region, and changing the rest, spends on an image."""

    def cost(self) -> Cost:
        search = self.search_cost()
        return Cost(gradients=search.gradients + self.steps, queries=search.queries + self.steps + 1)


GRID, BY_GRADIENT = "grid", "gradient"


@register
@dataclass(frozen=True, kw_only=True)
class ROA(RegionAttack):
    """Rectangular occlusion attack (Wu et al. 2020): a grey rectangle finds the worst place, sign-PGD paints it.

    Both searches of the paper: "grid" tries every place of a grid; "gradient" tries only the `candidates` places where
    the gradient's sum of squares is largest. Deviations: the grid is given by its places a side instead of a stride in
    pixels; the sticker is painted from random greys, where the authors' code by default begins with an even grey; and
    the last iterate is the best one seen.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="roa",
        title="ROA (sticker)",
        sentence="Covers the image with a grey card here and there, and paints a sticker where that hurt most.",
        formula=r"R^* = \arg\max_{R}\ L\big(x \odot (1 - R) + \tfrac{1}{2} R,\ y\big),\quad "
                r"x_{t+1} = \mathrm{clip}\big(x_t + \alpha\,R^* \odot \mathrm{sign}(\nabla_x L(x_t, y))\big)",
        paper=Paper("Wu, Tong, Vorobeychik", "Defending Against Physically Realizable Attacks on Image Classification",
                    2020, "https://arxiv.org/abs/1909.09552"),
        knowledge=Knowledge.WHITE_BOX,
        norms=("l0",),
        look_for="A sticker of noise; everything around it is untouched.",
        bounded=False,
    )
    search: str = param(GRID, title="Search", choices=(GRID, BY_GRADIENT),
                        help="Try every place of the grid, or only those the gradient recommends, which is faster.")
    grid: int = param(8, title="Places a side", low=1, high=256, step=1,
                      help="How many places the grid has from top to bottom, and from left to right.")
    candidates: int = param(10, title="Candidates", low=1, high=1000, step=1,
                            help="How many places are tried in the gradient search.")

    def search_cost(self) -> Cost:
        tried = self.grid**2
        return Cost(0, tried) if self.search == GRID else Cost(1, 1 + min(self.candidates, tried))


@register
@dataclass(frozen=True, kw_only=True)
class RandomPatch(RegionAttack):
    """A patch painted by PGD in a place drawn at random: the baseline of attacks that choose their place."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="randompatch",
        title="Patch in a random place",
        sentence="Paints a sticker somewhere in the image, to compare with attacks that choose the place.",
        formula=r"x_{t+1} = \mathrm{clip}\big(x_t + \alpha\,R \odot \mathrm{sign}(\nabla_x L(x_t, y))\big),\quad "
                r"R\ \text{random}",
        paper=_BROWN,
        knowledge=Knowledge.WHITE_BOX,
        norms=("l0",),
        look_for="Whether it matters where the sticker is: compare with the patch where the heatmap is hottest.",
        bounded=False,
    )

    def search_cost(self) -> Cost:
        return Cost(0, 0)


@dataclass(frozen=True, kw_only=True)
class HotRegionAttack(RegionAttack):
    """Puts the patch where the heatmap of the true class is hottest."""

    layer: str = param("", title="CAM layer",
                       help="The layer whose heatmap is used, by its name in the network; empty: the usual one.")

    def search_cost(self) -> Cost:
        return Cost(1, 2)  # a heatmap, and a pass to find the layer of a network that is not known by name


@register
@dataclass(frozen=True, kw_only=True)
class CAMPatch(HotRegionAttack):
    """A patch painted by PGD where the CAM is hottest, the rest untouched: PwP without its perturbation."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="campatch",
        title="Patch on the heatmap",
        sentence="Paints a sticker on the spot that the model looks at most.",
        formula=r"R = \arg\max_{R} \sum_{i \in R} \mathrm{CAM}_y(x)_i,\quad "
                r"x_{t+1} = \mathrm{clip}\big(x_t + \alpha\,R \odot \mathrm{sign}(\nabla_x L(x_t, y))\big)",
        paper=_KHANDELWAL,
        builds_on=(_SELVARAJU, _BROWN),
        knowledge=Knowledge.WHITE_BOX,
        norms=("l0",),
        look_for="The sticker covers the hottest spot of the clean image's heatmap.",
        bounded=False,
    )


@register
@dataclass(frozen=True, kw_only=True)
class PwP(HotRegionAttack):
    """Patching with perturbation: a patch where the CAM of a chosen layer is hottest, and FGSM within eps in the rest.

    FGSM takes one step, from the clean image; the patch is then painted by PGD into the image so perturbed, so that
    what is found fits together. The budget holds outside the patch.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="pwp",
        title="PwP",
        sentence="Paints a sticker on the spot that the model looks at most, and changes all else by a little.",
        formula=r"x' = \mathrm{clip}\big((1 - R) \odot (x + \varepsilon\,\mathrm{sign}(\nabla_x L(x, y))) "
                r"+ R \odot p\big),\quad R = \arg\max_{R} \sum_{i \in R} \mathrm{CAM}_y(x)_i,\ "
                r"p\ \text{maximises}\ L(x', y)",
        paper=_KHANDELWAL,
        builds_on=(_SELVARAJU, _LI, _GOODFELLOW),
        knowledge=Knowledge.WHITE_BOX,
        norms=("linf",),
        look_for="A smaller sticker is enough, because the rest of the image helps without being seen. Epsilon holds "
                 "for that rest, not for the sticker.",
        patched=True,
        version=2,
    )

    def search_cost(self) -> Cost:
        return Cost(2, 3)


DISC, SQUARE = "disc", "square"


@register
@dataclass(frozen=True, kw_only=True)
class AdversarialPatch(Attack):
    """Adversarial patch (Brown et al. 2017): one patch, learned on further images in random places, sizes and turns.

    It is learned once for model, settings and seed, kept, and can be printed; the attack itself then only puts it
    somewhere in each image. Untargeted it lowers the true class, which the paper, always targeted, does not have.
    Deviation: Adam on the pixels, clipped to [0,1], as in ART, whose patch, too, begins grey; but ART's is a picture of
    the whole image's size, and ours is only as much finer than it is seen as it takes to be sharp anywhere.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="patch",
        title="Adversarial patch",
        sentence="One sticker for every image: learned beforehand to work anywhere, at any angle, and to be printed.",
        formula=r"\hat p = \arg\max_{p}\ \mathbb{E}_{x, t, \ell}\big[\log \Pr(\hat y \mid A(p, x, \ell, t))\big]",
        paper=_BROWN,
        knowledge=Knowledge.WHITE_BOX,
        norms=("l0",),
        look_for="The same sticker in every image, each time in another place.",
        bounded=False,
        others=16,
        version=2,
    )
    size: float = param(0.3, title="Size", low=0.01, high=1.0, step=0.01,
                        help="The patch's side as a share of the image's shorter side.")
    smallest: float = param(0.8, title="Smallest scale", low=0.1, high=1.0, step=0.05,
                            help="The patch appears at a random size between this share of it and all of it.")
    turn: float = param(22.5, title="Largest turn", low=0.0, high=180.0, step=2.5, unit="°",
                        help="The patch appears turned by at most this angle either way.")
    shape: str = param(DISC, title="Shape", choices=(DISC, SQUARE), help="What the patch looks like when cut out.")
    steps: int = param(100, title="Learning steps", low=1, high=10000, step=10,
                       help="How many batches of placed patches it is learned from.")
    sample: int = param(8, title="Images a step", low=1, high=64, step=1,
                        help="How many images see the patch in one learning step.")
    rate: float = param(0.05, title="Learning rate", low=0.0001, high=1.0, step=0.01,
                        help="How far the patch's pixels move in a learning step.")

    def cost(self) -> Cost:
        return Cost(gradients=0, queries=1)

    def learning_cost(self, images: int) -> Cost:
        return Cost(gradients=self.steps * self.sample, queries=self.steps * self.sample)
