"""Synthetic H&E tiles of the breast (`phantom-histology`): benign or malignant, with every nucleus known.

What makes a tile malignant is what a pathologist looks for: glands lost or misshapen, large uneven nuclei with
nucleoli, no second row of cells, mitoses. Stroma, stain and camera have random streams of their own, and both classes
have crowded and sparse fields, so neither colour nor the number of nuclei tells the class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from engine.data.base import SIZE
from engine.data.phantom_common import Blob, Field, Rng, Series, cover, ramp, texture
from engine.data.phantom_histology_tissue import (
    Gland,
    Lining,
    Look,
    Outline,
    Stroma,
    Tissue,
    clear_nuclei,
    company,
    drawn,
    flat,
    foam,
    line,
    scattered,
    stroma,
    within,
)
from engine.params import param

SERIES = Series(("Benign", "Malignant"), {"train": 3000, "validation": 450, "test": 450}, salt=(3,))
VERSION = 1  # raise it when any phantom looks other than before
DRAWN = "as drawn"
GROWTHS = ("adenosis", "ducts", "fibroadenoma", "usual hyperplasia", "solid nests", "solid sheet", "cords",
           "misshapen glands", "cribriform")

# Optical density of the dyes in red, green and blue (Macenko et al. 2009).
HAEMATOXYLIN, EOSIN = np.array([0.5626, 0.7201, 0.4062]), np.array([0.2159, 0.8012, 0.5581])


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """What can be changed of a tile; as they are, it is the one that its random numbers give."""

    growth: str = param(DRAWN, title="Growth pattern", choices=(DRAWN, *GROWTHS),
                        help="How epithelium or tumour grows; one of another class is drawn anew.")
    mitoses: int = param(0, title="More mitoses", low=0, high=12, step=1, help="In a tumour, besides those drawn.")
    haematoxylin: float = param(1.0, title="Haematoxylin", low=0.2, high=2.5, step=0.05,
                                help="Times as much of the blue dye as drawn.")
    eosin: float = param(1.0, title="Eosin", low=0.2, high=2.5, step=0.05,
                         help="Times as much of the pink dye as drawn.")
    blur: float = param(0.0, title="Out of focus", unit="pixels", low=0.0, high=4.0, step=0.1,
                        help="Added to the blur that was drawn.")
    noise: float = param(1.0, title="Noise", low=0.0, high=8.0, step=0.25, help="Times the camera's noise as drawn.")
    light: float = param(1.0, title="Light", low=0.5, high=1.3, step=0.02, help="Times as bright a lamp as drawn.")


AS_DRAWN = Knobs()


@dataclass(frozen=True)
class Phantom:
    """A synthetic tile and what is true of it."""

    image: np.ndarray  # uint8 [224, 224, 3]
    label: int  # index into SERIES.classes
    lesion: np.ndarray  # bool [224, 224]: the tumour, all False in benign tiles
    nuclei: np.ndarray  # bool [224, 224]
    pattern: str  # how the epithelium or the tumour grows


def render(split: str, index: int, seed: int = 0) -> Phantom:
    """The phantom `index` of `split`; the same arguments always give the same bytes."""
    return composed(SERIES.streams(split, index, seed), SERIES.label(split, index, seed))


def composed(streams: Sequence[Rng], label: int, knobs: Knobs = AS_DRAWN) -> Phantom:
    """A phantom of that class from random streams for what is around, disease and slide."""
    around, disease, slide = streams
    tissue, run = stroma(around)
    company(tissue, run, around)
    growths = _MALIGNANT if label else _BENIGN
    pattern = list(growths)[int(disease.integers(len(growths)))]
    pattern = knobs.growth if knobs.growth in growths else pattern
    growths[pattern](tissue, run, disease)
    if label:
        _mitoses(tissue, int(disease.poisson(0.7)) + knobs.mitoses, disease)
    share, dye, spots = drawn(tissue.nuclei, disease)
    blue = tissue.blue * (1 - share) + dye
    pink = tissue.pink * (1 - 0.62 * share) + 0.35 * spots
    image = _photographed(blue * np.float32(knobs.haematoxylin), pink * np.float32(knobs.eosin), slide, knobs)
    return Phantom(image, label, tissue.tumour > 0.5, share > 0.5, pattern)


def _calm(rng: Rng) -> Look:
    """Nuclei of healthy epithelium: oval, alike, fine chromatin."""
    size = rng.uniform(0.85, 1.2)
    return Look(7.2 * size, 5.0 * size, 0.07, rng.uniform(0.7, 1.05), 0.08, rng.uniform(0.25, 0.5), 0.16, 0.03,
                rng.uniform(0, 0.15))


def _wild(rng: Rng) -> Look:
    """Nuclei of a carcinoma: large, uneven, with coarse chromatin and nucleoli."""
    size = rng.uniform(1.0, 1.5)
    grade = rng.uniform(0.5, 1.0)
    return Look(8.2 * size, 6.4 * size, 0.12 + 0.16 * grade, rng.uniform(0.6, 1.05), 0.10 + 0.2 * grade,
                rng.uniform(0.4, 0.95), 0.2 + 0.16 * grade, 0.03 + 0.06 * grade, rng.uniform(0.2, 0.85))


_MYOEPITHELIUM = Look(5.8, 2.3, 0.12, 1.05, 0.12, 0.15, 0.2, 0.06)


def _healthy(rng: Rng) -> Lining:
    return Lining(_calm(rng), rng.uniform(0.10, 0.24), rng.uniform(0.35, 0.6), 1, 0.28, 0.22, _MYOEPITHELIUM,
                  rng.uniform(0, 0.8) if rng.random() < 0.6 else 0.0)


def _fitted(glands: list[Gland], candidate: Gland) -> bool:
    """Whether a gland leaves room between itself and the others."""
    return all(np.hypot(a.centre[0] - candidate.centre[0], a.centre[1] - candidate.centre[1])
               > 0.93 * (a.reach + candidate.reach) for a in glands)


def _placed(count: int, make: Callable[[tuple[float, float]], Gland], rng: Rng) -> list[Gland]:
    """Up to `count` glands that do not touch, the first of them well in the picture."""
    glands: list[Gland] = []
    for _ in range(14 * count):
        margin = 30 if not glands else -25
        place = rng.uniform(margin, SIZE - margin, 2)
        gland = make((float(place[0]), float(place[1])))
        if len(glands) < count and _fitted(glands, gland):
            glands.append(gland)
    return glands


def _acini(tissue: Tissue, run: Stroma, rng: Rng) -> None:
    """Adenosis, tubular adenoma: many small round glands of two rows of cells."""
    lining, size = _healthy(rng), rng.uniform(0.8, 1.25)
    for gland in _placed(int(rng.integers(4, 15)), lambda place: Gland(
            place, size * rng.uniform(3, 13), size * rng.uniform(17, 23), rng.uniform(1, 1.8), rng.uniform(0, 3.1),
            0.16, 5), rng):
        line(tissue, gland, lining, rng)


def _ducts(tissue: Tissue, run: Stroma, rng: Rng) -> None:
    """Ducts with wide lumina, their lining one to three calm rows high."""
    lining = replace(_healthy(rng), rows=int(rng.choice([1, 1, 2, 3])))
    thick = {1: rng.uniform(19, 25), 2: rng.uniform(29, 35), 3: rng.uniform(38, 46)}[lining.rows]
    for gland in _placed(int(rng.integers(1, 4)), lambda place: Gland(
            place, rng.uniform(14, 48), thick, rng.uniform(1, 1.8), rng.uniform(0, 3.1), 0.17, 6), rng):
        line(tissue, gland, lining, rng)


def _slits(tissue: Tissue, run: Stroma, rng: Rng) -> None:
    """Fibroadenoma, phyllodes tumour: glands pressed to slits by a cellular stroma."""
    places = rng.uniform(-10, SIZE + 10, (int(rng.uniform(15, 70)), 2))
    look = Look(8.5, 2.7, 0.15, rng.uniform(0.7, 1.0), 0.1, 0.3, 0.2, 0.06)
    tissue.nuclei.add(places, run.along(places) + rng.normal(0, 0.25, len(places)), look, rng)
    lining = _healthy(rng)
    for gland in _placed(int(rng.integers(1, 4)), lambda place: Gland(
            place, rng.uniform(4, 9), rng.uniform(17, 22), rng.uniform(2.5, 6.5),
            float(run.along(np.array([place]))[0]), 0.12, 4), rng):
        line(tissue, gland, lining, rng)


def _hyperplasia(tissue: Tissue, run: Stroma, rng: Rng) -> None:
    """Usual hyperplasia: a duct filled with calm, overlapping, streaming nuclei, that leaves slits at its edge."""
    healthy = _healthy(rng)
    for gland in _placed(int(rng.integers(1, 3)), lambda place: Gland(
            place, rng.uniform(34, 70), 17.0, rng.uniform(1, 1.5), rng.uniform(0, 3.1), 0.14, 5), rng):
        line(tissue, gland, healthy, rng)
        outline = Outline(gland, rng)
        core = np.zeros((SIZE, SIZE), np.float32)
        box, above, _ = outline.distance()
        core[box] = ramp(4 - above, 2.0) * ramp(np.float32(1.1) - texture(rng, 3.2)[box] - texture(rng, 4.2)[box], 0.25)
        grain = texture(rng, 2.6)
        tissue.lay(core, np.float32(healthy.blue) * (1 + 0.2 * grain), np.float32(healthy.pink) * (1 + 0.15 * grain))
        look = healthy.look
        places = within(scattered(1.95 * look.short, 0.24, rng), core > 0.6)
        flow = 1.2 * texture(rng, 4.2)
        column, row = np.clip(places.astype(int), 0, SIZE - 1).T
        tissue.nuclei.add(places, gland.turn + flow[row, column], replace(look, spread=0.1), rng)


def _mitoses(tissue: Tissue, count: int, rng: Rng) -> None:
    """Cells in division: a plate, or two, of dense chromatin in a cleared cell."""
    places = within(rng.uniform(14, SIZE - 14, (40, 2)), tissue.tumour > 0.8)[:count]
    for place in places:
        turn = rng.uniform(0, np.pi)
        cell = Blob((place[0], place[1]), (13.0, 11.0), turn, 0.35, 0.75)
        covered = cover(flat(), [cell], np.zeros((SIZE, SIZE), np.float32))
        tissue.lay(covered, 0.06, 0.3)
        clear_nuclei(tissue.nuclei, covered > 0.3)
        plate = Look(8.0, 2.6, 0.1, 1.9, 0.05, 0.0, 0.3, 0.16)
        apart = rng.choice([0.0, 0.0, rng.uniform(4, 7)])
        across = np.array([-np.sin(turn), np.cos(turn)]) * apart
        tissue.nuclei.add(np.stack([place + across, place - across])[: 2 if apart else 1], turn, plate, rng)


def _cells(tissue: Tissue, where: Field, look: Look, rng: Rng, jitter: float = 0.2) -> None:
    """Fill a region with tumour: cytoplasm, and nuclei in no order."""
    grain = texture(rng, 2.6)
    blue = np.float32(rng.uniform(0.06, 0.28)) * (1 + 0.2 * grain)
    pink = np.float32(rng.uniform(0.3, 0.6)) * (1 + 0.14 * grain + 0.1 * texture(rng, 3.2))
    clear_nuclei(tissue.nuclei, where > 0.5)
    full = 1 - 0.85 * foam(rng)
    tissue.lay(where, blue * full, pink * full)
    tissue.tumour = np.maximum(tissue.tumour, where)
    spacing = (look.long + look.short) * rng.uniform(1.12, 1.7)
    places = scattered(spacing, jitter, rng)
    places = within(places[rng.random(len(places)) < 0.93], where > 0.55)
    tissue.nuclei.add(places, rng.uniform(0, np.pi) + rng.normal(0, 0.9, len(places)), look, rng)


def _shrunk(tissue: Tissue, edge: Field, rng: Rng) -> None:
    """The cleft that fixation leaves around a nest, in places."""
    if rng.random() < 0.6:
        torn = ramp(texture(rng, 3.4) - np.float32(rng.uniform(-0.6, 0.8)), 0.5)
        tissue.lay(edge * torn, 0.0, 0.02)
        clear_nuclei(tissue.nuclei, edge * torn > 0.5)


def _nests(tissue: Tissue, run: Stroma, rng: Rng) -> None:
    """Solid nests with ragged outlines."""
    blobs = []
    for number in range(int(rng.integers(2, 6))):
        size = rng.uniform(26, 62) if number else rng.uniform(45, 75)
        margin = 10 if number else 60
        blobs.append(Blob(tuple(rng.uniform(margin, SIZE - margin, 2)), (size, size * rng.uniform(0.45, 0.9)),
                          rng.uniform(0, 3.1), 0.06))
    warp = texture(rng, 3.4)
    outer = cover(flat(), [replace(blob, radii=(blob.radii[0] + 5, blob.radii[1] + 5)) for blob in blobs], warp)
    _shrunk(tissue, outer, rng)
    _cells(tissue, cover(flat(), blobs, warp), _wild(rng), rng)


def _sheet(tissue: Tissue, run: Stroma, rng: Rng) -> None:
    """A sheet of tumour with few strands of stroma."""
    where = ramp(texture(rng, 4.2) + 0.4 * texture(rng, 3.2) + np.float32(rng.uniform(0.3, 1.3)), 0.07)
    _cells(tissue, where, _wild(rng), rng)


def _cords(tissue: Tissue, run: Stroma, rng: Rng) -> None:
    """Cords, one to three cells broad, between fibres of a dense stroma."""
    look = _wild(rng)
    width = np.float32(rng.uniform(0.9, 2.2) * look.short)
    gap = np.float32(rng.uniform(38, 64))
    phase = (run.across + 7 * texture(rng, 3.4) + np.float32(rng.uniform(0, 50))) % gap - gap / 2
    broken = ramp(texture(rng, 3.4) + np.float32(rng.uniform(0.3, 1.1)), 0.2)
    where = ramp(width - np.abs(phase), 1.2) * broken
    _shrunk(tissue, ramp(width + 3 - np.abs(phase), 1.2) * broken, rng)
    _cells(tissue, where, look, rng, 0.3)


def _misshapen(tissue: Tissue, run: Stroma, rng: Rng) -> None:
    """Angular glands without a second row, their nuclei large, piled up, and turned anyhow."""
    look = _wild(rng)
    rows = int(rng.integers(1, 4))
    lining = Lining(look, rng.uniform(0.14, 0.34), rng.uniform(0.3, 0.6), rows, 0.4, 0.7, None,
                    rng.uniform(0, 0.8) if rng.random() < 0.5 else 0.0)
    for gland in _placed(int(rng.integers(2, 6)), lambda place: Gland(
            place, rng.uniform(5, 24), (2.3 * look.short) * rows + rng.uniform(4, 10), rng.uniform(1, 2.4),
            rng.uniform(0, 3.1), 0.3, 8), rng):
        tissue.tumour = np.maximum(tissue.tumour, line(tissue, gland, lining, rng).astype(np.float32))


def _sieve(tissue: Tissue, run: Stroma, rng: Rng) -> None:
    """Cribriform growth: a large nest with punched-out holes."""
    look = _wild(rng)
    centre = rng.uniform(70, SIZE - 70, 2)
    size = rng.uniform(75, 120)
    warp = texture(rng, 4.2)
    nest = cover(flat(), [Blob(tuple(centre), (size, size * rng.uniform(0.7, 1)), rng.uniform(0, 3.1), 0.04)], warp)
    holes = [Blob(tuple(place), (rng.uniform(7, 21), rng.uniform(6, 14)), rng.uniform(0, 3.1), 0.1)
             for place in scattered(rng.uniform(54, 80), 0.18, rng)]
    open_ = cover(flat(), holes, 0.5 * texture(rng, 3.4))
    _cells(tissue, nest * (1 - open_), look, rng)
    tissue.lay(nest * open_, 0.01, np.float32(rng.uniform(0, 0.25)) * ramp(texture(rng, 3.4), 0.8))


_BENIGN = {"adenosis": _acini, "ducts": _ducts, "fibroadenoma": _slits, "usual hyperplasia": _hyperplasia}
_MALIGNANT = {"solid nests": _nests, "solid sheet": _sheet, "cords": _cords, "misshapen glands": _misshapen,
              "cribriform": _sieve}


def _photographed(blue: Field, pink: Field, rng: Rng, knobs: Knobs) -> np.ndarray:
    """The tile as stained, lit and photographed: uint8 [224, 224, 3]."""
    thick = 1 + np.float32(0.07) * texture(rng, 4.2)
    violet = EOSIN + rng.uniform(0, 0.6) * HAEMATOXYLIN  # eosin that is not washed out as it should be
    dyes = np.stack([HAEMATOXYLIN, violet / np.linalg.norm(violet)])
    dyes *= rng.normal(1, [[0.07, 0.05, 0.1], [0.12, 0.05, 0.1]])
    dyes *= np.array([[rng.lognormal(0.12, 0.22)], [rng.lognormal(-0.1, 0.28)]]) * 1.25
    density = np.stack([blue * thick, pink * thick], -1) @ dyes.astype(np.float32)
    lamp = np.array([0.94, 0.93, 0.93]) * (1 + rng.normal(0, [0.03, 0.02, 0.035]))
    light = np.exp(-density) * (np.minimum(lamp, 1.0) * knobs.light).astype(np.float32)
    columns = np.linspace(-1, 1, SIZE, dtype=np.float32)
    shade = 1 + np.float32(rng.normal(0, 0.025)) * columns[:, None] + np.float32(rng.normal(0, 0.025)) * columns[None]
    blur = rng.uniform(0.45, 1.15) + knobs.blur
    light = ndimage.gaussian_filter(light, (blur, blur, 0), truncate=2.5) * shade[..., None]
    noise = np.float32(rng.uniform(0.004, 0.014) * knobs.noise) * rng.standard_normal((SIZE, SIZE, 3), np.float32)
    return np.rint(np.clip((light + noise) * 255, 0, 255)).astype(np.uint8)
