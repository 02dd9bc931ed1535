"""Structure-invariant transformation: an image cut into blocks, and something else done to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.attacks.base import Draw
from engine.attacks.transfer.scene import Scene
from engine.attacks.transfer.transformations import Transformation, bilinear, shares

# What SIA does to a block.
_ROLL_DOWN, _ROLL_RIGHT, _FLIP_DOWN, _FLIP_RIGHT, _TURN, _DIM, _GRAIN, _SHRINK, _SMOOTH, _DROP = range(10)
_GRAIN_SIZE = 16 / 255
_SHRUNK = 0.8  # of a block's side, before it is enlarged again
_HIGH = 0.4  # the share of frequencies, down and across, that a smoothed block loses
_DROPPED = 0.1  # how likely a channel of a block is dropped


@dataclass(frozen=True)
class Blocks(Transformation):
    """Structure-invariant transformation (Wang et al. 2023): random blocks, and something else done to each.

    The ten ways of the authors' code, or the first `seven`. Five only move pixels within a block, so a copy is one
    look-up of pixels; shrinking and smoothing are matrices down and across, of all blocks in one product.
    Deviation: every image has its own blocks, where the published code cuts a whole batch alike.
    """

    copies: int = 20
    blocks: int = 3
    seven: bool = False

    def draws(self, points: Tensor) -> tuple[Draw, ...]:
        channels, height, width = points.shape[1:]
        blocks = self.blocks, self.blocks
        common = Draw((height - 1,)), Draw((width - 1,)), Draw((2, *blocks)), Draw((channels, height, width))
        return common if self.seven else (*common, Draw((channels, *blocks)))

    def __call__(self, points: Tensor, rows: Tensor, number: int, drawn: Sequence[Tensor], scene: Scene) -> Tensor:
        cuts, (what, grain, *dropped) = drawn[:2], drawn[2:]
        down, right = (_Cuts.at(shares(order), self.blocks) for order in cuts)
        ways, amounts = shares(what).unbind(dim=1)
        ways = (ways * (7 if self.seven else 10)).long()
        grain.mul_(_GRAIN_SIZE)
        moved = _moved(points, ways, amounts, down, right)
        moved = moved * _spread(torch.where(ways == _DIM, amounts, 1.0), down, right)[:, None]
        done = torch.where(_spread(ways == _GRAIN, down, right)[:, None], (moved + grain).clamp(0, 1), moved)
        return done if self.seven else self._three(points, done, ways, shares(dropped[0]) >= _DROPPED, down, right)

    def _three(self, points: Tensor, done: Tensor, ways: Tensor, kept: Tensor, down: _Cuts, right: _Cuts) -> Tensor:
        """What is `done` so far, with the other blocks of `points` shrunk, smoothed, or with the `kept` channels."""
        shrunk = (down.shrinking()[:, None] @ points @ right.shrinking()[:, None].mT).clamp(0, 1)
        smooth = down.smoothing()[:, None] @ points @ right.smoothing()[:, None].mT
        kept = torch.stack([_spread(channel, down, right) for channel in kept.unbind(dim=1)], dim=1)
        for way, blocks in ((_SHRINK, shrunk), (_SMOOTH, smooth), (_DROP, points * kept / (1 - _DROPPED))):
            done = torch.where(_spread(ways == way, down, right)[:, None], blocks, done)
        return done


@dataclass(frozen=True)
class _Cuts:
    """How one axis of every image is cut: for each pixel the block it lies in, that block's start and length [R, S]."""

    block: Tensor
    start: Tensor
    length: Tensor

    @classmethod
    def at(cls, order: Tensor, blocks: int) -> _Cuts:
        """Cuts where random numbers `order` [R, side - 1], one a place between two pixels, are largest; an image of
        fewer pixels than blocks has a block for each pixel."""
        side = order.shape[1] + 1
        inner = order.topk(min(blocks, side) - 1, dim=1).indices.add(1).sort(dim=1).values
        ends = inner.new_zeros(len(inner), 1)
        edges = torch.cat([ends, inner, ends + side], dim=1)
        block = (torch.arange(side, device=order.device)[None, :, None] >= inner[:, None, :]).sum(dim=2)
        start = edges.gather(1, block)
        return cls(block, start, edges.gather(1, block + 1) - start)

    def along(self, blocks: Tensor) -> Tensor:
        """What is given for blocks [R, b, B], for every pixel of this axis instead of b [R, S, B]."""
        return blocks.gather(1, self.block[:, :, None].expand(-1, -1, blocks.shape[2]))

    @property
    def _place(self) -> Tensor:
        """Which pixel of its block each pixel is [R, S]."""
        return torch.arange(self.block.shape[1], device=self.block.device) - self.start

    @property
    def _together(self) -> Tensor:
        """Which pixels lie in the same block, bool [R, S, S]."""
        return self.block[:, :, None] == self.block[:, None, :]

    def shrinking(self) -> Tensor:
        """What shrinking every block bilinearly and enlarging it again does along this axis, as matrices [R, S, S]."""
        sides = (self.length * _SHRUNK).long() + 1
        # A shrunk block's pixels are the first of the block's own.
        taken = self._together & (self._place < sides)[:, :, None]
        smaller = bilinear(self._place, sides, self.length, self._place) * taken
        larger = bilinear(self._place, self.length, sides, self._place) * taken.mT
        return larger @ smaller

    def smoothing(self) -> Tensor:
        """What leaving out every block's highest frequencies does along this axis, as matrices [R, S, S]."""
        length, number = self.length[:, :, None], self._place[:, :, None]
        waves = torch.cos(torch.pi / length * (self._place[:, None, :] + 0.5) * number)
        waves = waves * torch.where(number == 0, 1 / length, 2 / length).sqrt()
        waves = waves * (self._together & (number < length - (length * _HIGH).long()))
        return waves.mT @ waves

    def origin(self, ways: Tensor, amounts: Tensor, roll: int, flip: int) -> Tensor:
        """Where each pixel of this axis comes from [R, S, B], in blocks [R, b, B] of which some are rolled or flipped.

        A block is rolled by its amount, a share of its length.
        """
        ways, amounts = self.along(ways), self.along(amounts)
        here = torch.arange(self.block.shape[1], device=ways.device)[None, :, None]
        start, length = self.start[:, :, None], self.length[:, :, None]
        rolled = start + (here - start - (amounts * length).long()) % length
        flipped = 2 * start + length - 1 - here
        return torch.where(ways == roll, rolled, torch.where((ways == flip) | (ways == _TURN), flipped, here))


def _spread(blocks: Tensor, down: _Cuts, right: _Cuts) -> Tensor:
    """What is given for every block [R, b, b], for every pixel [R, H, W]."""
    return right.along(down.along(blocks).mT).mT


def _moved(points: Tensor, ways: Tensor, amounts: Tensor, down: _Cuts, right: _Cuts) -> Tensor:
    """The points with the pixels of each block rolled, flipped or turned as `ways` [R, b, b] says."""
    rows = right.along(down.origin(ways, amounts, _ROLL_DOWN, _FLIP_DOWN).mT).mT
    columns = down.along(right.origin(ways.mT, amounts.mT, _ROLL_RIGHT, _FLIP_RIGHT).mT)
    origin = (rows * points.shape[3] + columns).flatten(1)[:, None].expand(-1, points.shape[1], -1)
    return points.flatten(2).gather(2, origin).view_as(points)
