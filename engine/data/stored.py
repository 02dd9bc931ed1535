"""Pictures that models see, written in the values and the resolution of the file that they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from engine import digest
from engine.data.levels import levels_of, shrinking, square
from engine.data.scan import Header
from engine.data.windows import Grid

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MARK = "ADVERSARIAL - RESEARCH"  # what files say that are given away
ROUNDS = 2  # the second makes up for what the first would have moved beyond black and white
STEPS, NEAR = 30, 1e-2  # of the search for the least change, and how near to it is near enough
LITTLE = 1e-3
FURTHEST = 8  # times further than a pixel that models see may one of the file move


@dataclass(frozen=True, eq=False)
class Stored:
    """A grey picture as it is stored [H, W], and the `grid` on which others like it can be stored; `steps` as it is
    shown in."""

    pixels: np.ndarray = field(repr=False)
    grid: Grid
    steps: int
    header: Header

    @cached_property
    def digest(self) -> str:
        return digest.of_arrays(self.pixels, self.grid.shown)

    def seen(self, pixels: np.ndarray) -> np.ndarray:
        """What models see of stored values: float32 [1, S, S] in [0,1], exactly as of an upload."""
        return square(levels_of(self.grid.of(pixels)[None], self.steps))

    def rounded(self, image: np.ndarray) -> np.ndarray:
        """A picture that models see, each pixel on the nearest step that stored values have."""
        return self.grid.rounded(image)

    def written(self, image: np.ndarray) -> np.ndarray:
        """The stored values [H, W] of which models see the picture `image` [1, S, S], as nearly as that can be: what
        `image` differs by is laid upon the file's own pixels, as little as it takes, and rounded to whole values.

        What lies beyond the ends of the window stays as it is: it would have to leap before anybody saw anything.
        """
        from scipy.sparse import csr_array  # takes a while to import

        down, across = (csr_array(shrinking(length)) for length in self.pixels.shape)
        large, movable = self.grid.of(self.pixels).astype(np.float64), self.grid.movable(self.pixels)
        change = image[0].astype(np.float64) - self.seen(self.pixels)[0]
        wanted, furthest = down @ large @ across.T + change, FURTHEST * np.abs(change).max()
        low, high = np.maximum(large - furthest, 0), np.minimum(large + furthest, 1)
        for _ in range(ROUNDS):
            large += _least(down, across, movable, wanted - down @ large @ across.T)
            inside = (large > low) & (large < high)
            np.clip(large, low, high, out=large)
            if inside[movable].all():
                break
            movable &= inside
        return self.grid.stored(large, self.pixels)


def _least(down: csr_array, across: csr_array, movable: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The least change [H, W] of the `movable` pixels that shrinking makes into `change` [S, S]: shrinking is linear,
    rows and columns apart. Where hardly any may move it is left at less."""
    from scipy.sparse.linalg import LinearOperator, cg

    def spread(small: np.ndarray) -> np.ndarray:
        return (down.T @ small.reshape(change.shape) @ across) * movable

    little = LITTLE * change.size / movable.size  # of what shrinking leaves of a change

    def back_and_forth(small: np.ndarray) -> np.ndarray:
        return (down @ spread(small) @ across.T).ravel() + little * small

    way = LinearOperator((change.size, change.size), matvec=back_and_forth, dtype=np.float64)
    return spread(cg(way, change.ravel(), rtol=NEAR, maxiter=STEPS)[0])
