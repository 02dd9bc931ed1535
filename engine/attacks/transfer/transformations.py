"""What copies of an image the model sees. What is done to blocks of it is in blocks.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.attacks.base import Draw
from engine.attacks.networks.style import StyleNet, load_style

if TYPE_CHECKING:
    from engine.attacks.transfer.scene import Scene


class Transformation(ABC):
    """Makes `copies` copies of an image; the gradient of each comes back through it."""

    copies: int

    def draws(self, points: Tensor) -> tuple[Draw, ...]:
        """The random numbers that one copy of points [R, C, H, W] takes."""
        return ()

    @abstractmethod
    def __call__(self, points: Tensor, rows: Tensor, number: int, drawn: Sequence[Tensor], scene: Scene) -> Tensor:
        """Copy `number` of points [R, C, H, W] near the images `rows`, differentiable; `drawn` are its `draws`."""


def shares(noise: Tensor) -> Tensor:
    """Uniform numbers in [-1, 1), in place, as such in [0, 1)."""
    return noise.add_(1.0).div_(2.0)


@dataclass(frozen=True)
class Scales(Transformation):
    """Scale invariance (Lin et al. 2020): the image divided by 1, 2, 4, 8 ..."""

    copies: int = 5

    def __call__(self, points: Tensor, rows: Tensor, number: int, drawn: Sequence[Tensor], scene: Scene) -> Tensor:
        return points / 2**number


@dataclass(frozen=True)
class Diversity(Transformation):
    """Input diversity (Xie et al. 2019): with some probability the image is resized and padded with black."""

    smallest: float = 0.9
    probability: float = 0.5
    copies: int = 1

    def draws(self, points: Tensor) -> tuple[Draw, ...]:
        return (Draw((4,)),)

    def __call__(self, points: Tensor, rows: Tensor, number: int, drawn: Sequence[Tensor], scene: Scene) -> Tensor:
        size, top, left, playing = shares(drawn[0]).unbind(dim=1)
        plays = playing < self.probability
        vertical = self._along(points.shape[2], size, top, plays)
        horizontal = self._along(points.shape[3], size, left, plays)
        return vertical[:, None] @ points @ horizontal[:, None].mT

    def _along(self, side: int, size: Tensor, place: Tensor, plays: Tensor) -> Tensor:
        """What resizing and padding do along one axis, as matrices [R, side, side] that take an image to the result.

        `size` and `place` in [0, 1) choose the new size and where it starts. As matrices every image has its own in
        one product, and the way back is exact and gives the same bytes on every device, unlike grid sampling's.
        """
        low = max(1, int(side * self.smallest))
        sizes = torch.where(plays, low + (size * (side - low + 1)).long(), side)
        starts = (place * (side - sizes + 1)).long()
        all_ = torch.arange(side, device=size.device)[None]
        into = all_ - starts[:, None]
        hat = bilinear(into, sizes[:, None], all_.new_full((), side), all_)
        return hat * ((into >= 0) & (into < sizes[:, None]))[:, :, None]


def bilinear(to: Tensor, new: Tensor, old: Tensor, source: Tensor) -> Tensor:
    """How much pixel `source` [R, S] of `old` ones counts in pixel `to` [R, T] of `new` ones [R, T, S].

    Bilinear, as in torch.nn.functional.interpolate: a hat of width 1 around the place that a pixel comes from.
    """
    origin = ((to + 0.5) * (old / new) - 0.5).clamp_min(0).minimum(old - 1)
    return (1 - (origin[:, :, None] - source[:, None, :]).abs()).clamp_min(0)


@dataclass(frozen=True)
class MixedScales(Transformation):
    """Uniform scale and mix mask (Wang et al. 2023): the image darkened by an even scale and by another image.

    As in the published code the gradients at the copies are added as they are, not led back through scale and mask,
    so that dark copies count as much as bright ones. Deviation: the other image comes from the attacker's further
    images, so that one image can be attacked, and never is the attacked one itself.
    """

    scales: int = 5
    masks: int = 3
    mix: float = 0.5
    lowest: float = 0.1
    highest: float = 0.75

    @property
    def copies(self) -> int:  # type: ignore[override]
        return self.scales * self.masks

    def draws(self, points: Tensor) -> tuple[Draw, ...]:
        return (Draw((1,)),)

    def __call__(self, points: Tensor, rows: Tensor, number: int, drawn: Sequence[Tensor], scene: Scene) -> Tensor:
        step = number % self.scales / max(1, self.scales - 1)
        scale = self.lowest + (self.highest - self.lowest) * step
        mask = scene.other(rows, shares(drawn[0])[:, 0]).mul(2 * self.mix).add_(1 - self.mix)
        copy = points.detach().mul(scale).mul_(mask).clamp_(0, 1)
        return points + (copy - points.detach())


@dataclass(frozen=True)
class Styles(Transformation):
    """Style transfer (Ge et al. 2023): the image mixed with itself in a random style, and noise.

    As in the published code the gradients at the copies are taken as they are. The style network is this project's own
    (engine.attacks.networks.style), far smaller than the published one and trained on phantoms; colours are styled one
    by one.
    """

    copies: int = 20
    own: float = 0.5
    reach: float = 2.0
    style: str = "phantom"

    def draws(self, points: Tensor) -> tuple[Draw, ...]:
        return Draw((self._network(points).codes,), normal=True), Draw(tuple(points.shape[1:]))

    def _network(self, points: Tensor) -> StyleNet:
        return load_style(self.style, points.device)

    def __call__(self, points: Tensor, rows: Tensor, number: int, drawn: Sequence[Tensor], scene: Scene) -> Tensor:
        code, noise = drawn
        here = points.detach()
        styled = self._network(points).restyled(here, code)
        noise.mul_(self.reach * scene.ball.eps)
        return points + (self.own * here + styled.mul_(1 - self.own).add_(noise) - here)
