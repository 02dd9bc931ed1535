"""Tissue of the histology phantom: breast at 400x as concentrations of the two dyes, haematoxylin and eosin.

Coordinates are pixels, about half a micrometre each. Stroma is laid down first, then glands or tumour over it; every
nucleus is a record of its shape and chromatin, and all are drawn together in the end, so each can be marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from engine.data.base import SIZE
from engine.data.phantom_common import TILE, Blob, Field, Plane, Rng, cover, filtered, pixels, ramp, texture, window

AROUND = 40  # pixels beyond the picture's edge where there still are nuclei
TURN = 256  # steps that an outline is tabulated in


@dataclass(frozen=True)
class Look:
    """How nuclei of one kind look. Lengths in pixels; spreads are relative."""

    long: float  # half-axes
    short: float
    spread: float  # of their sizes
    dye: float  # of haematoxylin inside
    uneven: float  # spread of `dye` from nucleus to nucleus
    rim: float  # how dense the membrane is
    clumps: float  # how coarse the chromatin is
    ragged: float  # how far the outline is from an ellipse
    nucleoli: float = 0.0  # chance of one


@dataclass
class Nuclei:
    """Nuclei so far: a row each of column, row, half-axes, turn, dye, rim, clumps, ragged, and nucleolus (0 or 1)."""

    rows: list[np.ndarray] = field(default_factory=list)

    def add(self, places: np.ndarray, turns: np.ndarray | float, look: Look, rng: Rng) -> None:
        """Nuclei of one kind at `places` [n, 2]."""
        n = len(places)
        size = rng.lognormal(0, look.spread, n)
        shape = np.clip(rng.lognormal(0, 0.12 + 0.4 * look.spread, n), 0.75, 1.4)
        self.rows.append(np.stack([
            places[:, 0], places[:, 1], look.long * size * shape, look.short * size / shape,
            np.broadcast_to(turns, n), look.dye * rng.lognormal(0, look.uneven, n),
            look.rim * rng.uniform(0.6, 1.4, n), look.clumps * rng.uniform(0.6, 1.4, n),
            look.ragged * rng.uniform(0.4, 1.6, n), rng.random(n) < look.nucleoli,
        ], -1))

    def table(self) -> np.ndarray:
        """All rows of nuclei that may be seen, float32 [n, 10]."""
        rows = np.concatenate(self.rows).astype(np.float32)
        edge = 12.0  # so that every square fits onto the canvas
        seen = (rows[:, :2] > -edge).all(1) & (rows[:, :2] < SIZE + edge).all(1)
        return rows[seen]


@dataclass
class Tissue:
    """What lies on the slide: dyes as optical density along their own colours, gaps, nuclei, and the tumour."""

    blue: Field  # haematoxylin outside of nuclei
    pink: Field  # eosin
    tumour: Field  # share of each pixel that is tumour, 0 to 1
    nuclei: Nuclei = field(default_factory=Nuclei)

    def lay(self, share: np.ndarray, blue: np.ndarray | float, pink: np.ndarray | float,
            box: tuple[slice, slice] = (slice(None), slice(None))) -> None:
        """Cover a share of each pixel (in `box`) with other tissue."""
        self.blue[box] += share * (blue - self.blue[box])
        self.pink[box] += share * (pink - self.pink[box])


@dataclass(frozen=True)
class Stroma:
    """Connective tissue: its dyes, and across its fibres a coordinate that tells how they run."""

    across: Field

    def along(self, places: np.ndarray) -> np.ndarray:
        """The fibres' direction at places [n, 2], in radians."""
        column, row = np.clip(places.astype(int), 1, SIZE - 2).T
        dx = self.across[row, column + 1] - self.across[row, column - 1]
        dy = self.across[row + 1, column] - self.across[row - 1, column]
        return np.arctan2(-dx, dy)


