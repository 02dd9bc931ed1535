"""What the phantoms share: numbering and classes, random fields, planes to draw in, and the data set made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np

from engine.data.base import SIZE, Dataset, DatasetInfo, Stored

Field = np.ndarray  # float32 [224, 224]
Rng = np.random.Generator
TILE = 320  # side of a periodic random field, in pixels


@dataclass(frozen=True)
class Series:
    """The numbered phantoms of one kind: how many a split has, and which class each is of.

    Labels are balanced: every so many consecutive indices as there are classes, counted from 0, hold each class once.
    `salt` keeps the random numbers of two series apart.
    """

    classes: tuple[str, ...]
    sizes: Mapping[str, int]
    salt: tuple[int, ...] = ()

    def label(self, split: str, index: int, seed: int = 0) -> int:
        """The class of a phantom, known without rendering it."""
        count = len(self.classes)
        rng = np.random.default_rng((*self._key(split, seed), index // count, 9, *self.salt))
        return int(rng.permutation(count)[index % count])

    def streams(self, split: str, index: int, seed: int = 0, count: int = 3) -> tuple[Rng, ...]:
        """Independent random streams of a phantom, the same for the same arguments; raises ValueError."""
        if split not in self.sizes:
            raise ValueError(f"Unknown split {split!r}; choose one of {', '.join(self.sizes)}.")
        if not 0 <= index < self.sizes[split]:
            raise ValueError(f"Index {index} is outside the {split} split; choose 0 to {self.sizes[split] - 1}.")
        key = self._key(split, seed)
        return tuple(np.random.default_rng((*key, index, stream, *self.salt)) for stream in range(count))

    def sentences(self) -> dict[str, str]:
        """What is said of each split."""
        share = {2: "half", 3: "a third"}[len(self.classes)]
        return {
            "train": f"{self.sizes['train']:,} phantoms, {share} of each class.",
            "validation": f"{self.sizes['validation']:,} other phantoms, for choosing the epoch.",
            "test": f"{self.sizes['test']:,} other phantoms, never trained on.",
        }

    def _key(self, split: str, seed: int) -> tuple[int, int]:
        return seed, list(self.sizes).index(split)


class Shown(Protocol):
    """What is known of a rendered phantom, of whatever kind."""

    @property
    def lesion(self) -> np.ndarray:
        """Bool [224, 224], all False where there is none."""
        ...


class ShownChest(Shown, Protocol):
    """The same of a phantom with lungs."""

    @property
    def lungs(self) -> np.ndarray:
        """Bool [224, 224]."""
        ...


P = TypeVar("P", bound=Shown)
C = TypeVar("C", bound=ShownChest)


@lru_cache(maxsize=256)  # 64 MB at most; long training runs pass through it, a page's grid stays in it
def _rendered(render: Callable[[str, int], P], split: str, index: int) -> P:
    return render(split, index)


class PhantomSet(Dataset, Generic[P]):
    """Phantoms of one series, rendered by `render` as they are asked for, about 20 ms each; raise `version` when any
    looks other than before."""

    channels: ClassVar[int] = 1

    def __init__(self, info: DatasetInfo, series: Series, version: int, render: Callable[[str, int], P],
                 split: str) -> None:
        labels = [series.label(split, i) for i in range(series.sizes[split])]
        super().__init__(info, split, np.asarray(labels, dtype=np.int64))
        self._version, self._render = version, render

    def alone(self, info: DatasetInfo, label: int, phantom: P) -> Self:
        """A data set of the same kind with a single phantom in it, under facts of its own."""
        one = copy(self)
        one.info, one.labels = info, np.array([label], np.int64)
        one._render = lambda split, index: phantom
        return one

    def shown(self, index: int) -> P:
        """The phantom itself."""
        return _rendered(self._render, self.split, index)

    def stored(self, index: int) -> Stored:
        return Stored(SIZE, SIZE, self.channels, self.bits)  # without rendering it

    def lesion(self, index: int) -> np.ndarray | None:
        return self.shown(index).lesion if self.labels[index] else None

    def item_name(self, index: int) -> str:
        return f"{self.split}/{index}"

    def origin(self, index: int) -> str:
        return f"{self.info.name} {self._version} {self.item_name(index)}"


class ChestPhantoms(PhantomSet[C]):
    """Phantoms with lungs, in subgroups by the lesion's share of these: medium and large from `sizes` on."""

    sizes: ClassVar[tuple[float, float]]

    def lungs(self, index: int) -> np.ndarray | None:
        return self.shown(index).lungs

    def groups(self, index: int) -> Mapping[str, str]:
        if not self.labels[index]:
            return {}  # without rendering it
        shown = self.shown(index)
        return _size_group(shown.lesion, shown.lungs, *self.sizes)


