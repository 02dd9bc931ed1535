"""Synthetic chest radiographs (`phantom-cxr`): a simulated exposure of a random patient, with the lesion's mask.

A patient is drawn (`phantom_anatomy`), the attenuation along every ray is summed tissue by tissue, and the exposure is
simulated: Beer-Lambert, heel effect, scatter, quantum noise, detector blur, logarithm, tone curve. Anatomy, lesion and
exposure have random streams of their own, and the display window is chosen from the healthy anatomy, so nothing but the
lesion itself can tell the classes apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from engine.data.base import SIZE
from engine.data.phantom_anatomy import LEFT, RIGHT, Patient, Thorax, View, column, skeleton, thorax, vessels
from engine.data.phantom_common import Blob, Field, Rng, Series, cover, curve, moved, ramp, texture
from engine.params import param

CLASSES: tuple[str, str, str] = ("Normal", "Pneumonia", "COVID-19")
SPLIT_SIZES: dict[str, int] = {"train": 3000, "validation": 450, "test": 450}

SERIES = Series(CLASSES, SPLIT_SIZES)
VERSION = 1  # raise it when any phantom looks other than before

SOFT = 0.185  # attenuation of soft tissue per cm at the effective energy
BONE = 0.62  # of compact bone
INFLATED = 0.26  # density of an aerated lung relative to soft tissue


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """What can be changed of a radiograph; as they are, it is the one that its random numbers give."""

    heart: float = param(1.0, title="Heart", low=0.7, high=1.6, step=0.05, help="Times as broad as drawn.")
    size: float = param(1.0, title="Lesion's size", low=0.3, high=2.5, step=0.05, help="Times as large as drawn.")
    density: float = param(1.0, title="Lesion's density", low=0.0, high=2.0, step=0.05,
                           help="Times as dense as drawn: 0 is invisible.")
    across: float = param(0.0, title="Lesion to the right of the picture", unit="cm", low=-20.0, high=20.0, step=0.5,
                          help="Which is the patient's left. Only where there is lung can it be seen.")
    down: float = param(0.0, title="Lesion downwards", unit="cm", low=-15.0, high=15.0, step=0.5,
                        help="Towards the diaphragm.")
    dose: float = param(1.0, title="Dose", low=0.02, high=4.0, step=0.02,
                        help="Times as many photons as drawn: the fewer, the noisier.")
    blur: float = param(0.0, title="Blur", unit="pixels", low=0.0, high=3.0, step=0.1, help="Of a patient who moved.")
    brightness: float = param(0.0, title="Brightness", low=-0.3, high=0.3, step=0.02, help="Exposed wrongly.")
    contrast: float = param(1.0, title="Contrast", low=0.5, high=2.0, step=0.05, help="Times as hard as drawn.")
    hardware: bool = param(True, title="Marker and leads", help="What is not the patient, where it was drawn.")


AS_DRAWN = Knobs()


@dataclass(frozen=True)
class Phantom:
    """A synthetic radiograph and what is true of it."""

    image: np.ndarray  # uint8 [224, 224], MONOCHROME2
    label: int  # index into CLASSES
    lesion: np.ndarray  # bool [224, 224], all False for Normal
    lungs: np.ndarray  # bool [224, 224]


def label_of(split: str, index: int, seed: int = 0) -> int:
    """The class of a phantom, known without rendering it."""
    return SERIES.label(split, index, seed)


def render(split: str, index: int, seed: int = 0) -> Phantom:
    """The phantom `index` of `split`; the same arguments always give the same bytes.

    Labels are balanced: every three consecutive indices, counted from 0, hold each class once.
    """
    return composed(SERIES.streams(split, index, seed), label_of(split, index, seed))


def composed(streams: Sequence[Rng], label: int, knobs: Knobs = AS_DRAWN) -> Phantom:
    """A phantom of that class from random streams for anatomy, disease and exposure."""
    anatomy, disease, exposure = streams
    patient = Patient.draw(anatomy)
    patient = replace(patient, heart=patient.heart * knobs.heart)
    view = View(patient)
    chest = thorax(patient, view, anatomy)
    healthy, blood = _attenuation(patient, view, chest, anatomy)
    added = _LESIONS[label](patient, view, chest, blood, disease, knobs)
    lesion = _mask(added)
    image = _expose(healthy, added, _hardware(view, exposure) * np.float32(knobs.hardware), exposure, knobs)
    return Phantom(image, label, lesion, chest.lungs)


def _attenuation(patient: Patient, view: View, chest: Thorax, rng: Rng) -> tuple[Field, Field]:
    """Line integral of the attenuation of the healthy patient, and the part that is pulmonary vessels."""
    blood = vessels(patient, view, rng) * ramp(chest.air - 1.0, 1.5)
    sag = 1 + np.float32(0.012) * (view.y - 14)  # the base is denser than the apex
    lung = chest.air * (sag + 0.03 * texture(rng, 2.0))
    tissue = np.maximum(chest.body - chest.gas - chest.air, 0)
    tissue = tissue * (1 + 0.012 * texture(rng, 2.6) + 0.03 * texture(rng, 3.4))
    vessel = np.float32(1.3 * SOFT * (1 - INFLATED)) * blood
    bone = ndimage.gaussian_filter(skeleton(patient, view, rng), 0.55, truncate=2.5) + column(patient, view, rng)
    total = SOFT * (tissue + np.float32(INFLATED * patient.density) * lung) + vessel
    total = total + np.float32(BONE * patient.bone) * bone + _innocent(patient, view, chest, rng)
    return total.astype(np.float32), vessel


def _innocent(patient: Patient, view: View, chest: Thorax, rng: Rng) -> Field:
    """What healthy and sick patients share and a reader must not fall for: fat pads, nipples, scars, thick pleura."""
    warp = texture(rng, 4.2)
    blobs = []
    base = 0.5 * (patient.domes[0] + patient.domes[1])
    for side, likely in ((RIGHT, 0.25), (LEFT, 0.35)):
        half = patient.width[0 if side == RIGHT else 1]
        if rng.random() < likely:  # fat in the angle between heart and diaphragm
            place = (side * rng.uniform(4.0, 6.5) + 1.0, base - rng.uniform(-0.5, 1.0))
            blobs.append(
                Blob(place, (rng.uniform(1.5, 3), rng.uniform(0.8, 1.8)), side * 0.5, 0.5, rng.uniform(0.05, 0.2))
            )
        if rng.random() < 0.08:  # a blunt costophrenic angle
            place = (side * half, base + rng.uniform(2.0, 4.0))
            blobs.append(Blob(place, (rng.uniform(1, 2.5), rng.uniform(1, 2)), 0.0, 0.5, rng.uniform(0.1, 0.4)))
        if rng.random() < 0.12:  # a plate of collapsed lung
            place = (side * rng.uniform(5, 10), base - rng.uniform(1.0, 4.5))
            blobs.append(Blob(place, (rng.uniform(1.5, 3.2), rng.uniform(0.12, 0.25)), rng.normal(0, 0.3), 0.4, 0.15))
        if rng.random() < 0.10:  # a cap over the apex
            blobs.append(Blob((side * 5.0, 0.8), (3.0, 1.0), 0.0, 0.5, 0.3))
    if rng.random() < 0.10:  # a calcified scar
        place = (rng.choice((-1, 1)) * rng.uniform(4, 11), rng.uniform(4, 20))
        blobs.append(Blob(place, (0.3, 0.25), 0.0, 0.4, 0.3))
    shade = np.float32(SOFT * (1 - INFLATED)) * chest.air * cover(view, blobs, 0.6 * warp)
    if rng.random() < 0.2:
        depth = rng.uniform(0.04, 0.10)
        height = rng.uniform(16.5, 19.5)
        nipples = [
            Blob((side * rng.uniform(7.8, 9.2), height + rng.normal(0, 0.4)), (0.45, 0.45), 0.0, 0.35)
            for side in (RIGHT, LEFT)
        ]
        shade = shade + np.float32(depth) * cover(view, nipples, 0.3 * warp)
    return shade


def _none(patient: Patient, view: View, chest: Thorax, blood: Field, rng: Rng, knobs: Knobs) -> Field:
    return np.zeros((SIZE, SIZE), np.float32)


def _fill(chest: Thorax, blood: Field, share: Field) -> Field:
    """Attenuation added when a share of the air is replaced by fluid; vessels drown in what is solid."""
    return np.float32(SOFT * (1 - INFLATED)) * chest.air * share - blood * np.minimum(share, 0.9)


def _consolidation(patient: Patient, view: View, chest: Thorax, blood: Field, rng: Rng, knobs: Knobs) -> Field:
    """Pneumonia: air spaces of one lobe, or of patches in one lung, filled; air bronchograms in some."""
    side = RIGHT if rng.random() < 0.58 else LEFT
    half = patient.width[0 if side == RIGHT else 1]
    dome = patient.domes[0 if side == RIGHT else 1]
    warp, grain = texture(rng, 4.2), texture(rng, 3.2)
    fissure = 13.0 + rng.normal(0, 0.5) + 0.06 * (np.abs(view.x) - 6)
    zone = rng.choice(["upper", "middle", "lower", "patchy"], p=[0.22, 0.2, 0.33, 0.25])
    soft = rng.uniform(0.5, 0.8)
    edge = rng.uniform(0.25, 0.6) if side == RIGHT else rng.uniform(1.5, 3.0)  # the left lung has no minor fissure
    if zone == "upper":
        centre = (side * rng.uniform(5, 0.62 * half), rng.uniform(6, 10))
        blobs = [Blob(centre, (rng.uniform(2.6, 5), rng.uniform(2.6, 5)), rng.normal(0, 0.3), soft)]
        bound = ramp(fissure + knobs.down - view.y, edge)
    elif zone == "middle":
        centre = (side * rng.uniform(4.5, 7), rng.uniform(15.5, 18))
        blobs = [Blob(centre, (rng.uniform(3, 5), rng.uniform(2.4, 4)), side * rng.normal(0.3, 0.2), soft)]
        bound = ramp(view.y - knobs.down - fissure, edge)
    elif zone == "lower":
        centre = (side * rng.uniform(4.5, 0.72 * half), dome - rng.uniform(1.5, 5))
        blobs = [Blob(centre, (rng.uniform(3, 5.5), rng.uniform(2.6, 5)), rng.normal(0, 0.4), soft)]
        bound = np.ones_like(view.x)
    else:
        middle = np.array([side * rng.uniform(4.5, 0.7 * half), rng.uniform(8, dome - 2)])
        blobs = [
            Blob(tuple(middle + rng.normal(0, 2.0, 2)), tuple(rng.uniform(1.7, 3.0, 2)), 0.0, soft, 0.85)
            for _ in range(rng.integers(2, 5))
        ]
        bound = np.ones_like(view.x)
    patch = cover(view, moved(blobs, knobs.across, knobs.down, knobs.size), warp) * bound
    severity = 0.50 + 0.38 * rng.beta(1.2, 1.6)
    dense = np.clip(knobs.density * severity * (1 + 0.25 * grain), 0, 0.95)
    share = patch * dense * (view.x * side > -0.5 - abs(knobs.across))
    added = _fill(chest, blood, share)
    if rng.random() < 0.5 and severity > 0.3:
        added = added * (1 - np.minimum(_bronchogram(view, side, rng), 0.45))
    return added


def _bronchogram(view: View, side: int, rng: Rng) -> Field:
    """Air-filled bronchi that show dark inside a consolidation."""
    root = np.array([side * 4.0, 12.8])
    points = []
    for angle in rng.uniform(-1.1, 1.5, 7):
        knots = root + np.cumsum(
            np.concatenate(
                [
                    [[0, 0]],
                    rng.uniform(1.6, 2.4, (4, 1))
                    * np.stack(
                        [side * np.cos(angle + rng.normal(0, 0.25, 4)), np.sin(angle + rng.normal(0, 0.25, 4))], -1
                    ),
                ]
            ),
            0,
        )
        points.append(curve(knots, 120))
    path = np.concatenate(points)
    cloud = np.concatenate([path, np.zeros((len(path), 1))], -1).astype(np.float32)
    dark = view.splat(cloud, np.full(len(cloud), 0.02, np.float32))
    return ndimage.gaussian_filter(dark, 0.8)


def _ground_glass(patient: Patient, view: View, chest: Thorax, blood: Field, rng: Rng, knobs: Knobs) -> Field:
    """COVID-19: hazy patches at the periphery of both lungs, mostly low; vessels stay visible."""
    warp, grain = texture(rng, 4.2), texture(rng, 3.0)
    severity = 0.22 + 0.30 * rng.beta(1.2, 1.8)
    blobs = []
    for side in (RIGHT, LEFT):
        half = patient.width[0 if side == RIGHT else 1]
        dome = patient.domes[0 if side == RIGHT else 1]
        for _ in range(rng.integers(3, 6)):
            y = dome - 1.0 - 13.0 * rng.beta(1.2, 2.2)
            x = side * (half * min(1.0, 0.72 + 0.02 * y) - rng.uniform(0.3, 3.2))
            radii = (rng.uniform(1.4, 3.2), rng.uniform(1.8, 4.2))
            blobs.append(Blob((x, y), radii, side * rng.normal(0.1, 0.3), 0.65, severity * rng.uniform(0.7, 1.3)))
    blobs = moved(blobs, knobs.across, knobs.down, knobs.size, knobs.density)
    share = cover(view, blobs, warp) * np.clip(1 + 0.3 * grain, 0, 2)
    return _fill(chest, np.float32(0.4) * blood, share)


_LESIONS = (_none, _consolidation, _ground_glass)


def _mask(added: Field) -> np.ndarray:
    """Where the lesion adds a relevant part of its attenuation."""
    smooth = ndimage.uniform_filter(added, 3)
    peak = float(smooth.max())
    return smooth > max(0.3 * peak, 0.015)


def _hardware(view: View, rng: Rng) -> Field:
    """Attenuation of what is not the patient: a side marker in most, electrodes and leads in some."""
    metal = np.zeros((SIZE, SIZE), np.float32)
    if rng.random() < 0.7:
        column, row = _marker(rng).astype(int).T
        inside = (column >= 0) & (column < SIZE) & (row >= 0) & (row < SIZE)
        metal[row[inside], column[inside]] = rng.uniform(2.5, 5.0)
        metal = ndimage.gaussian_filter(metal, 0.5)
    if rng.random() < 0.25:
        metal += _leads(view, rng)
    return metal


_STROKES = {
    "R": [[(0, 1), (0, 0)], [(0, 0), (0.5, 0), (0.62, 0.25), (0.5, 0.5), (0, 0.5)], [(0.3, 0.5), (0.65, 1)]],
    "L": [[(0, 0), (0, 1)], [(0, 1), (0.58, 1)]],
}


def _marker(rng: Rng) -> np.ndarray:
    """Pixels (column, row) of a lead letter beside the patient."""
    letter = "R" if rng.random() < 0.7 else "L"
    height = rng.uniform(7, 13)
    corner = np.array([rng.uniform(6, 26), rng.uniform(8, 60)])
    if letter == "L":
        corner[0] = SIZE - corner[0] - 0.6 * height
    paths = []
    for stroke in _STROKES[letter]:
        knots = np.array(stroke, float)
        t = np.linspace(0, len(knots) - 1, 60)
        paths.append(np.stack([np.interp(t, np.arange(len(knots)), knots[:, k]) for k in (0, 1)], -1))
    turn = rng.normal(0, 0.08)
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    fine = np.concatenate(paths) @ spin.T * height + corner
    return np.concatenate([fine, fine + np.array([0.6, 0.0])])


def _leads(view: View, rng: Rng) -> Field:
    """Electrodes on the chest with their leads."""
    clouds, masses = [], []
    for _ in range(rng.integers(1, 4)):
        end = np.array([rng.uniform(-12, 12), rng.uniform(4, 22)])
        away = rng.choice((-1, 1)) * rng.uniform(0.7, 2.2)  # leads leave over a shoulder or a flank
        out = end + 34 * np.array([np.sin(away), -np.cos(away)])
        path = curve(
            np.stack([end, 0.7 * end + 0.3 * out + rng.normal(0, 1.5, 2), (end + out) / 2 + rng.normal(0, 2, 2), out]),
            600,
        )
        clouds.append(path)
        masses.append(np.hypot(*np.gradient(path, axis=0).T) * rng.uniform(0.03, 0.06))
        clouds.append(end + 0.25 * rng.standard_normal((200, 2)))
        masses.append(np.full(200, 0.25 / 200))
    flat = np.concatenate(clouds)
    points = np.concatenate([flat, np.full((len(flat), 1), 0.0)], -1).astype(np.float32)
    return view.splat(points, np.concatenate(masses).astype(np.float32)) * np.float32(2.0)


def _expose(healthy: Field, added: Field, hardware: Field, rng: Rng, knobs: Knobs) -> np.ndarray:
    """The radiograph: primary beam, scatter, noise, blur, logarithm, tone curve, collimator; uint8."""
    lines = np.linspace(-1, 1, SIZE, dtype=np.float32)
    heel = np.float32(rng.normal(0, 0.08)) * lines[:, None] + np.float32(rng.normal(0, 0.08)) * lines[None]
    beam = np.exp(heel - healthy)
    scatter = _scatter(beam, rng)
    dose = rng.uniform(1.2e4, 5e4) * knobs.dose
    intensity = beam * np.exp(-added - hardware) + scatter
    noise = np.sqrt(intensity / np.float32(dose)) * rng.standard_normal((SIZE, SIZE), np.float32)
    blurred = ndimage.gaussian_filter(intensity + noise, rng.uniform(0.38, 0.6) + knobs.blur)
    signal = -np.log(np.maximum(blurred, 1e-4))

    reference = -np.log(np.maximum(beam + scatter, 1e-4))[::4, ::4]
    return _shutter(_tone(signal, reference, rng, knobs), rng)


def _shutter(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Black borders where the software blanks what the collimator covered, in some."""
    if rng.random() < 0.2:
        top, bottom, left, right = np.maximum(rng.integers(-8, 12, 4), 0)
        image[:top], image[SIZE - bottom :], image[:, :left], image[:, SIZE - right :] = 0, 0, 0, 0
    return image