@lru_cache(maxsize=2)
def _fibres(number: int) -> np.ndarray:
    """Streaks along the rows, periodic."""
    y, x = np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None]
    amplitude = (np.square(16 * x) + y * y + 0.0006) ** -0.8 * np.exp(-np.square(y / 0.22)) * (np.hypot(x, y) > 0.004)
    return filtered(np.random.default_rng([number, 91]), amplitude)


def stroma(rng: Rng) -> tuple[Tissue, Stroma]:
    """A field of collagen, dense or loose, with fibroblasts, gaps, and what innocent there is in it."""
    columns, rows = pixels()
    turn = rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    wave = np.float32(rng.uniform(4, 13))
    along = c * columns + s * rows + 6 * texture(rng, 4.2)
    across = c * rows - s * columns + wave * texture(rng, 4.4)
    across = across + np.float32(rng.uniform(0.5, 3)) * np.sin(along * np.float32(rng.uniform(0.05, 0.13)))
    fibre = _sampled(_fibres(int(rng.integers(2))), along, across * np.float32(rng.uniform(0.7, 1.1)), rng)
    loose = rng.uniform(0, 1)
    myxoid = ramp(texture(rng, 3.4) + np.float32(1.6 * loose - 1.3), 0.8)
    grain = texture(rng, 2.0)
    pink = 1 + np.float32(rng.uniform(0.2, 0.42)) * fibre + 0.1 * grain
    pink = np.float32(rng.uniform(0.3, 0.72)) * pink * (1 - 0.5 * myxoid)
    blue = np.float32(rng.uniform(0.04, 0.12)) * (1 + 0.25 * grain) + np.float32(rng.uniform(0.02, 0.10)) * myxoid
    gaps = ramp(-fibre - np.float32(rng.uniform(1.0, 2.4)) + np.float32(0.5 * loose) * texture(rng, 3.0), 0.25)
    gaps = np.maximum(gaps, foam(rng))
    tissue = Tissue(blue * (1 - gaps), np.maximum(pink, 0.05) * (1 - 0.93 * gaps), np.zeros((SIZE, SIZE), np.float32))
    run = Stroma(across)
    spindle = Look(8.5, 2.2, 0.2, rng.uniform(0.75, 1.1), 0.15, 0.2, 0.25, 0.10)
    places = rng.uniform(-10, SIZE + 10, (int(rng.gamma(2.2, 7)) + 3, 2))
    tissue.nuclei.add(places, run.along(places) + rng.normal(0, 0.15, len(places)), spindle, rng)
    return tissue, run


@lru_cache(maxsize=1)
def _froth() -> np.ndarray:
    f = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None])
    return filtered(np.random.default_rng(92), np.exp(-np.square((f - 0.07) / 0.035)))


def foam(rng: Rng) -> Field:
    """Vacuoles and small gaps between fibres, in places: the share that is empty."""
    bubbles = ramp(window(_froth(), rng) - np.float32(rng.uniform(0.6, 1.3)), 0.4)
    return np.float32(rng.uniform(0.3, 0.9)) * bubbles * ramp(texture(rng, 3.4) - np.float32(rng.normal(1.0, 0.8)), 0.6)


def _sampled(tile: np.ndarray, x: Field, y: Field, rng: Rng) -> Field:
    """A periodic field at other coordinates."""
    x, y = x + np.float32(rng.uniform(0, TILE)), y + np.float32(rng.uniform(0, TILE))
    column, floor = np.rint(x).astype(np.int32) % TILE, np.floor(y)
    part = y - floor
    row = floor.astype(np.int32) % TILE
    upper = tile[row, column]
    return upper + part * (tile[row + 1, column] - upper)