def _size_group(lesion: np.ndarray, lungs: np.ndarray, medium: float, large: float) -> dict[str, str]:
    """The subgroup of a picture by its lesion's share of the lungs: from `medium` on, from `large` on, or none."""
    if not lesion.any():
        return {}
    share = lesion.sum() / lungs.sum()
    below, above = round(100 * medium), round(100 * large)
    name = (f"large (over {above} % of the lungs)" if share >= large else f"medium ({below} to {above} %)"
            if share >= medium else f"small (under {below} %)")
    return {"Size of the lesion": name}


@lru_cache(maxsize=1)
def pixels() -> tuple[Field, Field]:
    """Column and row of every pixel."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    return columns, rows


@lru_cache(maxsize=16)  # two for each beta there is, 1.6 MB each
def _tile(beta: float, number: int) -> np.ndarray:
    """A periodic random field with power spectrum 1/f^beta, zero mean, unit variance, tiled twice each way."""
    rng = np.random.default_rng([number, int(beta * 10)])
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None]) * TILE
    return filtered(rng, np.where(frequency >= 1.5, np.maximum(frequency, 1.0) ** (-beta / 2), 0.0))


def filtered(rng: Rng, amplitude: np.ndarray) -> np.ndarray:
    """Periodic noise of that amplitude spectrum, zero mean, unit variance, tiled twice each way: float32 [640, 640]."""
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((TILE, TILE))) * amplitude, s=(TILE, TILE))
    return np.tile((field / field.std()).astype(np.float32), (2, 2))


def window(tile: np.ndarray, rng: Rng) -> Field:
    """A random window of a field tiled twice each way, turned over at random."""
    row, column = rng.integers(0, TILE, 2)
    part = tile[row : row + SIZE, column : column + SIZE]
    if rng.random() < 0.5:
        part = part.T
    return part[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]


def texture(rng: Rng, beta: float) -> Field:
    """A random window of a power-law random field, unit variance; larger `beta` is smoother."""
    return window(_tile(beta, int(rng.integers(2))), rng)


def ramp(value: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """0 below -width, 1 above +width, smooth between."""
    t = np.clip(value * (0.5 / width) + 0.5, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


@lru_cache(maxsize=64)
def _spline(knots: int, samples: int) -> np.ndarray:
    """Catmull-Rom weights [samples, knots]."""
    ends = np.zeros((knots + 2, knots))
    ends[1:-1] = np.eye(knots)
    ends[0, :2], ends[-1, -2:] = (2, -1), (-1, 2)
    t = np.linspace(0, knots - 1 - 1e-6, samples)
    i = t.astype(int)
    t = (t - i)[:, None]
    a, b, c, d = ends[i], ends[i + 1], ends[i + 2], ends[i + 3]
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


def curve(knots: np.ndarray, samples: int) -> np.ndarray:
    """A smooth path [samples, d] through knots [k, d]."""
    return _spline(len(knots), samples) @ knots


class Plane:
    """A plane of the body in the picture: `matrix` and `origin` take its coordinates to pixels (column, row)."""

    def __init__(self, matrix: np.ndarray, origin: np.ndarray) -> None:
        self.matrix, self.origin = matrix, origin
        columns, rows = pixels()
        (a, b), (d, e) = np.linalg.inv(matrix).astype(np.float32)
        u, v = columns - np.float32(origin[0]), rows - np.float32(origin[1])
        self.x, self.y = a * u + b * v, d * u + e * v
        self.area = float(abs(np.linalg.det(np.linalg.inv(matrix))))  # of a pixel

    def box(self, points: Sequence[tuple[float, float]], reach: float) -> tuple[slice, slice]:
        """Rows and columns of the pixels within `reach` of the points and of what lies between them."""
        places = np.asarray(points, float) @ self.matrix.T + self.origin
        extent = reach * float(np.abs(self.matrix).sum(1).max())
        low = np.clip(places.min(0) - extent, 0, SIZE).astype(int)
        high = np.clip(places.max(0) + extent + 1, 0, SIZE).astype(int)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def spread(self, x: np.ndarray, y: np.ndarray, mass: np.ndarray) -> Field:
        """Sum of the mass of points over each pixel's area."""
        (a, b), (d, e) = self.matrix.astype(np.float32)
        column = a * x + b * y + np.float32(self.origin[0])
        row = d * x + e * y + np.float32(self.origin[1])
        inside = (column >= 0) & (column < SIZE - 1) & (row >= 0) & (row < SIZE - 1)
        column, row, mass = column[inside], row[inside], mass[inside]
        c, r = column.astype(np.int64), row.astype(np.int64)
        column -= c.astype(np.float32)
        row -= r.astype(np.float32)
        corner = r * SIZE + c
        right = mass * column
        low, both = (mass - right) * row, right * row
        total = np.bincount(corner, mass - right - low, SIZE * SIZE)
        total[1:] += np.bincount(corner, right - both, SIZE * SIZE)[:-1]
        total[SIZE:] += np.bincount(corner, low, SIZE * SIZE)[:-SIZE]
        total[SIZE + 1 :] += np.bincount(corner, both, SIZE * SIZE)[: -SIZE - 1]
        return (total / self.area).astype(np.float32).reshape(SIZE, SIZE)


