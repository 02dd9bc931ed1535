"""The images of reports, as PNG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from engine.data.base import eight_bit

_LARGEST = 512  # pixels of a side of a sample image


def image_png(image: np.ndarray) -> bytes:
    """An image [C, H, W] in [0,1] as PNG, rounded to 8 bits."""
    picture = Image.fromarray(eight_bit(np.clip(image, 0, 1)))
    if max(picture.size) > _LARGEST:
        picture.thumbnail((_LARGEST, _LARGEST))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def gain(change: np.ndarray) -> float:
    """By how much a difference is amplified, so that its largest becomes half of the scale."""
    return float(0.5 / max(float(np.abs(change).max()), 1e-6))


def difference_png(change: np.ndarray, gain: float) -> bytes:
    """A difference about grey, amplified."""
    return image_png(np.clip(0.5 + change * gain, 0, 1))
