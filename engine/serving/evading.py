"""How an attacker who has the model stays below the thresholds of detectors: what he takes their scores for.

An image that reaches what he is after, but would be refused, is to him one that missed it by as much as its score lies
above the threshold (the class "detected" of Carlini & Wagner 2017, "Adversarial Examples Are Not Easily Detected").
The score's gradient is taken for such images only, without what in it would take the margin back, so that an image
loses suspicion and stays where it fools the model (selective and orthogonal gradients: Bryniarski, Hayes, Carlini et
al. 2021, "Evading Adversarial Example Detection Defenses with Orthogonal Projected Gradient Descent").
"""

from typing import Any, Protocol

import torch
from torch import Tensor

BELOW = 0.1  # he aims so far below a threshold, in the unit of its suspicion: images are rounded to 8 bits in the end


class Aim(Protocol):
    """What an attacker is after, as far as an oracle has to know; rows are numbered as the images of the batch."""

    def margin(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """How far beyond the decision boundary each row lies, [R]: above 0 where the aim is reached."""

    def held_back(self, logits: Tensor, rows: Tensor, by: Tensor) -> Tensor:
        """The logits [R, K] with that margin at most minus `by` [R]."""


def excess(suspicion: Tensor) -> Tensor:
    """By how many logits an image of that suspicion [R] misses the aim: scores, unlike logits, may be of any size, and
    count as they are only near the threshold."""
    return (suspicion + BELOW).asinh()


def aside(images: Tensor, along: Tensor) -> Tensor:
    """The images [R, C, H, W]; a gradient that comes back through them loses what points against `along`."""
    made: Tensor = _Aside.apply(images, along)
    return made


class _Aside(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, along: Tensor) -> Tensor:
        ctx.save_for_backward(along)
        return images.view_as(images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # The squares of a sure model's tiny gradients vanish in float32: first make the largest entry 1.
        way = ctx.saved_tensors[0].flatten(1)
        way = way / way.abs().amax(dim=1, keepdim=True).clamp_min(1e-37)
        gradient = gradients[0].flatten(1)
        share = (gradient * way).sum(dim=1, keepdim=True) / way.square().sum(dim=1, keepdim=True).clamp_min(1.0)
        return (gradient - share.clamp_max(0.0) * way).view_as(gradients[0]), None
