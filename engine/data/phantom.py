"""Synthetic chest radiographs (`phantom-cxr`): a simulated exposure of a random patient, with the lesion's mask.

A patient is drawn (`phantom_anatomy`), the attenuation along every ray is summed tissue by tissue, and the exposure is
simulated: Beer-Lambert, heel effect, scatter, quantum noise, detector blur, logarithm, tone curve. Anatomy, lesion and
exposure have random streams of their own, and the display window is chosen from the healthy anatomy, so nothing but the
lesion itself can tell the classes apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from engine.data.phantom_anatomy import (
    LEFT, RIGHT, SIZE, Field, Patient, Rng, Thorax, View, column, curve, ramp, skeleton, texture, thorax, vessels,
)

CLASSES: tuple[str, str, str] = ("Normal", "Pneumonia", "COVID-19")
SPLIT_SIZES: dict[str, int] = {"train": 3000, "validation": 450, "test": 450}

SOFT = 0.185  # attenuation of soft tissue per cm at the effective energy
BONE = 0.62  # of compact bone
INFLATED = 0.26  # density of an aerated lung relative to soft tissue


@dataclass(frozen=True)
class Phantom:
    """A synthetic radiograph and what is true of it."""

    image: np.ndarray  # uint8 [224, 224], MONOCHROME2
    label: int  # index into CLASSES
    lesion: np.ndarray  # bool [224, 224], all False for Normal
    lungs: np.ndarray  # bool [224, 224]


def render(split: str, index: int, seed: int = 0) -> Phantom:
    """The phantom `index` of `split`; the same arguments always give the same bytes.

    Labels are balanced: every three consecutive indices, counted from 0, hold each class once.
    """
    if split not in SPLIT_SIZES:
        raise ValueError(f"Unknown split {split!r}; choose one of {', '.join(SPLIT_SIZES)}.")
    if not 0 <= index < SPLIT_SIZES[split]:
        raise ValueError(f"Index {index} is outside the {split} split; choose 0 to {SPLIT_SIZES[split] - 1}.")
    key = (seed, list(SPLIT_SIZES).index(split))
    label = int(np.random.default_rng((*key, index // 3, 9)).permutation(3)[index % 3])
    anatomy, disease, exposure = (np.random.default_rng((*key, index, stream)) for stream in range(3))

    patient = Patient.draw(anatomy)
    view = View(patient)
    chest = thorax(patient, view, anatomy)
    healthy, blood = _attenuation(patient, view, chest, anatomy)
    added = _LESIONS[label](patient, view, chest, blood, disease)
    lesion = _mask(added)
    image = _expose(healthy, added, _hardware(view, patient, exposure), exposure)
    return Phantom(image, label, lesion, chest.lungs)


def _attenuation(patient: Patient, view: View, chest: Thorax, rng: Rng) -> tuple[Field, Field]:
    """Line integral of the attenuation of the healthy patient, and the part that is pulmonary vessels."""
    blood = vessels(patient, view, rng) * ramp(chest.air - 1.0, 1.5)
    lung = chest.air * (1 + 0.03 * texture(rng, 2.0))
    tissue = np.maximum(chest.body - chest.gas - chest.air, 0) * (1 + 0.012 * texture(rng, 2.6) + 0.03 * texture(rng, 3.4))
    vessel = np.float32(1.25 * SOFT * (1 - INFLATED)) * blood
    bone = skeleton(patient, view, rng) + column(patient, view, rng)
    total = SOFT * (tissue + INFLATED * lung) + vessel + np.float32(BONE * patient.bone) * bone
    return total.astype(np.float32), vessel


def _none(patient: Patient, view: View, chest: Thorax, blood: Field, rng: Rng) -> Field:
    return np.zeros((SIZE, SIZE), np.float32)


def _blob(view: View, centre: tuple[float, float], radii: tuple[float, float], turn: float, soft: float, warp: Field) -> Field:
    """A patch with a ragged soft edge, 0 to 1."""
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    x, y = view.x - np.float32(centre[0]), view.y - np.float32(centre[1])
    u, v = (c * x + s * y) / np.float32(radii[0]), (c * y - s * x) / np.float32(radii[1])
    return ramp(1.0 + 0.28 * warp - np.sqrt(u * u + v * v), soft)


def _fill(chest: Thorax, blood: Field, share: Field) -> Field:
    """Attenuation added when a share of the air is replaced by fluid; vessels drown in what is solid."""
    return np.float32(SOFT * (1 - INFLATED)) * chest.air * share - blood * np.minimum(share, 0.9)


def _consolidation(patient: Patient, view: View, chest: Thorax, blood: Field, rng: Rng) -> Field:
    """Pneumonia: air spaces of one lobe, or of patches in one lung, filled; air bronchograms in some."""
    side = RIGHT if rng.random() < 0.58 else LEFT
    half = patient.width[0 if side == RIGHT else 1]
    dome = patient.domes[0 if side == RIGHT else 1]
    warp, grain = texture(rng, 4.2), texture(rng, 3.2)
    fissure = 13.0 + rng.normal(0, 0.5) + 0.06 * (np.abs(view.x) - 6)
    zone = rng.choice(["upper", "middle", "lower", "patchy"], p=[0.22, 0.2, 0.33, 0.25])
    if zone == "upper":
        patch = _blob(view, (side * rng.uniform(5, 0.62 * half), rng.uniform(6, 10)), (rng.uniform(2.6, 5), rng.uniform(2.6, 5)),
                      rng.normal(0, 0.3), 0.5, warp)
        patch = patch * ramp(fissure - view.y, 0.15)
    elif zone == "middle":
        patch = _blob(view, (side * rng.uniform(4.5, 7), rng.uniform(15.5, 18)), (rng.uniform(3, 5), rng.uniform(2.4, 4)),
                      side * rng.normal(0.3, 0.2), 0.5, warp)
        patch = patch * ramp(view.y - fissure, 0.15)
    elif zone == "lower":
        patch = _blob(view, (side * rng.uniform(4.5, 0.72 * half), dome - rng.uniform(0.5, 4)), (rng.uniform(3, 5.5), rng.uniform(2.6, 5)),
                      rng.normal(0, 0.4), 0.55, warp)
    else:
        clear = np.ones_like(view.x)
        centre = (side * rng.uniform(4.5, 0.7 * half), rng.uniform(8, dome - 2))
        for _ in range(rng.integers(2, 5)):
            near = (centre[0] + rng.normal(0, 1.8), centre[1] + rng.normal(0, 2.2))
            clear = clear * (1 - 0.85 * _blob(view, near, (rng.uniform(1.2, 2.6), rng.uniform(1.2, 2.6)), 0.0, 0.6, warp))
        patch = 1 - clear
    severity = 0.12 + 0.6 * rng.beta(1.5, 1.8)
    share = patch * np.clip(severity * (1 + 0.25 * grain), 0, 0.95) * (view.x * side > -0.5)
    added = _fill(chest, blood, share)
    if rng.random() < 0.5 and severity > 0.3:
        added = added * (1 - np.minimum(_bronchogram(view, side, rng), 0.6))
    return added


def _bronchogram(view: View, side: int, rng: Rng) -> Field:
    """Air-filled bronchi that show dark inside a consolidation."""
    root = np.array([side * 4.0, 12.8])
    dark = np.zeros_like(view.x)
    points = []
    for angle in rng.uniform(-1.1, 1.5, 7):
        knots = root + np.cumsum(
            np.concatenate([[[0, 0]], rng.uniform(1.6, 2.4, (4, 1)) * np.stack([
                side * np.cos(angle + rng.normal(0, 0.25, 4)), np.sin(angle + rng.normal(0, 0.25, 4))], -1)]), 0)
        points.append(curve(knots, 120))
    path = np.concatenate(points)
    cloud = np.concatenate([path, np.zeros((len(path), 1))], -1).astype(np.float32)
    dark = view.splat(cloud, np.full(len(cloud), 0.02, np.float32))
    return ndimage.gaussian_filter(dark, 0.7) * 1.2


def _ground_glass(patient: Patient, view: View, chest: Thorax, blood: Field, rng: Rng) -> Field:
    """COVID-19: hazy patches at the periphery of both lungs, mostly low; vessels stay visible."""
    warp, grain = texture(rng, 4.2), texture(rng, 3.0)
    clear = np.ones_like(view.x)
    general = 0.10 + 0.34 * rng.beta(1.5, 1.8)
    for side in (RIGHT, LEFT):
        half = patient.width[0 if side == RIGHT else 1]
        dome = patient.domes[0 if side == RIGHT else 1]
        for _ in range(rng.integers(2, 5)):
            y = dome - 1.0 - 13.0 * rng.beta(1.2, 2.2)
            x = side * (half * min(1.0, 0.72 + 0.02 * y) - rng.uniform(0.3, 3.2))
            patch = _blob(view, (x, y), (rng.uniform(1.4, 3.2), rng.uniform(1.8, 4.2)), side * rng.normal(0.1, 0.3), 0.65, warp)
            clear = clear * (1 - general * rng.uniform(0.7, 1.3) * patch)
    share = (1 - clear) * np.clip(1 + 0.3 * grain, 0, 2)
    return _fill(chest, np.float32(0.4) * blood, share)


_LESIONS = (_none, _consolidation, _ground_glass)


def _mask(added: Field) -> np.ndarray:
    """Where the lesion adds a relevant part of its attenuation."""
    smooth = ndimage.uniform_filter(added, 3)
    peak = float(smooth.max())
    return smooth > max(0.3 * peak, 0.015)


def _hardware(view: View, patient: Patient, rng: Rng) -> Field:
    """Attenuation of what is not the patient: a side marker, leads, lines."""
    points: list[np.ndarray] = []
    weights: list[float] = []
    if rng.random() < 0.7:
        points.append(_marker(rng))
        weights.append(rng.uniform(0.9, 1.6))
    pixels = np.zeros((SIZE, SIZE), np.float32)
    for path, weight in zip(points, weights, strict=True):
        c, r = path[:, 0].astype(int), path[:, 1].astype(int)
        ok = (c >= 0) & (c < SIZE) & (r >= 0) & (r < SIZE)
        pixels += weight * ndimage.gaussian_filter(
            np.minimum(np.bincount(r[ok] * SIZE + c[ok], minlength=SIZE * SIZE), 1).reshape(SIZE, SIZE).astype(np.float32), 0.5)
    if rng.random() < 0.25:
        pixels += _leads(view, rng)
    return pixels


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
    return np.concatenate([fine, fine + [0.6, 0.0]])


def _leads(view: View, rng: Rng) -> Field:
    """Electrode leads across the chest, and now and then a drain or a central line."""
    clouds = []
    masses = []
    for _ in range(rng.integers(1, 4)):
        end = np.array([rng.uniform(-12, 12), rng.uniform(4, 22)])
        out = np.array([rng.choice((-1, 1)) * rng.uniform(10, 20), rng.uniform(-8, 30)])
        middle = (end + out) / 2 + rng.normal(0, 3, 2)
        path = curve(np.stack([end, middle, out]), 400)
        radius = rng.uniform(0.06, 0.12)
        ds = np.hypot(*np.gradient(path, axis=0).T)
        clouds.append(path)
        masses.append(ds * radius * 0.5)
        disc = end + 0.5 * rng.standard_normal((200, 2)) * 0.5
        clouds.append(disc)
        masses.append(np.full(200, 0.25 / 200))
    flat = np.concatenate(clouds)
    points = np.concatenate([flat, np.full((len(flat), 1), 0.0)], -1).astype(np.float32)
    return view.splat(points, np.concatenate(masses).astype(np.float32)) * np.float32(2.0)


def _expose(healthy: Field, added: Field, hardware: Field, rng: Rng) -> np.ndarray:
    """The radiograph: primary beam, scatter, noise, blur, logarithm, tone curve, collimator; uint8."""
    lines = np.linspace(-1, 1, SIZE, dtype=np.float32)
    heel = np.float32(rng.normal(0, 0.06)) * lines[:, None] + np.float32(rng.normal(0, 0.06)) * lines[None]
    beam = np.exp(heel - healthy)
    scatter = _scatter(beam, rng)
    dose = rng.uniform(1.2e4, 5e4)
    intensity = beam * np.exp(-added - hardware) + scatter
    noise = np.sqrt(intensity / np.float32(dose)) * rng.standard_normal((SIZE, SIZE), np.float32)
    blurred = ndimage.gaussian_filter(intensity + noise, rng.uniform(0.5, 0.75))
    signal = -np.log(np.maximum(blurred, 1e-4))

    reference = -np.log(np.maximum(beam + scatter, 1e-4))[::4, ::4]
    return _tone(signal, reference, rng)


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


def _tone(signal: Field, reference: np.ndarray, rng: Rng) -> np.ndarray:
    """Window and tone curve, set from the healthy anatomy; mild edge enhancement as detectors apply it."""
    low, high = np.percentile(reference[reference > 0.5], [3, 97])
    level = low + (high - low) * rng.normal(0.40, 0.05)
    width = (high - low) * rng.uniform(0.85, 1.25)
    amount = rng.uniform(0.0, 0.5)
    signal = signal + np.float32(amount) * (signal - ndimage.gaussian_filter(signal, 2.2))
    value = 1 / (1 + np.exp(np.float32(-3.6 / width) * (signal - np.float32(level))))
    floor, top = rng.uniform(0.0, 0.03), rng.uniform(0.88, 0.99)
    value = floor + (top - floor) * value ** np.float32(rng.uniform(0.85, 1.15))
    return np.rint(np.clip(value * 255, 0, 255)).astype(np.uint8)
