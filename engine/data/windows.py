"""What stored values mean and how they are shown: DICOM's modality and VOI transformations (PS3.3 C.11.1, C.11.2), the
windows that radiologists use, and the way from what is shown back to what is stored."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from engine.data.base import StoredUnits
from engine.data.raster import STRIP
from engine.errors import EngineError, UnknownName

CURVES = ("linear", "linear-exact", "sigmoid")
FILE, TABLE, FULL = "file", "table", "full"  # the file's own windows and tables, by number; everything there is
LARGEST, WIDEST = 1e9, 1e18  # of numbers that a file says, and of what they may lead to


@dataclass(frozen=True)
class Window:
    """Which values are shown black and which white, and by which of CURVES those between."""

    centre: float
    width: float
    curve: str = "linear"

    def __post_init__(self) -> None:
        narrowest = 1.0 if self.curve == "linear" else 0.0
        if self.curve not in CURVES:
            raise UnknownName("window function", self.curve, CURVES)
        if not (abs(self.centre) < WIDEST and narrowest < self.width < WIDEST):
            raise EngineError(f"a window of width {self.width:g} at {self.centre:g} shows nothing; its width must be "
                              f"more than {narrowest:g}")
        if not self.ends[0] < self.ends[1]:
            raise EngineError(f"a window of width {self.width:g} at {self.centre:g} is too narrow; make it wider")

    @property
    def ends(self) -> tuple[float, float]:
        """The values shown black and white."""
        # "linear" is made for whole numbers: its last half step at either end is left out.
        centre, width = (self.centre - 0.5, self.width - 1) if self.curve == "linear" else (self.centre, self.width)
        return centre - width / 2, centre + width / 2

    def shows(self, values: np.ndarray) -> np.ndarray:
        """The values as intensities, float64 in [0,1]."""
        if self.curve == "sigmoid":
            return 1 / (1 + np.exp(np.clip(-4 * (values - self.centre) / self.width, -80, 80)))
        low, high = self.ends
        return np.clip((values - low) / (high - low), 0, 1)

    def __str__(self) -> str:
        numbers = f"{self.centre:.10g}/{self.width:.10g}"
        return numbers if self.curve == "linear" else f"{numbers}/{self.curve}"


# As radiologists read CT, in HU.
PRESETS: Mapping[str, Window] = {
    "lung": Window(-600, 1500), "mediastinum": Window(50, 350), "bone": Window(400, 1800), "brain": Window(40, 80)}


@dataclass(frozen=True)
class Table:
    """A look-up table: `first` and all below it become the first of the values, all beyond its end the last; they have
    so many `bits`."""

    first: int
    values: tuple[int, ...] = field(repr=False)
    bits: int = 16

    def of(self, values: np.ndarray) -> np.ndarray:
        places = np.clip(np.rint(values) - self.first, 0, len(self.values) - 1).astype(np.int64)
        return np.array(self.values, np.float64)[places]

    def shows(self, values: np.ndarray) -> np.ndarray:
        """The values as intensities, float64 in [0,1]."""
        return np.clip(self.of(values) / (2**self.bits - 1), 0, 1)


@dataclass(frozen=True)
class Meaning:
    """What a grey frame's stored values mean: `bits` of them are used, from `slope` and `intercept` (or the `table`)
    come the values that `windows` and `tables` speak of, "HU" or "stored value". `inverted`: low is shown white.
    What is stored from `padding`'s first to its second number is no part of the picture."""

    bits: int
    signed: bool = False
    inverted: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    table: Table | None = None
    unit: str = "stored value"
    windows: tuple[Window, ...] = ()
    tables: tuple[Table, ...] = ()
    padding: tuple[int, int] | None = None

    @property
    def plain(self) -> bool:
        """Whether stored values are values as they are."""
        return self.table is None and (self.slope, self.intercept) == (1.0, 0.0)

    @property
    def range(self) -> tuple[int, int]:
        """The lowest and the highest value that can be stored."""
        low = -(2 ** (self.bits - 1)) if self.signed else 0
        return low, low + 2**self.bits - 1

    def values(self, stored: np.ndarray) -> np.ndarray:
        """Stored values as what they mean, float64."""
        if self.table is not None:
            return self.table.of(stored)
        return stored.astype(np.float64) * self.slope + self.intercept

    def padded(self, stored: np.ndarray) -> np.ndarray:
        """Where there is no picture."""
        if self.padding is None:
            return np.zeros(stored.shape, bool)
        return (stored >= self.padding[0]) & (stored <= self.padding[1])

    @property
    def names(self) -> list[str]:
        """The ways of looking at it that the file, or custom, has a name for."""
        return list(self.offered)

    @property
    def offered(self) -> dict[str, str]:
        """Those names, with words for each."""
        own = {f"{FILE}-{number + 1}": f"The file's own: {window}" for number, window in enumerate(self.windows)}
        tables = {f"{TABLE}-{number + 1}": f"The file's own table{f' {number + 1}' if number else ''}"
                  for number in range(len(self.tables))}
        presets = {name: f"{name.capitalize()}: {window}" for name, window in PRESETS.items()}
        return {**own, **tables, **(presets if self.unit == "HU" else {}), FULL: "From the lowest to the highest value"}


