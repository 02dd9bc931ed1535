"""Attacks that change one region as much as they like: patches and stickers.

None of these attacks has an eps for its patch; the size of the region is a setting, a share of the image's side, so
that it cannot exceed the image. Where the patch goes and how it is painted are separate pieces.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.attacks.base import Ball, Goal, Run, implements
from engine.attacks.declared.patch import (
    BY_GRADIENT,
    DISC,
    ROA,
    AdversarialPatch,
    HotRegionAttack,
    PwP,
    RandomPatch,
    RegionAttack,
)
from engine.explain.cam import cam, layers_for
from engine.serving.crossing import sent
from engine.serving.threat import WhiteBox
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.classifier import Classifier

GREY = 0.5  # what a region is filled with to find out how much the model needs it, and what learning begins with


def _sides(images: Tensor, height: float, width: float) -> tuple[int, int]:
    """A region's height and width in pixels, at least one."""
    return max(1, round(height * images.shape[2])), max(1, round(width * images.shape[3]))


def _regions(top: Tensor, left: Tensor, sides: tuple[int, int], images: Tensor) -> Tensor:
    """Rectangles as a mask bool [R, 1, H, W], from the row `top` [R] and the column `left` [R] on."""
    down = torch.arange(images.shape[2], device=images.device) - top[:, None]
    across = torch.arange(images.shape[3], device=images.device) - left[:, None]
    rows, columns = (down >= 0) & (down < sides[0]), (across >= 0) & (across < sides[1])
    return (rows[:, :, None] & columns[:, None])[:, None]


