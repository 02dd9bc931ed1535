"""Defenses that clean every image before the classifier sees it: what is fine enough to be an attack is lost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from engine.defenses.base import register
from engine.papers import Paper
from engine.params import param
from engine.serving.defense import Defense, DefenseInfo

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from engine.serving.draws import Draws

SQUEEZING = Paper("Xu, Evans, Qi", "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", 2018,
                  "https://arxiv.org/abs/1704.01155")


@register
@dataclass(frozen=True, kw_only=True)
class Jpeg(Defense):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="jpeg",
        title="JPEG",
        sentence="Saves every image as JPEG and reads it again, which throws away fine changes that no eye sees.",
        paper=Paper("Dziugaite, Ghahramani, Roy", "A Study of the Effect of JPG Compression on Adversarial Images",
                    2016, "https://arxiv.org/abs/1608.00853"),
        formula=r"f\left(\mathrm{JPEG}_q(x)\right)",
        cost="writing and reading a JPEG file in memory, on the CPU",
        ours="Colours are saved at half resolution (4:2:0), as is usual in files. Who knows of it takes gradients "
             "through the file's own rounding (Shin, Song, 2017).",
        gradient=2,
    )

    quality: int = param(75, title="Quality", low=1, high=95, step=1,
                         help="As JPEG counts it: 95 keeps nearly everything, 75 is usual, below 30 blocks are seen.")

    def incoming(self, images: Tensor, draws: Draws) -> Tensor:
        from engine.defenses.soft_jpeg import soft_jpeg
        from engine.metrics.survival import HALF_COLOUR, as_jpeg

        found = as_jpeg(images, self.quality, HALF_COLOUR)
        return _with_gradient_of(soft_jpeg(images, self.quality), found) if images.requires_grad else found


@register
@dataclass(frozen=True, kw_only=True)
class BitDepth(Defense):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="bits",
        title="Bit depth",
        sentence="Leaves few grey levels: changes smaller than half a level disappear, or grow to a whole one.",
        paper=SQUEEZING,
        differentiable=False,
        formula=r"f\left(\frac{\mathrm{round}\left((2^b - 1)\,x\right)}{2^b - 1}\right)",
        cost="rounding",
    )

    bits: int = param(4, title="Bits", low=1, high=8, step=1,
                      help="So many bits are left of each pixel: 8 leave 256 levels, 4 leave 16, 1 leaves black and "
                           "white.")

    def incoming(self, images: Tensor, draws: Draws) -> Tensor:
        highest = 2**self.bits - 1
        return (images * highest).round() / highest


@register
@dataclass(frozen=True, kw_only=True)
class Median(Defense):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="median",
        title="Median filter",
        sentence="Puts the median of its neighbourhood in every pixel's place, which removes single odd pixels and "
                 "keeps edges.",
        paper=SQUEEZING,
        formula=r"f\left(\mathrm{median}_{k \times k}(x)\right)",
        cost="a median for every pixel, on the CPU",
        gradient=2,
    )

    size: int = param(3, title="Size", low=2, high=15, step=1, unit=" pixels",
                      help="The side of the neighbourhood; 2 and 3 are what the paper uses.")

    def incoming(self, images: Tensor, draws: Draws) -> Tensor:
        from scipy.ndimage import median_filter

        found = _on_host(images, median_filter(_array(images), size=(1, 1, self.size, self.size), mode="reflect"))
        return self._led_back(images, found) if images.requires_grad else found

    def _led_back(self, images: Tensor, found: Tensor) -> Tensor:
        """The same medians, each with the gradient of the pixel that it is (the first of several alike)."""
        import numpy as np
        import torch

        before, after = self.size // 2, self.size - 1 - self.size // 2
        rows, columns = (torch.from_numpy(np.pad(np.arange(side), (before, after), "symmetric")).to(images.device)
                         for side in images.shape[-2:])
        padded = images[..., rows, :][..., columns]
        medians, open_ = torch.zeros_like(found), torch.ones_like(found, dtype=torch.bool)
        for row, column in product(range(self.size), repeat=2):
            neighbours = padded[..., row:row + found.shape[-2], column:column + found.shape[-1]]
            hit = open_ & (neighbours.detach() == found)
            medians, open_ = medians + neighbours * hit, open_ & ~hit
        return medians


@register
@dataclass(frozen=True, kw_only=True)
class Gaussian(Defense):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="gaussian",
        title="Gaussian filter",
        sentence="Blurs every image: what differs from pixel to pixel is averaged away, and so are fine structures.",
        paper=Paper("Li, Li", "Adversarial Examples Detection in Deep Networks with Convolutional Filter Statistics",
                    2017, "https://arxiv.org/abs/1612.07767"),
        formula=r"f(G_\sigma * x)",
        cost="two small convolutions",
        ours="The paper uses a 3 x 3 mean; here its weights are a Gaussian's, out to three standard deviations.",
    )

    sigma: float = param(1.0, title="Sigma", low=0.1, high=10.0, step=0.1, unit=" pixels",
                         help="How far a pixel is smeared; 1 blurs visibly at 224 x 224.")

    def incoming(self, images: Tensor, draws: Draws) -> Tensor:
        from torchvision.transforms.functional import gaussian_blur

        # At the border the picture is mirrored, which it can be no farther than it is wide.
        reaches = [min(math.ceil(3 * self.sigma), side - 1) for side in (images.shape[-1], images.shape[-2])]
        return gaussian_blur(images, [2 * reach + 1 for reach in reaches], [self.sigma] * 2)


@register
@dataclass(frozen=True, kw_only=True)
class NonLocalMeans(Defense):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="nlm",
        title="Non-local means",
        sentence="Averages every pixel with those whose surroundings look alike, which removes noise and spares "
                 "structures.",
        paper=SQUEEZING,
        differentiable=False,
        formula=r"f\left(\frac{\sum_j w_{ij}\,x_j}{\sum_j w_{ij}}\right), "
                r"\quad w_{ij} = e^{-\lVert P_i - P_j \rVert^2 / h^2}",
        cost="comparing every pixel's surroundings with its neighbours', on the CPU: by far the dearest filter",
        ours="By scikit-image; the paper's own are OpenCV's, with the same window (11), patch (3) and strength (4).",
    )

    strength: float = param(4 / 255, title="Strength", low=0.1 / 255, high=1.0, step=1 / 255, unit="/255",
                            help="How unlike surroundings may be that are still averaged (h).")
    patch: int = param(3, title="Patch", low=1, high=15, step=2, unit=" pixels",
                       help="The side of the surroundings that are compared.")
    window: int = param(11, title="Window", low=3, high=31, step=2, unit=" pixels",
                        help="The side of the area in which like surroundings are looked for.")

    def incoming(self, images: Tensor, draws: Draws) -> Tensor:
        import numpy as np
        from skimage.restoration import denoise_nl_means

        # Channels last: the library drops an axis of one channel, and would then swap the other two.
        cleaned = [denoise_nl_means(image, patch_size=self.patch, patch_distance=self.window // 2, h=self.strength,
                                    channel_axis=-1).reshape(image.shape)
                   for image in _array(images).transpose(0, 2, 3, 1)]
        return _on_host(images, np.stack(cleaned).transpose(0, 3, 1, 2)).clamp(0, 1)


def _with_gradient_of(near: Tensor, found: Tensor) -> Tensor:
    """`found`, to the bit, with the gradient of what is near it."""
    return found + (near - near.detach())


def _array(images: Tensor) -> np.ndarray:
    return images.detach().cpu().numpy()


def _on_host(images: Tensor, made: np.ndarray) -> Tensor:
    """What a library made of `images` on the CPU, where they came from."""
    import torch

    return torch.from_numpy(made).to(images)
