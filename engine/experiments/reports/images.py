"""The images of reports, as PNG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_LARGEST = 512  # pixels of a side of a sample image


def image_png(image: np.ndarray) -> bytes:
    """An image [C, H, W] in [0,1] as PNG, rounded to 8 bits."""
    return _png(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8))


def gain(change: np.ndarray) -> float:
    """By how much a difference is amplified, so that its largest becomes half of the scale."""
    return float(0.5 / max(float(np.abs(change).max()), 1e-6))


def difference_png(change: np.ndarray, gain: float) -> bytes:
    """A difference about grey, amplified."""
    return image_png(np.clip(0.5 + change * gain, 0, 1))


def _png(pixels: np.ndarray) -> bytes:
    shown = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)
    image = Image.fromarray(shown)
    if max(image.size) > _LARGEST:
        image.thumbnail((_LARGEST, _LARGEST))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