def _scatter(beam: Field, rng: Rng) -> Field:
    """Scattered radiation: a broad blur of the transmitted beam, computed on a coarse grid."""
    coarse = np.minimum(beam, 0.5).reshape(28, 8, 28, 8).mean((1, 3))
    glow = ndimage.gaussian_filter(coarse, rng.uniform(2.0, 3.5), mode="nearest")
    return np.float32(rng.uniform(0.15, 0.4)) * _enlarge(glow)


def _enlarge(coarse: np.ndarray) -> Field:
    """Bilinear 28 x 28 to 224 x 224."""
    return (_WEIGHTS @ coarse.astype(np.float32)) @ _WEIGHTS.T


def _bilinear() -> np.ndarray:
    place = np.clip((np.arange(SIZE) + 0.5) / 8 - 0.5, 0, 27)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(28)[None]), 0).astype(np.float32)


_WEIGHTS = _bilinear()


def _tone(signal: Field, reference: np.ndarray, rng: Rng, knobs: Knobs) -> np.ndarray:
    """Window and tone curve, set from the healthy anatomy; mild edge enhancement as detectors apply it."""
    low, high = np.percentile(reference[reference > 0.5], [3, 97])
    level = low + (high - low) * (rng.normal(0.33, 0.05) - knobs.brightness)
    width = (high - low) * rng.uniform(0.85, 1.25) / knobs.contrast
    amount = rng.uniform(0.1, 0.8)
    signal = signal + np.float32(amount) * (signal - ndimage.gaussian_filter(signal, 2.2))
    value = 1 / (1 + np.exp(np.float32(-3.6 / width) * (signal - np.float32(level))))
    floor, top = rng.uniform(0.0, 0.03), rng.uniform(0.88, 0.99)
    value = floor + (top - floor) * value ** np.float32(rng.uniform(0.85, 1.15))
    return np.rint(np.clip(value * 255, 0, 255)).astype(np.uint8)
