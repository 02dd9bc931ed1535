"""Distances that hold: the best image that a walk had found so far, asked about again, behind the defense and without.

Whoever asks a random defense once may have been lucky; and published curves that rise with the number of queries cannot
be those of the best image so far. Pure functions of what was answered; no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.attacks.rows import lock

TIMES = 10  # how often the defended model is asked again


@dataclass(frozen=True, eq=False)
class Again:
    """After each of `queries` [M] the nearest image that a walk knew, of N images: how many of `times` further answers
    of the defended model it `fooled` [M, N], whether it fools the `bare` model [M, N], and its size: `linf`, `l2`
    [M, N]."""

    times: int
    queries: tuple[int, ...]
    fooled: np.ndarray
    bare: np.ndarray
    linf: np.ndarray
    l2: np.ndarray

    def __post_init__(self) -> None:
        lock(self)

    @staticmethod
    def joined(pieces: Sequence[Again]) -> Again:
        """Those of several runs as of one."""
        first = pieces[0]
        return Again(first.times, first.queries, *(np.concatenate([getattr(one, name) for one in pieces], axis=1)
                                                   for name in ARRAYS))

    def holds(self, bare: bool = False) -> np.ndarray:
        """Where the image fools, bool [M, N]: more than half of the answers of the defended model, or the bare one."""
        return self.bare if bare else 2 * self.fooled > self.times

    def distances(self, norm: str, bare: bool = False) -> np.ndarray:
        """How far the nearest image lay by then that holds [M, N], infinite where none does: with more queries it can
        only come nearer."""
        sizes = np.where(self.holds(bare), getattr(self, norm).astype(np.float64), np.inf)
        return np.minimum.accumulate(sizes, axis=0)

    def lost(self) -> int:
        """How many images' last find does not hold on the defended model."""
        return int(((self.fooled[-1] > 0) & ~self.holds()[-1]).sum())


ARRAYS = ("fooled", "bare", "linf", "l2")
