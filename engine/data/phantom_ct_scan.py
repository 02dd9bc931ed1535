"""Synthetic chest CT slices (`phantom-ct`): a section of a random patient in Hounsfield units, with its lesions' mask.

A section is drawn (`phantom_ct_anatomy`), lesions fill a share of the lung's air, and the scan is simulated: partial
volume, the reconstruction's kernel, noise with its grain, streaks, the field of view, whole HU, a lung window.
Anatomy, lesions and scan have random streams of their own, so nothing but the lesions can tell the classes apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from engine.data.base import SIZE, StoredUnits
from engine.data.phantom_common import TILE, Blob, Field, Rng, Series, cover, filtered, moved, ramp, texture, window
from engine.data.phantom_ct_anatomy import AIR, LEFT, RIGHT, Chest, Patient, Section, chest, fissures
from engine.params import param

SERIES = Series(("No COVID-19", "COVID-19"), {"train": 3000, "validation": 450, "test": 450}, salt=(2,))
VERSION = 1  # raise it when any phantom looks other than before
SOLID = 38.0  # HU of what fills air spaces


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """What can be changed of a slice; as they are, it is the one that its random numbers give."""

    size: float = param(1.0, title="Lesions' size", low=0.3, high=2.5, step=0.05, help="Times as large as drawn.")
    density: float = param(1.0, title="Lesions' density", low=0.0, high=2.0, step=0.05,
                           help="Times as dense as drawn: 0 is invisible.")
    across: float = param(0.0, title="Lesions to the right of the picture", unit="cm", low=-15.0, high=15.0, step=0.5,
                          help="Which is the patient's left. Only where there is lung can they be seen.")
    down: float = param(0.0, title="Lesions downwards", unit="cm", low=-12.0, high=12.0, step=0.5,
                        help="Towards the back.")
    noise: float = param(1.0, title="Noise", low=0.0, high=5.0, step=0.1,
                         help="Times as much as drawn: a quarter of the dose is twice the noise.")
    blur: float = param(0.0, title="Blur", unit="pixels", low=0.0, high=3.0, step=0.1, help="Of a softer kernel.")
    level: float = param(0.0, title="Window's centre", unit="HU", low=-400.0, high=600.0, step=10.0,
                         help="Added to the one that was drawn.")
    width: float = param(1.0, title="Window's width", low=0.2, high=2.5, step=0.05, help="Times as wide as drawn.")


AS_DRAWN = Knobs()


@dataclass(frozen=True)
class Phantom:
    """A synthetic slice and what is true of it."""

    hu: np.ndarray  # int16 [224, 224], as a scanner stores it
    units: StoredUnits  # the window that it is shown in
    label: int  # index into SERIES.classes
    lesion: np.ndarray  # bool [224, 224], all False without COVID-19
    lungs: np.ndarray  # bool [224, 224]

    @property
    def image(self) -> np.ndarray:
        """The slice in its window, float32 [224, 224] in [0,1]: a step is one HU."""
        shown = (self.hu.astype(np.float32) - np.float32(self.units.offset)) / np.float32(self.units.scale)
        return np.clip(shown, 0, 1)


def render(split: str, index: int, seed: int = 0) -> Phantom:
    """The phantom `index` of `split`; the same arguments always give the same bytes."""
    return composed(SERIES.streams(split, index, seed), SERIES.label(split, index, seed))


def composed(streams: Sequence[Rng], label: int, knobs: Knobs = AS_DRAWN) -> Phantom:
    """A phantom of that class from random streams for anatomy, disease and scan."""
    anatomy, disease, scanner = streams
    patient = Patient.draw(anatomy)
    plane = Section(patient, anatomy)
    healthy = chest(patient, plane, anatomy)
    old = _innocent(patient, plane, healthy, anatomy)
    share = _covid(patient, plane, healthy, disease, knobs) if label else np.zeros((SIZE, SIZE), np.float32)
    hu = _scan(_filled(healthy, old, share, fissures(patient, plane, anatomy)), scanner, knobs)
    lungs = healthy.lung > 0.5
    return Phantom(hu, _window(scanner, knobs), label, (share > 0.13) & lungs, lungs)


def _filled(healthy: Chest, old: Field, share: Field, plates: Field) -> Field:
    """HU of the section whose lungs hold vessels and what fills their air."""
    dense = 1 - (1 - old) * (1 - share)
    dense = 1 - (1 - dense) * (1 - np.minimum(plates, 0.4)) * (1 - healthy.blood)
    content = healthy.air + dense * (np.float32(SOLID) - healthy.air)
    content = content + healthy.hollow * (np.float32(AIR + 40) - content)
    return healthy.hu + healthy.lung * (content - healthy.hu)


def _innocent(patient: Patient, plane: Section, healthy: Chest, rng: Rng) -> Field:
    """What both classes share and a reader must not fall for: gravity, nodules, scars."""
    share = np.zeros((SIZE, SIZE), np.float32)
    if rng.random() < 0.6:  # the lung that was lain upon
        depth = rng.uniform(0.3, 1.4)
        low = ramp(plane.y - np.float32(0.62 * patient.back), 2.0)
        band = low * np.exp(-np.maximum(healthy.rim, 0) * np.float32(1 / depth))
        share = np.float32(rng.uniform(0.08, 0.34)) * band * (1 + 0.25 * texture(rng, 3.0))
    blobs = []
    for _ in range(rng.poisson(0.5)):  # nodules
        x, y = _spot(plane, healthy, rng, healthy.depth > 0.5)
        size = rng.uniform(0.18, 0.5)
        blobs.append(Blob((x, y), (size, size * rng.uniform(0.8, 1.2)), 0.0, 0.3, rng.uniform(0.7, 1.0)))
    for _ in range(rng.poisson(0.5)):  # scars and plates of collapsed lung
        x, y = _spot(plane, healthy, rng, (healthy.depth > 0.1) & (healthy.rim < 3))
        blobs.append(Blob((x, y), (rng.uniform(0.8, 2.4), rng.uniform(0.05, 0.14)), rng.uniform(0, 3.1), 0.5,
                          rng.uniform(0.35, 0.8)))
    if rng.random() < 0.15:  # one small hazy patch of no meaning
        x, y = _spot(plane, healthy, rng, healthy.depth > 0.5)
        blobs.append(Blob((x, y), (rng.uniform(0.5, 0.9), rng.uniform(0.5, 0.9)), 0.0, 0.7, rng.uniform(0.15, 0.35)))
    if blobs:
        share = 1 - (1 - share) * (1 - cover(plane, blobs, 0.8 * texture(rng, 3.4)))
    return np.clip(share, 0, 0.97)


def _spot(plane: Section, healthy: Chest, rng: Rng, where: Field, side: int = 0) -> tuple[float, float]:
    """A random place where `where` holds (on one side), or in the lungs where it holds nowhere."""
    lungs = healthy.lung > 0.5
    for allowed in (where & lungs & (plane.x * side >= 0), where & lungs, lungs, np.ones_like(lungs)):
        places = np.flatnonzero(allowed)
        if len(places):
            break
    place = rng.choice(places)
    return float(plane.x.ravel()[place]), float(plane.y.ravel()[place])


def _covid(patient: Patient, plane: Section, healthy: Chest, rng: Rng, knobs: Knobs) -> Field:
    """Ground glass at the periphery of both lungs, mostly at the back; paved or solid in part; 0 to 1."""
    warp, grain = texture(rng, 3.2), texture(rng, 2.6)
    severity = rng.uniform(0.28, 0.5)
    extent = rng.lognormal(0, 0.4)
    blobs, solid = [], []
    for side in (RIGHT, LEFT):
        for _ in range(max(1, rng.poisson(2.6 * extent))):
            low = plane.y > np.float32(rng.normal(0.15, 0.45) * patient.back)
            x, y = _spot(plane, healthy, rng, (healthy.rim < rng.uniform(0.5, 2.6)) & (healthy.rim > 0) & low, side)
            along = np.arctan2(x * (patient.back / patient.half[0]) ** 2, -y)  # of the wall
            radii = (rng.uniform(0.9, 2.9) * extent**0.4, rng.uniform(0.6, 1.7) * extent**0.3)
            weight = min(0.85, severity * rng.uniform(0.75, 1.35))
            blobs.append(Blob((x, y), radii, along + rng.normal(0, 0.3), rng.uniform(0.2, 0.55), weight))
            if rng.random() < 0.28:
                spot = (x + rng.normal(0, 0.5), y + rng.normal(0, 0.5))
                solid.append(Blob(spot, (radii[0] * rng.uniform(0.3, 0.7), radii[1] * rng.uniform(0.3, 0.7)),
                                  along, 0.7, rng.uniform(0.6, 0.95)))
    blobs, solid = (moved(each, knobs.across, knobs.down, knobs.size, knobs.density) for each in (blobs, solid))
    haze = cover(plane, blobs, warp) * np.clip(1 + 0.28 * grain + 0.24 * texture(rng, 2.0), 0.15, 1.9)
    if rng.random() < 0.45:  # crazy paving: thickened septa in the haze
        net = np.maximum(_net(rng), _net(rng))
        haze = haze * (0.8 + np.float32(rng.uniform(0.6, 1.2)) * net)
    share = 1 - (1 - np.clip(haze, 0, 0.95)) * (1 - cover(plane, solid, warp + 0.6 * grain))
    return np.clip(share * ramp(healthy.depth, 0.15), 0, 0.97)


def _net(rng: Rng) -> Field:
    """A net of lines: where a random field changes sign."""
    return np.exp(-np.square(texture(rng, 3.0) * np.float32(1 / 0.28)))


@lru_cache(maxsize=3)
def _grain(number: int) -> np.ndarray:
    """Noise as filtered backprojection leaves it: little of the low frequencies, none above the kernel's."""
    f = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None])
    sharpness = (0.16, 0.24, 0.34)[number]
    return filtered(np.random.default_rng([number, 77]), np.sqrt(f) * np.exp(-np.square(f / sharpness)))