@dataclass(frozen=True)
class Look:
    """How a frame is looked at: by a window or a table; `note` is what a reader must know of it."""

    by: Window | Table
    note: str = ""


def looked_at(meaning: Meaning, stored: np.ndarray, name: str = "") -> Look:
    """The way of that name (default: as the file says, by its first window or table) of looking at a frame.

    A name is one of `meaning.names`, or a window's centre and width, "40/400", perhaps with one of CURVES,
    "40/400/sigmoid". Raises EngineError.
    """
    if not name:
        first: list[Window | Table] = [*meaning.windows, *meaning.tables]
        return Look(first[0]) if first else _without_window(meaning, stored)
    if name == FULL:
        return Look(_between(*_extent(meaning, stored)))
    if name in PRESETS:
        if meaning.unit != "HU":
            raise EngineError(f"the window '{name}' is for CT in Hounsfield units, which this picture has not; give "
                              "centre and width, such as 2048/4096")
        return Look(PRESETS[name])
    if name in meaning.names:
        kind, _, number = name.partition("-")
        own: tuple[Window | Table, ...] = meaning.windows if kind == FILE else meaning.tables
        return Look(own[int(number) - 1])
    return Look(window_in(name, meaning.names))


def window_in(text: str, names: list[str] | None = None) -> Window:
    """The window that is written as centre/width or centre/width/curve; raises EngineError."""
    number = r"-?\d{1,9}(?:\.\d{1,6})?"
    if (found := re.fullmatch(rf"({number})/({number})(?:/([a-z-]+))?", text)) is None:
        known = f" ({', '.join(names)})" if names else ""
        raise EngineError(f"a window must be one of those offered{known}, or its centre and width, such as 40/400")
    return Window(float(found[1]), float(found[2]), found[3] or "linear")


