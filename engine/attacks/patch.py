"""Attacks that change one region as much as they like: patches and stickers.

None of these attacks has an eps for its patch; the size of the region is a setting, a share of the image's side, so
that it cannot exceed the image. Where the patch goes and how it is painted are separate pieces.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from engine.attacks.base import Attack, AttackInfo, Ball, Cost, Goal, Knowledge, Paper, Run, register
from engine.params import param

if TYPE_CHECKING:
    from torch import Tensor

    from engine.serving.threat import WhiteBox
    from engine.zoo.classifier import Classifier

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

GREY = 0.5  # what a region is filled with to find out how much the model needs it, and what learning begins with


def _sides(images: Tensor, height: float, width: float) -> tuple[int, int]:
    """A region's height and width in pixels, at least one."""
    return max(1, round(height * images.shape[2])), max(1, round(width * images.shape[3]))


def _regions(top: Tensor, left: Tensor, sides: tuple[int, int], images: Tensor) -> Tensor:
    """Rectangles as a mask bool [R, 1, H, W], from the row `top` [R] and the column `left` [R] on."""
    import torch

    down = torch.arange(images.shape[2], device=images.device) - top[:, None]
    across = torch.arange(images.shape[3], device=images.device) - left[:, None]
    rows, columns = (down >= 0) & (down < sides[0]), (across >= 0) & (across < sides[1])
    return (rows[:, :, None] & columns[:, None])[:, None]


