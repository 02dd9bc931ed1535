"""Boxes that readers drew around what they found, as masks of the picture that models see."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from engine.data.base import SIZE


@dataclass(frozen=True)
class Box:
    """A rectangle in a file's own pixels, from its upper left corner."""

    left: float
    top: float
    width: float
    height: float


def mask(boxes: Iterable[Box], width: int, height: int) -> np.ndarray:
    """Where any of the boxes of a picture of that size is after it was stretched to the square, bool [224, 224]."""
    marked = np.zeros((SIZE, SIZE), bool)
    for box in boxes:
        rows = _span(box.top, box.height, height)
        marked[rows, _span(box.left, box.width, width)] = True
    return marked


def _span(start: float, length: float, whole: int) -> slice:
    """The pixels whose centres lie within, and at least one."""
    first = min(max(round(start * SIZE / whole), 0), SIZE - 1)
    return slice(first, min(max(round((start + length) * SIZE / whole), first + 1), SIZE))