@lru_cache(maxsize=1)
def _streak() -> np.ndarray:
    """Noise in long horizontal streaks, as broad shoulders leave it."""
    y, x = np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None]
    return filtered(np.random.default_rng(78), np.exp(-np.square(x / 0.012)) * np.exp(-np.square((y - 0.12) / 0.1)))


def _scan(section: Field, rng: Rng, knobs: Knobs) -> np.ndarray:
    """The slice as it is reconstructed and stored: int16 HU."""
    kernel = int(rng.integers(3))
    hu = ndimage.gaussian_filter(section, (0.85, 0.6, 0.45)[kernel] * rng.uniform(0.9, 1.1) + knobs.blur, truncate=3)
    if kernel:
        hu = hu + np.float32(rng.uniform(0.12, 0.36) * kernel) * (hu - ndimage.gaussian_filter(hu, 1.3, truncate=2.5))
    tile = _grain(kernel)
    noise = (window(tile, rng) + window(tile, rng)) * np.float32(np.sqrt(0.5))
    noise = noise * np.float32(rng.uniform(9, 26) * (1 + 0.5 * kernel))
    if rng.random() < 0.35:
        noise = noise + np.float32(rng.uniform(3, 10)) * _streaks(rng)
    hu = hu + noise * np.float32(knobs.noise)
    return np.clip(np.rint(_viewed(hu, rng)), -1024, 3071).astype(np.int16)


def _streaks(rng: Rng) -> Field:
    row, column = rng.integers(0, TILE, 2)
    return _streak()[row : row + SIZE, column : column + SIZE]


def _viewed(hu: Field, rng: Rng) -> Field:
    """Padding outside of the round field of view, in some."""
    if rng.random() < 0.35:
        rows, columns = np.ogrid[0:SIZE, 0:SIZE]
        radius = SIZE * rng.uniform(0.5, 0.6)
        outside = (rows - SIZE / 2) ** 2 + (columns - SIZE / 2) ** 2 > radius**2
        hu[outside] = -1024
    return hu


def _window(rng: Rng, knobs: Knobs) -> StoredUnits:
    """A lung window as readers set it."""
    centre = round(rng.normal(-560, 60) + knobs.level)
    width = round((float(rng.choice([1000, 1200, 1400, 1500])) + rng.normal(0, 60)) * knobs.width)
    return StoredUnits("HU", centre - width / 2, float(width))