def _hottest(heat: Tensor, sides: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where the rectangle with the highest sum of `heat` [N, H, W] begins: rows [N] and columns [N]."""
    from torch.nn import functional as F

    # In double precision, as a map that is flat somewhere must not be decided by rounding.
    sums = F.avg_pool2d(heat[:, None].double(), sides, stride=1)[:, 0]
    best = sums.flatten(1).argmax(dim=1)
    return best // sums.shape[2], best % sums.shape[2]


# ---- one region an image -------------------------------------------------------------------------------------------


class _Best:
    """Of every image the iterate with the highest objective so far."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self._value = images.new_full((len(images),), float("-inf"))

    def see(self, images: Tensor, value: Tensor) -> None:
        better = value > self._value
        self.images = images.where(better.view(-1, 1, 1, 1), self.images)
        self._value = value.maximum(self._value)


@dataclass(frozen=True, kw_only=True)
class RegionAttack(Attack):
    """Finds a rectangle in each image and paints it by PGD of unlimited size from random grey values.

    A subclass says where (`place`), and what is done to the rest of the image (`around`, by default nothing).
    """

    height: float = param(0.2, title="Height", low=0.01, high=1.0, step=0.01,
                          help="The patch's height as a share of the image's.")
    width: float = param(0.2, title="Width", low=0.01, high=1.0, step=0.01,
                         help="The patch's width as a share of the image's.")
    steps: int = param(20, title="Steps", low=1, high=1000, step=1,
                       help="How many times the patch is repainted; each costs one forward and one backward pass.")
    step_size: float = param(0.1, title="Step size", low=1 / 255, high=1.0, step=1 / 255, unit="/255",
                             help="How much brighter or darker a pixel of the patch gets in one step.")

    @abstractmethod
    def place(self, target: WhiteBox, goal: Goal, ball: Ball, run: Run) -> Tensor:
        """The region of each image as a mask bool [N, 1, H, W]."""

    @abstractmethod
    def search_cost(self) -> Cost:
        """What `place` and `around` spend on an image."""

    def around(self, target: WhiteBox, goal: Goal, ball: Ball) -> Tensor:
        """The images into which the patch is put."""
        return ball.clean

    def cost(self) -> Cost:
        search = self.search_cost()
        return Cost(gradients=search.gradients + self.steps, queries=search.queries + self.steps + 1)

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        region = self.place(target, goal, ball, run)
        around = self.around(target, goal, ball)
        images = ball.project_(run.noise(clean).add_(1).div_(2).where(region, around))
        best = _Best(images)
        for step in range(self.steps):
            ascent = target.gradient(images, goal.objective)
            run.record(step, self.steps + 1, images, ascent.logits, ascent.value)
            best.see(images, ascent.value)
            ball.project_(images.add_(ascent.gradient.sign_().mul_(region), alpha=self.step_size))
        logits = target.logits(images)
        value = goal.objective(logits, _all(images))
        run.record(self.steps, self.steps + 1, images, logits, value)
        best.see(images, value)
        return best.images


def _all(images: Tensor) -> Tensor:
    import torch

    return torch.arange(len(images), device=images.device)


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

    def place(self, target: WhiteBox, goal: Goal, ball: Ball, run: Run) -> Tensor:
        clean, sides = ball.clean, _sides(ball.clean, self.height, self.width)
        tops, lefts = self._corners(clean, sides)
        order = self._recommended(target, goal, clean, sides, tops, lefts) if self.search == BY_GRADIENT else None
        tries = len(tops) if order is None else order.shape[1]
        rows, best = _all(clean), clean.new_full((len(clean),), float("-inf"))
        chosen = rows.new_zeros(len(clean))
        for number in range(tries):
            which = rows.new_full(rows.shape, number) if order is None else order[:, number]
            region = _regions(tops[which], lefts[which], sides, clean)
            covered = ball.project_(clean.masked_fill(region, GREY))
            value = goal.objective(target.logits(covered), rows)
            chosen = which.where(value > best, chosen)
            best = value.maximum(best)
        return _regions(tops[chosen], lefts[chosen], sides, clean)

    def _corners(self, clean: Tensor, sides: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The grid's places as rows [G] and columns [G], evenly from one edge to the other, each once."""
        import torch

        down, across = (
            torch.linspace(0, whole - side, min(self.grid, whole - side + 1), device=clean.device).round().long()
            for whole, side in zip(clean.shape[2:], sides, strict=True))
        return down.repeat_interleave(len(across)), across.repeat(len(down))

    def _recommended(self, target: WhiteBox, goal: Goal, clean: Tensor, sides: tuple[int, int], tops: Tensor,
                     lefts: Tensor) -> Tensor:
        """The places of the grid that hold most of the gradient, best first, int64 [N, candidates]."""
        from torch.nn import functional as F

        gradient = target.gradient(clean, goal.objective).gradient
        # A sure model's gradient is tiny, and its squares vanish: only the order counts.
        gradient = gradient / gradient.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-37)
        sums = F.avg_pool2d(gradient.square().sum(dim=1, keepdim=True).double(), sides, stride=1)[:, 0]
        return sums[:, tops, lefts].topk(min(self.candidates, len(tops)), dim=1).indices


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

    def place(self, target: WhiteBox, goal: Goal, ball: Ball, run: Run) -> Tensor:
        clean, sides = ball.clean, _sides(ball.clean, self.height, self.width)
        shares = run.noise(clean.new_empty(len(clean), 2)).add_(1).div_(2)
        top, left = ((share * (whole - side + 1)).long().clamp_(max=whole - side)
                     for share, whole, side in zip(shares.unbind(1), clean.shape[2:], sides, strict=True))
        return _regions(top, left, sides, clean)


@dataclass(frozen=True, kw_only=True)
class HotRegionAttack(RegionAttack):
    """Puts the patch where the heatmap of the true class is hottest."""

    layer: str = param("", title="CAM layer",
                       help="The layer whose heatmap is used, by its name in the network; empty: the usual one.")

    def search_cost(self) -> Cost:
        return Cost(1, 2)  # a heatmap, and a pass to find the layer of a network that is not known by name

    def place(self, target: WhiteBox, goal: Goal, ball: Ball, run: Run) -> Tensor:
        import torch

        from engine.explain.cam import cam

        layer = self.layer or _usual_layer(target, ball.clean)

        def heat(model: Classifier, images: Tensor, rows: Tensor) -> Tensor:
            return torch.from_numpy(cam(model, images, goal.labels[rows], layer=layer).maps).to(images.device)

        clean, sides = ball.clean, _sides(ball.clean, self.height, self.width)
        top, left = _hottest(target.inspect(heat, clean), sides)
        return _regions(top, left, sides, clean)


def _usual_layer(target: WhiteBox, clean: Tensor) -> str:
    """The first of the layers that a heatmap may use; costs each image a forward pass in an unknown network."""
    from engine.explain.cam import layers_for
    from engine.zoo.architectures import ARCHITECTURES

    if target.arch in ARCHITECTURES:
        return ARCHITECTURES[target.arch].cam_layers[0]
    names: list[str] = []

    def look(model: Classifier, images: Tensor, rows: Tensor) -> Tensor:
        names.append(layers_for(model, images)[0])
        return rows

    # Of all images, although one would do: otherwise what an image costs would depend on which comes first.
    target.inspect(look, clean, gradients=0)
    return names[0]


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

    def around(self, target: WhiteBox, goal: Goal, ball: Ball) -> Tensor:
        gradient = target.gradient(ball.clean, goal.objective).gradient
        return ball.project_(ball.clean + ball.eps * gradient.sign_())


# ---- one patch for all images --------------------------------------------------------------------------------------

DISC, SQUARE = "disc", "square"
FINENESS = 2  # pixels of the patch for each pixel of an image, a side: with one, being put between pixels blurs it


@dataclass(frozen=True)
class _Placement:
    """Where a patch lies in each of R images: turned by `angle`, `radius` half its side in pixels, around `centre`."""

    angle: Tensor  # [R], radians
    radius: Tensor  # [R]
    centre: Tensor  # [R, 2], row and column

    @classmethod
    def of(cls, shares: Tensor, images: Tensor, side: float, turn: float, smallest: float) -> _Placement:
        """From numbers `shares` [R, 4] in [0, 1): so turned, so large, and so far from top and left, wholly inside."""
        import torch

        angle = (shares[:, 0] * 2 - 1) * turn
        radius = side / 2 * (smallest + shares[:, 1] * (1 - smallest))
        room = torch.stack([side - 2 * radius for side in images.shape[2:]], dim=1)
        return cls(angle, radius, radius[:, None] + shares[:, 2:] * room)

    def grid(self, images: Tensor) -> Tensor:
        """For each pixel of each image its place in the patch, from -1 to 1 where it is inside, [R, H, W, (x, y)]."""
        import torch

        down, across = (torch.arange(size, device=images.device) + 0.5 for size in images.shape[2:])
        y = (down[:, None] - self.centre[:, 0, None, None]) / self.radius[:, None, None]
        x = (across - self.centre[:, 1, None, None]) / self.radius[:, None, None]
        cos, sin = self.angle.cos()[:, None, None], self.angle.sin()[:, None, None]
        return torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1)


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

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        import math

        patch = run.learned(lambda: {"patch": self._fit(target, goal, run)}, show=("patch",))["patch"]
        shares = run.noise(clean.new_empty(len(clean), 4)).add_(1).div_(2)
        placement = _Placement.of(shares, clean, self._side(clean), math.radians(self.turn), self.smallest)
        images = ball.project_(self._applied(patch, clean, placement))
        logits = target.logits(images)
        run.record(0, 1, images, logits, goal.objective(logits, _all(images)))
        return images

    def _side(self, images: Tensor) -> float:
        """The patch's side in pixels of the images, at least one and not always a whole number."""
        return max(1.0, self.size * min(images.shape[2:]))

    def _fit(self, target: WhiteBox, goal: Goal, run: Run) -> Tensor:
        """The patch [C, S, S], from grey."""
        import math

        import torch

        from engine.serving.crossing import sent

        others, generator = run.others, run.generator()
        side, device = self._side(others.images), others.images.device
        pixels = math.ceil(FINENESS * side)
        patch = torch.full((others.images.shape[1], pixels, pixels), GREY, device=device)
        model, adam = target.apart(self.sample), torch.optim.Adam([patch], lr=self.rate, maximize=True)
        for step in range(self.steps):
            chosen = sent(torch.randint(len(others.images), (self.sample,), generator=generator), device)
            images, aim = others.images[chosen], goal.of(others.labels[chosen])
            shares = sent(torch.rand(self.sample, 4, generator=generator), device)
            placement = _Placement.of(shares, images, side, math.radians(self.turn), self.smallest)
            patch.grad, value, fooled = self._gradient(model, patch, images, aim, placement)
            run.learning(step, self.steps, objective=value, fooled=fooled)
            adam.step()
            patch.clamp_(0, 1)
        return patch

    def _gradient(self, model: WhiteBox, patch: Tensor, images: Tensor, aim: Goal,
                  placement: _Placement) -> tuple[Tensor, Tensor, Tensor]:
        """The mean objective's gradient with respect to the patch, its value, and the share of images fooled."""
        import torch

        with torch.enable_grad():
            leaf = patch.detach().requires_grad_(True)
            pasted = self._applied(leaf, images, placement)
            ascent = model.gradient(pasted.detach(), aim.objective, _all(images))
            (gradient,) = torch.autograd.grad(pasted, leaf, ascent.gradient / len(images))
        return gradient, ascent.value.mean(), aim.reached(ascent.logits).float().mean()

    def _applied(self, patch: Tensor, images: Tensor, placement: _Placement) -> Tensor:
        """The images with the patch in them."""
        from torch.nn import functional as F

        grid = placement.grid(images)
        inside = grid.square().sum(dim=-1) <= 1 if self.shape == DISC else (grid.abs() <= 1).all(dim=-1)
        painted = F.grid_sample(patch.expand(len(images), *patch.shape), grid, padding_mode="border",
                                align_corners=False)
        return painted.where(inside[:, None], images)
