"""Fingerprints by which nearly equal pictures are told, whatever changes by a little in some of their pixels."""

from functools import lru_cache

import numpy as np
from torch import Tensor

# Odd 64-bit numbers without a pattern; what they are does not matter, only that they are always the same.
_BASE, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(31)


def fingerprints(images: Tensor, step: float, length: int, kept: int) -> list[frozenset[int]]:
    """Of each image [N, C, H, W] in [0,1] the `kept` largest hashes of `length` pixels in a row, where greys count in
    whole steps. A picture with fewer different pieces has a smaller fingerprint."""
    # A hair is added, so that a grey of a whole number of steps counts as that, however its float was rounded.
    greys = (images.detach().cpu().double() / step + 1e-6).floor().long().flatten(1).numpy().astype(np.uint64)
    return [frozenset(np.unique(_hashes(row, min(length, len(row))))[-kept:].tolist()) for row in greys]


def _hashes(row: np.ndarray, length: int) -> np.ndarray:
    """A hash, uint64, of every `length` numbers in a row: a polynomial in them modulo 2^64, its bits mixed."""
    powers, inverse = _powers(len(row))
    # The sum of what lies between two places, as if it began at the first: the cost does not depend on the length.
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum((row + np.uint64(1)) * powers)])
    found = (sums[length:] - sums[:-length]) * inverse[:len(row) - length + 1]
    for _ in range(2):
        found = (found ^ (found >> _SHIFT)) * _MIX
    return found ^ (found >> _SHIFT)


@lru_cache(maxsize=4)
def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The base's powers 0, 1, ... modulo 2^64, and those of its inverse."""
    bases = int(_BASE), pow(int(_BASE), -1, 2**64)
    first, second = (np.cumprod(np.array([1] + [base] * (count - 1), np.uint64)) for base in bases)
    return first, second