def company(tissue: Tissue, run: Stroma, rng: Rng) -> None:
    """What any breast has and a reader must not fall for: fat, lymphocytes, capillaries with red cells."""
    if rng.random() < 0.16:
        _fat(tissue, rng)
    if rng.random() < 0.5:
        count = int(rng.gamma(1.4, 9)) + 2
        places = rng.uniform(0, SIZE, 2) + rng.normal(0, rng.uniform(12, 50), (count, 2))
        tissue.nuclei.add(places, 0.0, Look(4.6, 4.3, 0.08, 1.25, 0.1, 0.1, 0.3, 0.05), rng)
    for _ in range(rng.poisson(0.5)):
        _capillary(tissue, run, rng)


def _fat(tissue: Tissue, rng: Rng) -> None:
    """Fat cells: large and empty, with a thin wall."""
    edge = rng.uniform(0, 2 * np.pi)
    corner = SIZE / 2 + 0.55 * SIZE * np.array([np.cos(edge), np.sin(edge)])
    warp = texture(rng, 4.2)
    columns, rows = pixels()
    for place in corner + rng.normal(0, 45, (int(rng.integers(3, 8)), 2)):
        radius = rng.uniform(24, 42)
        distance = np.hypot(columns - np.float32(place[0]), rows - np.float32(place[1])) - np.float32(radius) + 3 * warp
        tissue.lay(ramp(2.0 - distance, 1.2), 0.06, 0.45)
        tissue.lay(ramp(-distance, 1.2), 0.0, 0.01)


def _capillary(tissue: Tissue, run: Stroma, rng: Rng) -> None:
    place = rng.uniform(20, SIZE - 20, (1, 2))
    turn = run.along(place)[0]
    plane = flat()
    long, short = rng.uniform(9, 22), rng.uniform(4.5, 8)
    wall = cover(plane, [Blob(tuple(place[0]), (long + 2.5, short + 2.5), turn, 0.12)], 0.5 * texture(rng, 4.2))
    hole = cover(plane, [Blob(tuple(place[0]), (long, short), turn, 0.12)], 0.5 * texture(rng, 4.2))
    tissue.lay(wall, 0.12, 0.6)
    tissue.lay(hole, 0.0, 0.03)
    axis = np.array([np.cos(turn), np.sin(turn)])
    for step in np.arange(-long + 4, long - 3, rng.uniform(6, 10)):
        cell = Blob(tuple(place[0] + axis * step + rng.normal(0, 1.4, 2)), (3.6, 3.3), 0.0, 0.2)
        tissue.lay(cover(plane, [cell], np.zeros_like(wall)) * hole, 0.02, 1.35)
    lining = place + np.outer((-0.6, 0.5), axis) * long + np.outer((1, -1), [-axis[1], axis[0]]) * (short + 1)
    tissue.nuclei.add(lining, turn, Look(6.5, 1.9, 0.1, 1.0, 0.1, 0.2, 0.2, 0.05), rng)


@lru_cache(maxsize=1)
def flat() -> Plane:
    """The picture itself as a plane, in pixels."""
    return Plane(np.eye(2), np.zeros(2))


@dataclass(frozen=True)
class Gland:
    """A ring of epithelium round a lumen. `thick` is the epithelium's height; `squash` stretches it along `turn`."""

    centre: tuple[float, float]
    radius: float  # of the lumen, on the short axis
    thick: float
    squash: float = 1.0
    turn: float = 0.0
    lobes: float = 0.1  # how far the outline is from an ellipse
    finest: int = 4  # of its harmonics

    @property
    def reach(self) -> float:
        return (self.radius * (1 + 1.5 * self.lobes)) * self.squash + self.thick + 6


