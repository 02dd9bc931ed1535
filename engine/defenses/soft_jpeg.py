"""JPEG as arithmetic that a gradient comes back through: what the file throws away, whoever knows of it leaves out.

Passed straight through, a gradient asks for fine changes that the file forgets. Here a coefficient's rounding is flat
where the coefficient lies near a whole number of its steps, as a cubic is, and steep where little makes it the next one
(Shin, Song, JPEG-resistant Adversarial Images, 2017).
"""

import io
import math
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

SIDE = 8  # of a block
_MIDDLE = 128.0  # of the grey levels, from which JPEG counts
_LUMA = (0.299, 0.587, 0.114)
# How far blue and red stand out of the luma, and what of that each colour gets back.
_CHROMA = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_BACK = ((0.0, 1.402), (-0.344136, -0.714136), (1.772, 0.0))


def soft_jpeg(images: Tensor, quality: int) -> Tensor:
    """Images [N, 1 or 3, H, W] in [0,1] as a JPEG file of `quality` (1 to 95; colours at half resolution, 4:2:0) would
    give them back, near enough for a gradient: levels are neither rounded nor cut off."""
    levels = images * 255
    light, colour = (table.to(images) for table in tables(quality))
    if images.shape[1] == 1:
        return _plane(levels, light) / 255
    luma = _plane(_mixed(levels, (_LUMA,)), light)
    chroma = _mixed(levels, _CHROMA)
    height, width = chroma.shape[-2:]
    halved = _plane(avg_pool2d(_filled(chroma, 2), 2) + _MIDDLE, colour) - _MIDDLE
    whole = interpolate(halved, scale_factor=2, mode="bilinear")[..., :height, :width]
    return (luma + _mixed(whole, _BACK)) / 255


@lru_cache(maxsize=100)
def tables(quality: int) -> tuple[Tensor, Tensor]:
    """The steps [8, 8] to which a file of that quality rounds what a block holds: of luma and of chroma."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(file, "JPEG", quality=quality)
    with Image.open(file) as saved:
        first, second = (saved.quantization[number] for number in (0, 1))  # type: ignore[attr-defined]
    return _table(first), _table(second)


def _table(steps: list[int]) -> Tensor:
    return torch.tensor(steps, dtype=torch.float32).view(SIDE, SIDE)


@lru_cache(maxsize=1)
def _cosines() -> Tensor:
    """The orthonormal DCT-II of a block's rows, [8, 8]."""
    frequency, place = torch.arange(SIDE)[:, None], torch.arange(SIDE)[None]
    waves = torch.cos((2 * place + 1) * frequency * math.pi / (2 * SIDE)) * math.sqrt(2 / SIDE)
    waves[0] /= math.sqrt(2)
    return waves


def _mixed(planes: Tensor, shares: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.einsum("nchw,oc->nohw", planes, torch.tensor(shares).to(planes))


def _filled(planes: Tensor, side: int) -> Tensor:
    """The planes with their last row and column repeated until blocks of that side are full."""
    return pad(planes, (0, -planes.shape[-1] % side, 0, -planes.shape[-2] % side), mode="replicate")


def _plane(planes: Tensor, steps: Tensor) -> Tensor:
    """Levels [N, C, H, W], block by block as the file keeps them."""
    height, width = planes.shape[-2:]
    waves = _cosines().to(planes)
    blocks = (_filled(planes, SIDE) - _MIDDLE).unflatten(-1, (-1, SIDE)).unflatten(-3, (-1, SIDE)).transpose(-3, -2)
    held = _rounded(waves @ blocks @ waves.T / steps) * steps
    back = (waves.T @ held @ waves).transpose(-3, -2).flatten(-2, -1).flatten(-3, -2)
    return back[..., :height, :width] + _MIDDLE


def _rounded(values: Tensor) -> Tensor:
    """Whole numbers, but for the cube of what is rounded off, which brings a gradient."""
    whole = values.detach().round()
    return whole + (values - whole) ** 3