def _without_window(meaning: Meaning, stored: np.ndarray) -> Look:
    """Up to 8 bits as they are, others between percentiles 0.5 and 99.5."""
    if meaning.bits <= 8 and meaning.plain:
        return Look(_between(*meaning.range))
    values = meaning.values(_inside(meaning, stored.ravel()[:: max(1, stored.size // 1_000_000)]))
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    low, high = (low, high) if high > low else _extent(meaning, stored)
    return Look(_between(low, high),
                f"the file names no window; values {low:.6g} to {high:.6g} are shown from black to white")


def _inside(meaning: Meaning, stored: np.ndarray) -> np.ndarray:
    """What of it is no padding around the picture."""
    return stored if not (inside := ~meaning.padded(stored)).any() else stored[inside]


def _extent(meaning: Meaning, stored: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest value of a frame."""
    inside = _inside(meaning, stored)
    values = meaning.values(np.arange(int(inside.min()), int(inside.max()) + 1) if meaning.table is not None
                            else np.array([inside.min(), inside.max()]))
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low, low + 1)


def _between(low: float, high: float) -> Window:
    return Window((low + high) / 2, high - low, "linear-exact")


@dataclass(frozen=True, eq=False)
class Grid:
    """The way from a frame's stored values to intensities and back: `shown` has the intensities in [0,1] of `low`,
    low + 1, ...; those from `first` to `last` may be stored. A stored value more or less is a `step` in `unit`."""

    meaning: Meaning
    look: Look
    low: int
    shown: np.ndarray = field(repr=False)

    @property
    def unit(self) -> str:
        return self.meaning.unit

    @property
    def step(self) -> float:
        return abs(self.meaning.slope) if self.unit == "HU" else 1.0

    @property
    def first(self) -> int:
        return max(self.low, self.meaning.range[0])

    @property
    def last(self) -> int:
        return min(self.low + len(self.shown) - 1, self.meaning.range[1])

    def of(self, stored: np.ndarray) -> np.ndarray:
        """Stored values [H, W] as intensities, float32."""
        intensities, shown = np.empty(stored.shape, np.float32), self.shown.astype(np.float32)
        for top in range(0, len(stored), STRIP):  # the places take four times the room of the values
            rows = slice(top, top + STRIP)
            intensities[rows] = shown[stored[rows].astype(np.int64) - self.low]
        return intensities

    @property
    def storable(self) -> np.ndarray:
        """The intensities of the values that may be stored, in their order."""
        return self.shown[self.first - self.low : self.last - self.low + 1]

    @property
    def reversible(self) -> bool:
        """Whether an intensity leads back to stored values that lie beside each other, as by every window."""
        changes = np.diff(self.storable)
        return bool((changes >= 0).all() or (changes <= 0).all()) and self.storable.min() < self.storable.max()

    @cached_property
    def _steps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The intensities that there are, from low to high, and the lowest and highest stored value that has each."""
        levels, starts = np.unique(self.storable, return_index=True)
        backward = self.storable[::-1]
        ends = len(backward) - 1 - np.unique(backward, return_index=True)[1]
        return levels, self.first + starts, self.first + ends

    def _places(self, intensities: np.ndarray) -> np.ndarray:
        """Where among the intensities that there are the nearest of each is."""
        levels = self._steps[0]
        above = np.clip(np.searchsorted(levels, intensities), 1, len(levels) - 1)
        return above - (intensities - levels[above - 1] <= levels[above] - intensities)

    def movable(self, stored: np.ndarray) -> np.ndarray:
        """Which stored values a small change of their intensity moves a little: not those beyond a window's ends, nor
        the padding."""
        levels, starts, ends = self._steps
        places = self._places(self.shown)
        steady = ((places == 0) | (places == len(levels) - 1)) & (starts[places] < ends[places])
        return ~steady[stored.astype(np.int64) - self.low] & ~self.meaning.padded(stored)

    def rounded(self, intensities: np.ndarray) -> np.ndarray:
        """The nearest intensities that stored values have, float32."""
        return self._steps[0][self._places(intensities)].astype(np.float32)

    def stored(self, intensities: np.ndarray, before: np.ndarray) -> np.ndarray:
        """The stored values whose intensities are nearest; of several, as beyond a window's ends, that which is nearest
        to what was stored `before`. Padding stays."""
        _, starts, ends = self._steps
        places = self._places(intensities)
        now = np.clip(before, starts[places], ends[places]).astype(before.dtype)
        return np.where(self.meaning.padded(before), before, now)

    @property
    def finer(self) -> float:
        """How many times finer the steps of stored values are than those of 8 bits, where they are coarsest: 16 times
        in 12 bits that are shown as a whole."""
        return float(1 / (255 * np.diff(self._steps[0]).max()))


def grid_of(meaning: Meaning, look: Look, dtype: np.dtype) -> Grid | None:
    """The way from a frame's stored values to intensities; None where they have more than 16 bits."""
    if dtype.kind not in "iu" or dtype.itemsize > 2:
        return None
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return Grid(meaning, look, low, shades(meaning, look, np.arange(low, high + 1)))


def shades(meaning: Meaning, look: Look, stored: np.ndarray) -> np.ndarray:
    """Stored values as intensities, float64 in [0,1]."""
    shown = np.nan_to_num(look.by.shows(meaning.values(stored)), nan=0.0)
    return 1 - shown if meaning.inverted else shown


def units_of(meaning: Meaning, look: Look) -> StoredUnits | None:
    """What intensities mean in HU or stored values, where that is a straight line."""
    if isinstance(look.by, Table) or look.by.curve == "sigmoid" or meaning.table is not None:
        return None
    low, high = look.by.ends
    if meaning.unit != "HU":
        low, high = (low - meaning.intercept) / meaning.slope, (high - meaning.intercept) / meaning.slope
    black, white = (high, low) if meaning.inverted else (low, high)
    return StoredUnits(meaning.unit, black, white - black)


def finite(value: float) -> float | None:
    """A number that can be reckoned with, or None."""
    return value if math.isfinite(value) and abs(value) < LARGEST else None