def _hottest(heat: Tensor, sides: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where the rectangle with the highest sum of `heat` [N, H, W] begins: rows [N] and columns [N]."""
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


class _Region(ABC):
    """Finds a rectangle in each image and paints it by PGD of unlimited size from random grey values.

    A subclass says where (`place`), and what is done to the rest of the image (`around`, by default nothing).
    """

    def __init__(self, attack: RegionAttack) -> None:
        self.attack = attack

    @abstractmethod
    def place(self, target: WhiteBox, goal: Goal, ball: Ball, run: Run) -> Tensor:
        """The region of each image as a mask bool [N, 1, H, W]."""

    def around(self, target: WhiteBox, goal: Goal, ball: Ball) -> Tensor:
        """The images into which the patch is put."""
        return ball.clean

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        region = self.place(target, goal, ball, run)
        around = self.around(target, goal, ball)
        images = ball.project_(run.noise(clean).add_(1).div_(2).where(region, around))
        best = _Best(images)
        for step in range(self.attack.steps):
            ascent = target.gradient(images, goal.objective)
            run.record(step, self.attack.steps + 1, images, ascent.logits, ascent.value)
            best.see(images, ascent.value)
            ball.project_(images.add_(ascent.gradient.sign_().mul_(region), alpha=self.attack.step_size))
        logits = target.logits(images)
        value = goal.objective(logits, _all(images))
        run.record(self.attack.steps, self.attack.steps + 1, images, logits, value)
        best.see(images, value)
        return best.images


def _all(images: Tensor) -> Tensor:
    return torch.arange(len(images), device=images.device)


@implements(ROA)
class _WorstPlace(_Region):
    attack: ROA

    def place(self, target: WhiteBox, goal: Goal, ball: Ball, run: Run) -> Tensor:
        clean, sides = ball.clean, _sides(ball.clean, self.attack.height, self.attack.width)
        tops, lefts = self._corners(clean, sides)
        order = None
        if self.attack.search == BY_GRADIENT:
            order = self._recommended(target, goal, clean, sides, tops, lefts)
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
        down, across = (
            torch.linspace(0, whole - side, min(self.attack.grid, whole - side + 1), device=clean.device).round().long()
            for whole, side in zip(clean.shape[2:], sides, strict=True))
        return down.repeat_interleave(len(across)), across.repeat(len(down))

    def _recommended(self, target: WhiteBox, goal: Goal, clean: Tensor, sides: tuple[int, int], tops: Tensor,
                     lefts: Tensor) -> Tensor:
        """The places of the grid that hold most of the gradient, best first, int64 [N, candidates]."""
        gradient = target.gradient(clean, goal.objective).gradient
        # A sure model's gradient is tiny, and its squares vanish: only the order counts.
        gradient = gradient / gradient.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-37)
        sums = F.avg_pool2d(gradient.square().sum(dim=1, keepdim=True).double(), sides, stride=1)[:, 0]
        return sums[:, tops, lefts].topk(min(self.attack.candidates, len(tops)), dim=1).indices


@implements(RandomPatch)
class _RandomPlace(_Region):
    def place(self, target: WhiteBox, goal: Goal, ball: Ball, run: Run) -> Tensor:
        clean, sides = ball.clean, _sides(ball.clean, self.attack.height, self.attack.width)
        shares = run.noise(clean.new_empty(len(clean), 2)).add_(1).div_(2)
        top, left = ((share * (whole - side + 1)).long().clamp_(max=whole - side)
                     for share, whole, side in zip(shares.unbind(1), clean.shape[2:], sides, strict=True))
        return _regions(top, left, sides, clean)


@implements(HotRegionAttack)
class _HottestPlace(_Region):
    attack: HotRegionAttack

    def place(self, target: WhiteBox, goal: Goal, ball: Ball, run: Run) -> Tensor:
        layer = self.attack.layer or _usual_layer(target, ball.clean)

        def heat(model: Classifier, images: Tensor, rows: Tensor) -> Tensor:
            return torch.from_numpy(cam(model, images, goal.labels[rows], layer=layer).maps).to(images.device)

        clean, sides = ball.clean, _sides(ball.clean, self.attack.height, self.attack.width)
        top, left = _hottest(target.inspect(heat, clean), sides)
        return _regions(top, left, sides, clean)


def _usual_layer(target: WhiteBox, clean: Tensor) -> str:
    """The first of the layers that a heatmap may use; costs each image a forward pass in an unknown network."""

    if target.arch in ARCHITECTURES:
        return ARCHITECTURES[target.arch].cam_layers[0]
    names: list[str] = []

    def look(model: Classifier, images: Tensor, rows: Tensor) -> Tensor:
        names.append(layers_for(model, images)[0])
        return rows

    # Of all images, although one would do: otherwise what an image costs would depend on which comes first.
    target.inspect(look, clean, gradients=0)
    return names[0]


@implements(PwP)
class _HottestPlaceAround(_HottestPlace):
    def around(self, target: WhiteBox, goal: Goal, ball: Ball) -> Tensor:
        gradient = target.gradient(ball.clean, goal.objective).gradient
        return ball.project_(ball.clean + ball.eps * gradient.sign_())


# ---- one patch for all images --------------------------------------------------------------------------------------

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
        angle = (shares[:, 0] * 2 - 1) * turn
        radius = side / 2 * (smallest + shares[:, 1] * (1 - smallest))
        room = torch.stack([side - 2 * radius for side in images.shape[2:]], dim=1)
        return cls(angle, radius, radius[:, None] + shares[:, 2:] * room)

    def grid(self, images: Tensor) -> Tensor:
        """For each pixel of each image its place in the patch, from -1 to 1 where it is inside, [R, H, W, (x, y)]."""
        down, across = (torch.arange(size, device=images.device) + 0.5 for size in images.shape[2:])
        y = (down[:, None] - self.centre[:, 0, None, None]) / self.radius[:, None, None]
        x = (across - self.centre[:, 1, None, None]) / self.radius[:, None, None]
        cos, sin = self.angle.cos()[:, None, None], self.angle.sin()[:, None, None]
        return torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1)


@implements(AdversarialPatch)
class _Sticker:
    def __init__(self, attack: AdversarialPatch) -> None:
        self.attack = attack

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        patch = run.learned(lambda: {"patch": self._fit(target, goal, run)}, show=("patch",))["patch"]
        shares = run.noise(clean.new_empty(len(clean), 4)).add_(1).div_(2)
        placement = self._placed(shares, clean)
        images = ball.project_(self._applied(patch, clean, placement))
        logits = target.logits(images)
        run.record(0, 1, images, logits, goal.objective(logits, _all(images)))
        return images

    def _side(self, images: Tensor) -> float:
        """The patch's side in pixels of the images, at least one and not always a whole number."""
        return max(1.0, self.attack.size * min(images.shape[2:]))

    def _placed(self, shares: Tensor, images: Tensor) -> _Placement:
        """Where the patch lies in the images, as random numbers [R, 4] say."""
        turn = math.radians(self.attack.turn)
        return _Placement.of(shares, images, self._side(images), turn, self.attack.smallest)

    def _fit(self, target: WhiteBox, goal: Goal, run: Run) -> Tensor:
        """The patch [C, S, S], from grey."""
        others, generator = run.others, run.generator()
        side, device = self._side(others.images), others.images.device
        pixels = math.ceil(FINENESS * side)
        patch = torch.full((others.images.shape[1], pixels, pixels), GREY, device=device)
        model, adam = target.apart(self.attack.sample), torch.optim.Adam([patch], lr=self.attack.rate, maximize=True)
        for step in range(self.attack.steps):
            chosen = torch.randint(len(others.images), (self.attack.sample, 1), generator=generator)
            shares = torch.rand(self.attack.sample, 4, generator=generator)
            # Together, as they cross together: whole numbers of this size are exact.
            chosen, shares = sent(torch.cat([chosen.float(), shares], dim=1), device).split([1, 4], dim=1)
            chosen = chosen[:, 0].long()
            images, aim = others.images[chosen], goal.of(others.labels[chosen])
            placement = self._placed(shares, images)
            patch.grad, value, fooled = self._gradient(model, patch, images, aim, placement)
            run.learning(step, self.attack.steps, objective=value, fooled=fooled)
            adam.step()
            patch.clamp_(0, 1)
        return patch

    def _gradient(self, model: WhiteBox, patch: Tensor, images: Tensor, aim: Goal,
                  placement: _Placement) -> tuple[Tensor, Tensor, Tensor]:
        """The mean objective's gradient with respect to the patch, its value, and the share of images fooled."""
        with torch.enable_grad():
            leaf = patch.detach().requires_grad_(True)
            pasted = self._applied(leaf, images, placement)
            ascent = model.aiming(aim).gradient(pasted.detach(), aim.objective, _all(images))
            (gradient,) = torch.autograd.grad(pasted, leaf, ascent.gradient / len(images))
        return gradient, ascent.value.mean(), aim.reached(ascent.logits).float().mean()

    def _applied(self, patch: Tensor, images: Tensor, placement: _Placement) -> Tensor:
        """The images with the patch in them."""
        grid = placement.grid(images)
        inside = grid.square().sum(dim=-1) <= 1 if self.attack.shape == DISC else (grid.abs() <= 1).all(dim=-1)
        painted = F.grid_sample(patch.expand(len(images), *patch.shape), grid, padding_mode="border",
                                align_corners=False)
        return painted.where(inside[:, None], images)