class Outline:
    """A gland's outline: the lumen's radius in every direction, in a frame turned and squashed to a circle."""

    def __init__(self, gland: Gland, rng: Rng) -> None:
        self.gland = gland
        self.angle = np.linspace(-np.pi, np.pi, TURN, endpoint=False)
        order = np.arange(2, gland.finest + 1)
        size = rng.normal(0, 1, len(order)) / np.sqrt(order)
        phase = rng.uniform(0, 2 * np.pi, len(order))
        wave = (size[:, None] * np.cos(order[:, None] * self.angle + phase[:, None])).sum(0)
        self.radius = gland.radius * np.maximum(1 + gland.lobes * wave, 0.35)
        self.slope = np.sqrt((np.cos(self.angle) / gland.squash) ** 2 + np.sin(self.angle) ** 2)
        c, s = np.cos(gland.turn), np.sin(gland.turn)
        self.frame = np.array([[c, -s], [s, c]])

    def distance(self) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
        """The box around the gland; in it the distance from the lumen's edge outward, and the step of the angle."""
        box = flat().box([self.gland.centre], self.gland.reach)
        columns, rows = pixels()
        x = columns[box] - np.float32(self.gland.centre[0])
        y = rows[box] - np.float32(self.gland.centre[1])
        (c, _), (s, _) = self.frame.astype(np.float32)
        u, v = (c * x + s * y) * np.float32(1 / self.gland.squash), c * y - s * x
        rho = np.sqrt(u * u + v * v) + np.float32(1e-3)
        step = ((np.arctan2(v, u) + np.float32(np.pi)) * np.float32(TURN / (2 * np.pi))).astype(np.int32) % TURN
        return box, (rho - self.radius.astype(np.float32)[step]) / self.slope.astype(np.float32)[step], step

    def places(
        self, height: float, spread: float, spacing: float, jitter: float, rng: Rng
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points about `height` above the lumen's edge, `spacing` apart, and the direction outward at each."""
        path = self._at(self.angle, self.radius + height * self.slope)
        length = np.hypot(*(np.roll(path, -1, 0) - path).T)
        total = np.concatenate([[0], np.cumsum(length)])
        count = max(3, round(total[-1] / spacing))
        where = (np.arange(count) + rng.uniform(-jitter, jitter, count) + rng.random()) * total[-1] / count
        angle = np.interp(where % total[-1], total, np.append(self.angle, np.pi))
        above = (height + rng.normal(0, spread, count)) * self._along(angle, self.slope)
        places = self._at(angle, self._along(angle, self.radius) + above)
        tangent = self._at(angle + 0.04, self._along(angle + 0.04, self.radius) + above) - places
        return places, np.arctan2(-tangent[:, 0], tangent[:, 1])

    def _along(self, angle: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.interp(angle, self.angle, values, period=2 * np.pi)

    def _at(self, angle: np.ndarray, rho: np.ndarray) -> np.ndarray:
        local = np.stack([self.gland.squash * rho * np.cos(angle), rho * np.sin(angle)], -1)
        return local @ self.frame.T + np.array(self.gland.centre)


@dataclass(frozen=True)
class Lining:
    """The epithelium of glands: its cells' dyes and nuclei, and in how many rows they stand."""

    look: Look
    blue: float
    pink: float
    rows: int = 1
    order: float = 0.1  # jitter of places along the row, 0 to 0.5
    upright: float = 0.15  # spread of the nuclei's direction, in radians
    outer: Look | None = None  # myoepithelial cells
    secretion: float = 0.0


def line(tissue: Tissue, gland: Gland, lining: Lining, rng: Rng) -> np.ndarray:
    """Draw a gland into the tissue; returns where it is, bool [224, 224]."""
    outline = Outline(gland, rng)
    box, above, step = outline.distance()
    grain = texture(rng, 2.6)[box]
    above = above + np.float32(1.3) * texture(rng, 3.2)[box] + np.float32(0.5) * grain
    thick = np.float32(gland.thick)
    inside = ramp(thick + 1.2 - above, 1.0)
    tissue.lay(0.8 * ramp(thick + 3.0 - above, 1.3), 0.08, 0.75, box)  # basement membrane
    low = np.clip(above / thick, 0, 1)
    pink = np.float32(lining.pink) * (1.05 - 0.35 * low + 0.14 * grain)
    blue = np.float32(lining.blue) * (0.75 + 0.5 * low + 0.2 * grain)
    round_ = np.pi * (gland.radius + gland.thick / 2) * (1 + gland.squash)
    cells = max(6, round(round_ / (2.7 * lining.look.short)))
    seam = np.abs(np.sin(np.float32(np.pi * cells / TURN) * (step + 6 * grain)))
    pink = pink * (1 - 0.22 * ramp(0.22 - seam, 0.12))
    if lining.outer is not None:  # their cytoplasm is clear
        clear = np.square(np.maximum(1 - np.square((above - (thick - 4)) / 4), 0))
        pink, blue = pink * (1 - 0.6 * clear), blue * (1 - 0.6 * clear)
    full = 1 - 0.8 * foam(rng)[box]
    tissue.lay(inside, blue * full, pink * full, box)
    brush = np.square(np.maximum(1 - np.square((above - 0.8) / 1.8), 0))
    tissue.pink[box] += np.float32(0.22) * brush * inside
    lumen = ramp(-above, 1.1)
    slime = np.float32(lining.secretion) * ramp(texture(rng, 3.4)[box] + 0.2, 0.7)
    tissue.lay(lumen, 0.06 * slime, 0.02 + 0.45 * slime, box)
    whole = np.zeros((SIZE, SIZE), bool)
    whole[box] = inside > 0.5
    clear_nuclei(tissue.nuclei, whole)
    step_up = (gland.thick - 3) / (lining.rows + (0.8 if lining.outer is not None else 0.25))
    for row in range(lining.rows):
        apart = 2.35 * lining.look.short
        places, out = outline.places(step_up * (row + 0.62), 0.17 * step_up, apart, lining.order, rng)
        tissue.nuclei.add(places, out + rng.normal(0, lining.upright, len(places)), lining.look, rng)
    if lining.outer is not None:
        places, out = outline.places(gland.thick - 2.8, 0.9, rng.uniform(12, 21), 0.45, rng)
        tissue.nuclei.add(places, out + np.pi / 2 + rng.normal(0, 0.12, len(places)), lining.outer, rng)
    return whole


def clear_nuclei(nuclei: Nuclei, covered: np.ndarray) -> None:
    """Remove the nuclei so far whose middle lies where `covered` says."""
    kept = []
    for rows in nuclei.rows:
        column, row = np.clip(rows[:, :2].astype(int), 0, SIZE - 1).T
        inside = ((rows[:, :2] >= 0) & (rows[:, :2] < SIZE)).all(1)
        kept.append(rows[~(inside & covered[row, column])])
    nuclei.rows = kept


def scattered(spacing: float, jitter: float, rng: Rng) -> np.ndarray:
    """Places all over the picture and a little beyond, `spacing` apart on a jittered lattice, [n, 2]."""
    steps = np.arange(-AROUND // 2, SIZE + AROUND // 2, spacing)
    rows = np.arange(-AROUND // 2, SIZE + AROUND // 2, spacing * 0.87)
    x, y = np.meshgrid(steps, rows)
    x = x + 0.5 * spacing * (np.arange(len(rows)) % 2)[:, None]
    places = np.stack([x.ravel(), y.ravel()], -1) + rng.normal(0, jitter * spacing, (x.size, 2))
    return places


def within(places: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Those of the places at which `where` holds; beyond the picture its edge counts."""
    column, row = np.clip(places.astype(int), 0, SIZE - 1).T
    return places[where[row, column]]


def drawn(nuclei: Nuclei, rng: Rng) -> tuple[Field, Field, Field]:
    """All nuclei: their share of each pixel, their haematoxylin, and the nucleoli's share."""
    table = nuclei.table()
    side = SIZE + 2 * AROUND
    share, dye, spots = (np.zeros((side, side), np.float32) for _ in range(3))
    large = np.maximum(table[:, 2], table[:, 3])
    for low, high, half in ((0, 8, 11), (8, 13, 17), (13, 99, 27)):
        some = table[(large >= low) & (large < high)]
        if len(some):
            _stamp(some, half, (share, dye, spots), rng)
    cut = (slice(AROUND, AROUND + SIZE),) * 2
    return share[cut], dye[cut], spots[cut]


def _stamp(table: np.ndarray, half: int, canvases: Sequence[np.ndarray], rng: Rng) -> None:
    """Draw nuclei [n, 10] that fit into squares of 2 * half + 1 pixels."""
    side = 2 * half + 1
    corner = np.floor(table[:, :2]).astype(int) - half
    share, dye, spots = canvases
    inside, stain, nucleolus = _profiles(table, corner, side, rng)
    for k, (left, top) in enumerate(corner + AROUND):
        box = slice(top, top + side), slice(left, left + side)
        np.maximum(share[box], inside[k], out=share[box])
        np.maximum(dye[box], stain[k], out=dye[box])
        if table[k, 9]:
            np.maximum(spots[box], nucleolus[k], out=spots[box])


def _profiles(table: np.ndarray, corner: np.ndarray, side: int, rng: Rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share, haematoxylin and nucleolus of nuclei in squares whose corners are at `corner`, each [n, side, side]."""
    short, dye, rim, clumps, ragged, spot = (table[:, k, None, None] for k in (3, 5, 6, 7, 8, 9))
    u, v = _frames(table, corner, side)
    uu, vv = u * u, v * v
    a, b, d = (ragged * rng.normal(0, 1, ragged.shape).astype(np.float32) for _ in range(3))
    # waves of order three and four around an ellipse; kept from coming back outside of it
    shape = uu + vv + a * u * (uu - 3 * vv) + b * v * (3 * uu - vv) + 1.2 * d * (uu - vv) * u * v
    rho = np.sqrt(np.maximum(shape, 0)) + np.float32(0.25) * np.maximum(uu + vv - 1.7, 0)
    inside = ramp(1 - rho, np.minimum(0.75 / short, 0.5))

    views = sliding_window_view(_chromatin(), (side, side))
    grain = views[rng.integers(0, views.shape[0], len(table)), rng.integers(0, views.shape[1], len(table))]
    ring = np.maximum(1 - np.square((rho - np.float32(0.86)) / np.float32(0.24)), 0)
    stain = dye * np.maximum(1 - 0.55 * rim + rim * ring + clumps * grain, 0.12)
    nucleolus = np.zeros_like(inside)
    if spot.any():
        x, y = (rng.uniform(-0.38, 0.38, spot.shape).astype(np.float32) for _ in range(2))
        size = rng.uniform(0.15, 0.28, spot.shape).astype(np.float32)
        nucleolus = inside * spot * ramp(1 - ((u - x) ** 2 + (v - y) ** 2) / (size * size), 0.7)
    return inside, inside * stain + np.float32(0.75) * nucleolus, nucleolus


def _frames(table: np.ndarray, corner: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's place in its nucleus, whose half-axes are 1 and which fits into the square."""
    place = np.arange(side, dtype=np.float32)
    x = place[None, None] + (corner[:, 0] - table[:, 0]).astype(np.float32)[:, None, None]
    y = place[None, :, None] + (corner[:, 1] - table[:, 1]).astype(np.float32)[:, None, None]
    long, short = (np.minimum(table[:, k, None, None], 0.39 * side) for k in (2, 3))
    c, s = np.cos(table[:, 4, None, None]), np.sin(table[:, 4, None, None])
    return (c * x + s * y) / long, (c * y - s * x) / short


@lru_cache(maxsize=1)
def _chromatin() -> np.ndarray:
    f = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None])
    return filtered(np.random.default_rng(93), np.exp(-np.square((f - 0.17) / 0.08)))[:TILE, :TILE]