@dataclass(frozen=True)
class Blob:
    """An elliptic patch: centre and radii in cm, turn in radians, softness of the edge."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    turn: float
    soft: float
    weight: float = 1.0


def moved(blobs: Sequence[Blob], across: float, down: float, size: float, density: float = 1.0) -> list[Blob]:
    """The patches elsewhere, by so many cm, so many times as large, and so many times as dense."""
    return [replace(blob, centre=(blob.centre[0] + across, blob.centre[1] + down),
                    radii=(blob.radii[0] * size, blob.radii[1] * size), weight=min(1.0, blob.weight * density))
            for blob in blobs]


def cover(plane: Plane, blobs: Sequence[Blob], warp: Field) -> Field:
    """Share covered by overlapping patches with ragged edges, 0 to 1; each patch only touches its surroundings."""
    clear = np.ones((SIZE, SIZE), np.float32)
    for blob in blobs:
        box = plane.box([blob.centre], max(blob.radii) * (1.7 + blob.soft))
        c, s = np.float32(np.cos(blob.turn)), np.float32(np.sin(blob.turn))
        x, y = plane.x[box] - np.float32(blob.centre[0]), plane.y[box] - np.float32(blob.centre[1])
        u, v = (c * x + s * y) * np.float32(1 / blob.radii[0]), (c * y - s * x) * np.float32(1 / blob.radii[1])
        patch = ramp(1.0 + 0.28 * np.clip(warp[box], -2.5, 2.5) - np.sqrt(u * u + v * v), blob.soft)
        clear[box] *= 1 - np.float32(blob.weight) * patch
    return 1 - clear
