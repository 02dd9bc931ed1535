"""Pictures that models see, written in the values and the resolution of the file that they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from engine import digest
from engine.data.levels import in_grey, levels_of, shrinking, square
from engine.data.scan import Frame, Header, Shown
from engine.data.windows import Grid, Look, Meaning, Window, grid_of

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
        large, movable = self.grid.of(self.pixels).astype(np.float64), self.grid.movable(self.pixels)
        change = image[0].astype(np.float64) - self.seen(self.pixels)[0]
        return self.grid.stored(_laid(large, change, movable, 0.0, 1.0), self.pixels)


@dataclass(frozen=True, eq=False)
class Coloured(Stored):
    """A picture [H, W, 3] in colours, which models see in grey: the `grid` is of its brightness. What changes that
    moves all three colours alike, so that hues stay."""

    def seen(self, pixels: np.ndarray) -> np.ndarray:
        return square(self._levels(pixels))

    def _levels(self, pixels: np.ndarray) -> np.ndarray:
        return levels_of(_fractions(pixels, self.grid.meaning.bits), self.steps)

    def written(self, image: np.ndarray) -> np.ndarray:
        """The stored colours [H, W, 3], as of a grey picture: no colour goes beyond black or full."""
        most = float(self.grid.last)
        grey = in_grey(self._levels(self.pixels)).astype(np.float64) / self.steps
        room_down, room_up = self.pixels.min(axis=-1) / most, (most - self.pixels.max(axis=-1)) / most
        change = image[0].astype(np.float64) - self.seen(self.pixels)[0]
        large = _laid(grey.copy(), change, np.ones(grey.shape, bool), grey - room_down, grey + room_up)
        moved = np.rint((large - grey) * most)
        return (self.pixels + moved[..., None]).clip(0, most).astype(self.pixels.dtype)


def stored_of(frame: Frame, shown: Shown) -> Stored | None:
    """How pictures like that frame, as it is `shown`, are written; None where they cannot (`remarks` says why)."""
    if frame.meaning is not None:
        return None if shown.grid is None else Stored(frame.stored, shown.grid, shown.steps, frame.header)
    meaning = Meaning(frame.bits)
    grid = grid_of(meaning, Look(Window(*_whole(meaning))), frame.stored.dtype)
    return None if grid is None or frame.stored.dtype.kind != "u" else Coloured(
        frame.stored, grid, shown.steps, frame.header)


def remarks(frame: Frame, stored: Stored | None) -> tuple[str, ...]:
    """What a reader must know of how pictures like that frame are written."""
    if stored is None:
        return (_unwritable(frame),)
    if frame.header.palette:
        return ("the file's colours come from a palette; what an attack makes of them is tried and written in RGB",)
    return ()


def _unwritable(frame: Frame) -> str:
    """Why pictures like that frame are not written in the values of their file."""
    if frame.stored.dtype.itemsize > 2:
        reason = f"its file stores values of {8 * frame.stored.dtype.itemsize} bits, and up to 16 are written"
    elif frame.meaning is None:
        reason = "its file stores colours with a sign"
    else:
        reason = "through this window or table no intensity leads back to one stored value"
    return f"what an attack makes of this picture is rounded, tried and written as models see it: {reason}"


def _whole(meaning: Meaning) -> tuple[float, float, str]:
    low, high = meaning.range
    return (low + high) / 2, high - low, "linear-exact"


def _fractions(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Stored colours [H, W, 3] as intensities, float32 [3, H, W] in [0,1]."""
    return (pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(2**bits - 1)).clip(0, 1)


def _laid(large: np.ndarray, change: np.ndarray, movable: np.ndarray, lowest: np.ndarray | float,
          highest: np.ndarray | float) -> np.ndarray:
    """Intensities [H, W], of which those that are `movable` have changed as little as it takes for models to see the
    `change` [S, S], none beyond `lowest` and `highest`."""
    from scipy.sparse import csr_array  # takes a while to import

    down, across = (csr_array(shrinking(length)) for length in large.shape)
    wanted, furthest = down @ large @ across.T + change, FURTHEST * np.abs(change).max()
    low, high = np.maximum(large - furthest, lowest), np.minimum(large + furthest, highest)
    for _ in range(ROUNDS):
        large += _least(down, across, movable, wanted - down @ large @ across.T)
        inside = (large > low) & (large < high)
        np.clip(large, low, high, out=large)
        if inside[movable].all():
            break
        movable &= inside
    return large


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
