"""Pictures in whole steps, uint8 or uint16 [C, H, W], and what models see of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from engine.data.base import SIZE
from engine.data.raster import STRIP, grey, resized, to_array


def levels_of(full: np.ndarray, steps: int) -> np.ndarray:
    """Intensities [C, H, W] in [0,1] as whole n of `steps`, 255 or 65535."""
    levels = np.empty(full.shape, np.uint8 if steps == 255 else np.uint16)
    for from_, to in zip(full, levels, strict=True):
        for piece, place in zip(pieces(from_), pieces(to), strict=True):
            place[:] = np.rint(piece * np.float32(steps))
    return levels


def fractions(levels: np.ndarray, steps: int) -> np.ndarray:
    """Levels as intensities, float32 in [0,1]."""
    return levels.astype(np.float32) / np.float32(steps)


def pieces(channel: np.ndarray) -> Iterator[np.ndarray]:
    """Views of a few rows each: what is computed of a piece takes little memory."""
    return (channel[top:top + STRIP] for top in range(0, len(channel), STRIP))


def square(levels: np.ndarray) -> np.ndarray:
    """Levels as the picture that models see, float32 [1, SIZE, SIZE], made exactly as data sets make theirs."""
    return to_array(resized(Image.fromarray(in_grey(levels)), (SIZE, SIZE)))


def in_grey(levels: np.ndarray) -> np.ndarray:
    """Levels [1 or 3, H, W] as a grey picture [H, W]. Where all three colours are brighter by a step, so is the grey.
    """
    if len(levels) == 1:
        return levels[0]
    plain = np.empty_like(levels[0])
    for place, *colours in zip(pieces(plain), *map(pieces, levels), strict=True):
        place[:] = _grey(np.stack(colours))
    return plain


def _grey(colours: np.ndarray) -> np.ndarray:
    if colours.dtype == np.uint8:
        return np.asarray(grey(Image.fromarray(np.ascontiguousarray(colours.transpose(1, 2, 0)))))
    return np.rint(np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), colours.astype(np.float32), 1))


def shrinking(length: int) -> np.ndarray:
    """How `square` mixes rows or columns: float64 [SIZE, length], by which a side of that length is multiplied."""
    unit = Image.fromarray(np.eye(length, dtype=np.float32))
    return np.asarray(unit.resize((length, SIZE), Image.Resampling.BILINEAR), dtype=np.float64)
