"""Anatomy of the CT phantom: an axial section of the chest at a random level, in Hounsfield units.

Section coordinates are centimetres: x to the patient's left (the right of the picture), y to the back (down), the
middle of the rib cage at the origin. Organs are signed distances, negative inside; walls are distances outward from the
rib cage. Small vessels are clouds of points that carry volume, so what fills half a voxel is half as dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np

from engine.data.base import SIZE
from engine.data.phantom_common import Field, Plane, Rng, curve, ramp, texture

RIGHT, LEFT = -1, 1  # sign of x; the patient's right is on the left of the picture
Point = Sequence[float] | np.ndarray
AIR, LUNG, FAT, MUSCLE, BLOOD = -1000.0, -855.0, -95.0, 52.0, 40.0  # HU


def between(level: float, low: float, high: float) -> float:
    """How far `level` is on the way from `low` to `high`, 0 to 1, smooth."""
    t = float(np.clip((level - low) / (high - low), 0, 1))
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class Patient:
    """One patient's build, and where the section lies. Lengths in cm, angles in radians, pairs are (right, left)."""

    level: float  # 0 at the arch of the aorta, 1 at the domes of the diaphragm
    slab: float  # thickness of the section
    half: tuple[float, float]  # inner half-width of the rib cage
    front: float  # from the middle to the sternum
    back: float  # from the middle to the ribs beside the spine
    square: float  # 0 an elliptic rib cage, 1 a square one
    fat: float  # under the skin
    muscle: float  # relative thickness of the chest wall's muscles
    breast: float  # 0 for none
    heart: float  # relative size
    heart_turn: float
    aorta: float
    domes: tuple[float, float]  # the levels at which the diaphragm comes into the section
    bone: float  # mineral density, 1 is average
    blood: float  # HU of the blood, high with contrast medium
    lung: float  # HU of the lung, high in shallow breath
    vascularity: float
    smoke: float  # emphysema, 0 to 1

    @classmethod
    def draw(cls, rng: Rng) -> Patient:
        """A random patient, cut at a random level."""
        level = float(rng.uniform(0.02, 0.98))
        woman = rng.random() < 0.45
        size = rng.normal(1.0, 0.05) * (0.95 if woman else 1.02)
        half = (10.3 + 2.9 * between(level, -0.15, 0.5)) * size
        depth = (7.4 + 1.6 * between(level, -0.1, 0.6)) * size
        dome = rng.normal(0.86, 0.1)
        return cls(
            level=level,
            slab=float(rng.choice([0.12, 0.15, 0.3, 0.5], p=[0.3, 0.25, 0.25, 0.2])),
            half=(half + rng.normal(0, 0.2), half + rng.normal(0, 0.2)),
            front=depth * rng.normal(1.0, 0.06),
            back=depth * rng.normal(1.3, 0.06),
            square=rng.uniform(0.3, 0.6),
            fat=float(np.clip(rng.gamma(3.5, 0.4), 0.4, 3.6)),
            muscle=rng.normal(0.9, 0.12) if woman else rng.normal(1.1, 0.15),
            breast=max(0.0, rng.normal(0.9, 0.4)) if woman else 0.0,
            heart=rng.normal(1.0, 0.08),
            heart_turn=rng.normal(0.55, 0.12),
            aorta=rng.normal(1.0, 0.12),
            domes=(dome, dome + rng.uniform(0.02, 0.14)),
            bone=float(np.clip(rng.normal(1.0, 0.2), 0.5, 1.5)),
            blood=rng.uniform(110, 320) if rng.random() < 0.35 else rng.normal(BLOOD, 5),
            lung=LUNG + rng.normal(0, 22) + (rng.uniform(20, 70) if rng.random() < 0.25 else 0),
            vascularity=rng.lognormal(0, 0.18),
            smoke=rng.uniform(0.3, 1.0) if rng.random() < 0.14 else 0.0,
        )


class Section(Plane):
    """The plane of the section, with coordinates gently distorted: no outline in a body is a clean ellipse."""

    def __init__(self, patient: Patient, rng: Rng) -> None:
        width = 2 * (max(patient.half) + rng.choice([rng.uniform(1.2, 2.4), rng.uniform(3.5, 6.5)]))
        scale = SIZE / width
        turn = rng.normal(0, 0.045)
        c, s = np.cos(turn), np.sin(turn)
        matrix = np.array([[c, -s], [s, c]]) * scale * np.array([1.0, rng.uniform(0.98, 1.28)])
        middle = np.array([SIZE / 2, SIZE / 2]) + scale * rng.normal(0, [0.4, 0.4])
        super().__init__(matrix, middle - matrix @ [0.0, 0.5 * (patient.back - patient.front) + 0.3])
        self.pixel = float(np.sqrt(self.area))  # cm
        self.straight = (self.x, self.y)
        self.x = self.x + np.float32(0.17) * texture(rng, 4.2)
        self.y = self.y + np.float32(0.17) * texture(rng, 4.2)

    def edge(self, distance: np.ndarray, soft: float = 0.0) -> np.ndarray:
        """Share of each pixel inside of what has that signed distance."""
        return ramp(-distance, max(0.75 * self.pixel, soft))

    def ellipse(self, x: float, y: float, a: float, b: float, turn: float = 0.0) -> Field:
        """Signed distance, about, to an ellipse."""
        u, v = self.x - np.float32(x), self.y - np.float32(y)
        if turn:
            c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            u, v = c * u + s * v, c * v - s * u
        u, v = u * np.float32(1 / a), v * np.float32(1 / b)
        return (np.sqrt(u * u + v * v) - 1) * np.float32(np.sqrt(a * b))

    def capsule(self, start: Point, end: Point, radii: tuple[float, float]) -> Field:
        """Signed distance to a tapered rod with round ends."""
        dx, dy = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
        u, v = self.x - np.float32(start[0]), self.y - np.float32(start[1])
        t = np.clip((u * dx + v * dy) * np.float32(1 / (dx * dx + dy * dy)), 0, 1)
        u, v = u - t * dx, v - t * dy
        return np.sqrt(u * u + v * v) - (np.float32(radii[0]) + t * np.float32(radii[1] - radii[0]))

    def part(self, box: tuple[slice, slice]) -> Section:
        """The pixels in a box alone."""
        part = copy(self)
        part.x, part.y = self.x[box], self.y[box]
        return part

    def rod(
        self, start: Point, end: Point, radii: tuple[float, float], margin: float
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """`capsule`, only in the box around it, with that box."""
        box = self.box([(start[0], start[1]), (end[0], end[1])], max(radii) + margin)
        return box, self.part(box).capsule(start, end, radii)


def union(parts: Sequence[Field], soft: float = 0.7) -> Field:
    """Smooth union of signed distances."""
    total = parts[0]
    for part in parts[1:]:
        h = np.clip(0.5 + np.float32(0.5 / soft) * (total - part), 0, 1)
        total = total + h * (part - total) - np.float32(soft) * h * (1 - h)
    return total


@dataclass(frozen=True)
class Chest:
    """The healthy section."""

    hu: Field  # all but the lungs' content, which is AIR where a lung is
    lung: Field  # share of each pixel that is lung, 0 to 1
    depth: Field  # distance from the lung's surface inward, cm
    rim: Field  # distance from the rib cage inward, cm
    air: Field  # HU of the lung without vessels
    blood: Field  # share of the lung filled by vessels and the walls of bronchi
    hollow: Field  # share of the lung that is the inside of bronchi


def chest(patient: Patient, plane: Section, rng: Rng) -> Chest:
    """One patient's healthy section."""
    cage = Cage(patient, plane)
    organs, fat = _mediastinum(patient, plane, rng)
    middle = union([np.minimum(organs - np.float32(0.12), fat), _spine(patient, plane) - np.float32(0.35)], 0.8)
    depth = np.minimum(-cage.out, middle)
    lung = plane.edge(-depth)
    hu = _wall(patient, plane, cage, rng)
    inside = plane.edge(cage.out)
    soft = np.float32(FAT) + plane.edge(organs) * np.float32(patient.blood - FAT)
    soft = soft + plane.edge(organs + 0.25) * (np.float32(6) * texture(rng, 3.0))
    hu = hu + inside * (soft - hu)
    if (domes := _domes(patient, plane, rng)) is not None:
        liver, blur = domes
        below = plane.edge(liver, blur)
        hu = hu + below * lung * (np.float32(62) - hu)
        depth, lung = np.minimum(depth, liver), lung * (1 - below)
    _bones(patient, plane, hu, cage, rng)
    _tubes(patient, plane, hu, rng)
    blood, hollow = _vessels(patient, plane, depth, rng)
    return Chest(hu, lung, depth, -cage.out, _air(patient, plane, rng), blood, hollow)


def _air(patient: Patient, plane: Section, rng: Rng) -> Field:
    """HU of the lung without vessels: denser at the back, with holes where smoke has been."""
    air = np.float32(patient.lung) + np.float32(6.5) * (plane.y - 1) + np.float32(11) * texture(rng, 2.0)
    air = air + np.float32(10) * texture(rng, 3.4)
    if patient.smoke:
        holes = ramp(texture(rng, 3.0) - np.float32(1.5 - 0.7 * patient.smoke), 0.35)
        air = air - holes * np.float32(90 * patient.smoke)
    return air


class Cage:
    """The rib cage seen from its middle: each pixel's direction (cosine, sine), and how far outside it lies, in cm."""

    def __init__(self, patient: Patient, plane: Section) -> None:
        x, y = plane.x, plane.y
        u = x * np.where(x > 0, np.float32(1 / patient.half[1]), np.float32(1 / patient.half[0]))
        v = y * np.where(y > 0, np.float32(1 / patient.back), np.float32(1 / patient.front))
        u, v = u * u, v * v
        total = u + v
        square = np.where(y > 0, np.float32(patient.square + 0.1), np.float32(patient.square - 0.3))
        ratio = np.sqrt(0.5 * (total + np.sqrt(np.maximum(total * total - 4 * square * square * u * v, 0))))
        radius = np.sqrt(x * x + y * y) + np.float32(1e-3)
        self.out = radius - radius / np.maximum(ratio, 1e-3)
        self.cosine, self.sine = x / radius, y / radius


def _mediastinum(patient: Patient, plane: Section, rng: Rng) -> tuple[Field, Field]:
    """Signed distances to heart and great vessels, and to the fat that they lie in."""
    organs = union([*_great_vessels(patient, plane), *_heart(patient, plane), *_hila(patient, plane, rng)], 0.5)
    front = -patient.front
    fat = [
        plane.capsule((0.1, front - 0.6), (0.1, front + 2.4), (rng.uniform(0.5, 1.6), rng.uniform(0.15, 0.7))),
        plane.ellipse(0.1, 0.05 * front, 2.9 + 0.6 * between(patient.level, 0, 0.3), -0.62 * front),
        plane.ellipse(0.5, patient.back - 5.8, 1.9, 1.7),
    ]
    if patient.level > 0.45 and rng.random() < 0.35:  # fat beside the heart, in front
        side = LEFT if rng.random() < 0.7 else RIGHT
        fat.append(plane.ellipse(side * 2.4, front + 1.8, rng.uniform(1.6, 2.6), 1.2, side * 0.6))
    return organs, union([*fat, organs - np.float32(0.1)], 0.9)


def _great_vessels(patient: Patient, plane: Section) -> list[Field]:
    """Aorta, veins, the trunk of the lungs' artery, and the oesophagus."""
    t, a, front, back = patient.level, patient.aorta, patient.front, patient.back
    found = [
        plane.ellipse(1.9 + 0.4 * a, back - 5.0 - 0.8 * a, 1.25 * a, 1.3 * a),  # descending aorta
        plane.ellipse(0.5, back - 6.3, 0.75, 0.6),  # oesophagus
    ]
    if (arch := 1 - between(t, 0.1, 0.24)) > 0:
        size = a * (0.4 + 0.6 * arch)
        found.append(plane.capsule((-0.9, -0.25 * front), (2.2 + 0.2 * a, back - 6.0), (1.45 * size, 1.3 * size)))
    if t < 0.62:
        found.append(plane.ellipse(-2.5, -1.6 + 1.2 * t, 0.85, 1.05))  # superior vena cava
    else:
        found.append(plane.ellipse(-2.6, 1.0, 1.35, 1.15))  # inferior vena cava
    if t < 0.55:
        found.append(plane.ellipse(-0.7 + 0.6 * t, -0.36 * front, 1.6 * a, 1.6 * a))  # ascending aorta
    if (trunk := between(t, 0.14, 0.26) * (1 - between(t, 0.42, 0.52))) > 0.05:
        size = 0.35 + 0.65 * trunk
        found += [
            plane.ellipse(2.1, -0.36 * front, 1.6 * size, 1.7 * size),
            plane.capsule((1.4, -1.3), (-3.2, 0.2), (1.05 * size, 0.75 * size)),  # to the right lung
            plane.capsule((2.2, -1.5), (3.7, 0.8), (1.1 * size, 0.85 * size)),
        ]
    return found


def _heart(patient: Patient, plane: Section) -> list[Field]:
    """The heart: ventricles, right atrium, left atrium."""
    whole = between(patient.level, 0.32, 0.6) * (1 - 0.35 * between(patient.level, 0.85, 1.15))
    if whole <= 0.02:
        return []
    size, low = patient.heart * (0.3 + 0.7 * whole), between(patient.level, 0.6, 0.95)
    front = patient.front
    found = [
        plane.ellipse(2.1 + 0.9 * low, -0.27 * front, 5.9 * size, 4.0 * size, patient.heart_turn),
        plane.ellipse(-1.5, -0.2 * front, 3.3 * size * (1 - 0.35 * low), 3.5 * size * (1 - 0.2 * low)),
    ]
    if low < 0.7:
        found.append(plane.ellipse(0.2, patient.back - 7.8, 3.3 * size * (1 - low), 1.6 * size))
    return found


def _hila(patient: Patient, plane: Section, rng: Rng) -> list[Field]:
    """The vessels as they enter the lungs."""
    open_ = between(patient.level, 0.2, 0.36) * (1 - between(patient.level, 0.56, 0.72))
    if open_ <= 0.1:
        return []
    ends = [(side * rng.uniform(3.7, 4.2), 0.9 + rng.normal(0, 0.4)) for side in (RIGHT, LEFT)]
    return [plane.capsule((np.sign(end[0]) * 2.2, 0.6), end, (open_, 0.6 * open_)) for end in ends]


def _domes(patient: Patient, plane: Section, rng: Rng) -> tuple[Field, float] | None:
    """Signed distance to what bulges up from below the diaphragm, and how soft its edge is; None above it."""
    domes = []
    for side, dome, place in ((RIGHT, patient.domes[0], (-0.5, -0.12)), (LEFT, patient.domes[1], (0.52, -0.2))):
        rise = patient.level - dome
        if rise > 0:
            radius = patient.half[0] * min(0.5, 0.2 + 1.2 * np.sqrt(rise))
            x = place[0] * patient.half[0] + 0.25 * side * radius * 0.2
            domes.append(plane.ellipse(x, place[1] * patient.front, radius, radius * rng.uniform(0.85, 1.05)))
    if not domes:
        return None
    return union(domes, 1.0), 0.2 + 1.1 * patient.slab


def _spine(patient: Patient, plane: Section) -> Field:
    """Signed distance to the body of the vertebra, and to muscles and the roots of ribs behind it."""
    x, y, size = _vertebra_at(patient)
    body = plane.ellipse(x, y, 1.75 * size, 1.45 * size)
    return union([body, plane.ellipse(0.0, patient.back + 0.9, 3.9, 2.6)], 1.2)


def _vertebra_at(patient: Patient) -> tuple[float, float, float]:
    """Middle and relative size of the vertebra's body."""
    return 0.0, patient.back - 3.5, 1.0 + 0.25 * patient.level


def _wall(patient: Patient, plane: Section, cage: Cage, rng: Rng) -> Field:
    """Muscles, fat, skin, table and the air around: HU of what lies outside the lungs, but for bones."""
    out, cosine = cage.out, cage.cosine
    high = 1 - between(patient.level, 0.1, 0.6)
    back, front, side = np.maximum(cage.sine, 0), np.maximum(-cage.sine, 0), cosine * cosine
    chest_ = front * np.exp(-np.square((np.abs(cosine) - 0.55) / np.float32(0.28)))  # where pectorals and breasts are
    spinal = back * back * np.exp(-np.square(cosine / np.float32(0.45)))
    muscle = 1.35 + 0.4 * side + np.float32(0.6 + 1.5 * high) * side * (0.4 + back)
    muscle = np.float32(patient.muscle) * (muscle + np.float32(0.5 + 1.3 * high) * chest_ + np.float32(1.7) * spinal)
    sheet = muscle + np.float32(0.22) * texture(rng, 3.4)
    skin = muscle + np.float32(patient.fat) * (0.75 + 0.35 * side + 0.25 * texture(rng, 4.4))
    skin = skin + np.float32(3.2 * patient.breast * (1 - 0.6 * high)) * chest_ * np.sqrt(front)
    bed = plane.straight[1] - np.float32(_rest(patient) - 0.7)
    surface = -union([np.maximum(skin, muscle + 0.3) - out, -bed], 0.8)  # the back is flat where it is lain upon

    grain = texture(rng, 2.6)
    between_ = 0.5 + 0.5 * np.tanh(2.5 * (texture(rng, 3.0) - 1.25))  # fat between the muscles
    flesh = np.float32(MUSCLE) + 9 * grain - between_ * ramp(out - np.float32(0.9), 0.4) * np.float32(120)
    grease = np.float32(FAT) + 8 * grain
    if patient.breast:
        glands = ramp(texture(rng, 3.0) - np.float32(0.6), 0.5) * chest_ * ramp(out - muscle - np.float32(0.6), 0.4)
        grease = grease + np.float32(110) * np.minimum(glands * 1.6, 1)
    tissue = flesh + plane.edge(sheet - out) * (grease - flesh)
    tissue = tissue + ramp(surface + np.float32(0.22), 0.12) * (np.float32(10) - tissue)
    outside = _around(patient, plane, surface, rng)
    return outside + plane.edge(surface) * (tissue - outside)


def _rest(patient: Patient) -> float:
    """The height of the table under the back."""
    return patient.back + 2.6 + patient.muscle + 0.75 * patient.fat


def _around(patient: Patient, plane: Section, surface: Field, rng: Rng) -> Field:
    """Air, the table, a blanket or a gown in some."""
    hu = np.full((SIZE, SIZE), AIR, np.float32)
    x, y = plane.straight
    if rng.random() < 0.8:
        sag = rng.uniform(0.004, 0.016)
        top = y - np.float32(_rest(patient) + rng.uniform(0, 1)) + np.float32(sag) * x * x
        thick = rng.uniform(1.2, 4.0)
        hu = hu + ramp(top, 0.2) * ramp(thick - top, 0.2) * np.float32(rng.uniform(20, 110))  # foam, mattress
        for place, dense in ((0.0, rng.uniform(300, 800)), (thick, rng.uniform(400, 1100))):
            hu = hu + np.float32(dense) * np.exp(-np.square((top - np.float32(place)) * np.float32(1 / 0.13)))
    if rng.random() < 0.5:  # folds of cloth
        gap = np.float32(rng.uniform(0.2, 0.8)) + np.float32(0.45) * np.abs(texture(rng, 4.2))
        fold = np.exp(-np.square((surface - gap) * np.float32(1 / 0.11)))
        hu = hu + fold * np.float32(rng.uniform(90, 260)) * ramp(texture(rng, 3.4) + np.float32(0.5), 1.0)
    return hu


def _bones(patient: Patient, plane: Section, hu: Field, cage: Cage, rng: Rng) -> None:
    """Ribs, sternum, vertebra and shoulder blades, drawn into the section."""
    hard = 620 * patient.bone
    _ribs(patient, plane, hu, cage.out, hard, rng)
    front = -patient.front - 0.75
    sternum = plane.ellipse(rng.normal(0, 0.15), front, rng.uniform(1.5, 2.2), rng.uniform(0.5, 0.65))
    hu[:] = _shell(plane, hu, sternum, 0.16, 0.6 * hard, 110)
    _vertebra(patient, plane, hu, hard, rng)
    if patient.level < 0.42:
        for side in (RIGHT, LEFT):
            _shoulder_blade(patient, plane, hu, side, hard, rng)


def _shoulder_blade(patient: Patient, plane: Section, hu: Field, side: int, hard: float, rng: Rng) -> None:
    half = patient.half[0 if side == RIGHT else 1]
    start = np.array([side * (half * rng.uniform(1.02, 1.1) + 1.2), rng.uniform(0.5, 2.5)])
    end = np.array([side * half * rng.uniform(0.55, 0.68), patient.back + rng.uniform(1.2, 1.7)])
    bend = (start + end) / 2 + np.array([side * rng.uniform(0.8, 1.3), rng.uniform(0.9, 1.3)])
    for a, b, radii in ((start, bend, (0.5, 0.26)), (bend, end, (0.26, 0.2))):
        box, shape = plane.rod(a, b, radii, 0.6)
        hu[box] = _shell(plane, hu[box], shape, 0.15, 0.75 * hard, 180)


def _shell(plane: Section, hu: np.ndarray, shape: np.ndarray, cortex: float, hard: float, marrow: float) -> np.ndarray:
    """A bone of that signed distance: a dense cortex around marrow."""
    bone = np.float32(marrow) + ramp(shape + np.float32(cortex), 0.09) * np.float32(hard - marrow)
    return hu + plane.edge(shape) * (bone - hu)


def _vertebra(patient: Patient, plane: Section, hu: Field, hard: float, rng: Rng) -> None:
    """Body, arch with its processes, and the canal between."""
    x, y, size = _vertebra_at(patient)
    box = plane.box([(x, y + 1.5)], 5.5)
    part, piece = plane.part(box), hu[box]
    body = part.ellipse(x, y, 1.6 * size, 1.3 * size)
    spongy = np.float32(0.33 * hard) + np.float32(38) * texture(rng, 2.0)[box]
    piece = _shell(part, piece, body, 0.14, 0.8 * hard, 0.0) + part.edge(body + np.float32(0.12)) * spongy
    canal = y + 1.45 * size + 0.7
    cord = part.ellipse(x, canal + 0.05, 0.95, 0.85)
    piece = piece + part.edge(cord) * (np.float32(25) - piece)
    arch = [part.capsule((x, canal + 1.0), (x + rng.normal(0, 0.1), canal + rng.uniform(1.6, 2.8)), (0.34, 0.3))]
    for side in (RIGHT, LEFT):
        root, tip = x + side * 1.2, (x + side * rng.uniform(2.6, 3.1), canal + rng.uniform(0.3, 0.8))
        arch += [
            part.capsule((x + side * 1.15, y + size), (root, canal), (0.42, 0.38)),
            part.capsule((root, canal), (x, canal + 1.15), (0.36, 0.3)),
            part.capsule((root, canal - 0.1), tip, (0.36, 0.42)),
        ]
    hu[box] = _shell(part, piece, union(arch, 0.2), 0.14, 0.95 * hard, 0.5 * hard)


def _ribs(patient: Patient, plane: Section, hu: Field, out: Field, hard: float, rng: Rng) -> None:
    """Ribs as the section cuts them: aslant, so each is a stretch along the wall."""
    for side in (RIGHT, LEFT):
        half = patient.half[0 if side == RIGHT else 1]
        angle = -1.25 + rng.uniform(0, 0.35)  # from the front (-1.5) to the back (1.5)
        while angle < 1.45:
            x, y = side * np.cos(angle), np.sin(angle)
            depth = patient.back if y > 0 else patient.front
            along = 1 / np.sqrt((x / half) ** 2 + (y / depth) ** 2)
            squeeze = 1 + 0.10 * np.sin(2 * angle) ** 2
            centre = np.array([x, y]) * (along * squeeze)
            tangent = np.array([-y * half / depth, x * depth / half]) * side
            tangent /= np.hypot(*tangent)
            length = rng.uniform(0.4, 1.7) * (1.25 if angle > 0.6 else 0.8)
            box = plane.box([(centre[0], centre[1])], length + 1.0)
            u = (plane.x[box] - np.float32(centre[0])) * np.float32(tangent[0]) + (
                plane.y[box] - np.float32(centre[1])) * np.float32(tangent[1])
            v = out[box] - np.float32(0.62) - np.float32(rng.normal(0, 0.17)) * u
            thick = rng.uniform(0.36, 0.48)
            u = np.maximum(np.abs(u) - np.float32(length), 0)
            shape = np.sqrt(u * u + v * v) - np.float32(thick)
            soft = 60 + 60 * rng.random() if angle < -0.85 else 0.45 * hard  # cartilage in front
            hu[box] = _shell(plane, hu[box], shape, 0.14, hard if angle >= -0.85 else 160, soft)
            angle += (length + rng.uniform(1.1, 2.2) + 0.6) / along * 1.55


def _tubes(patient: Patient, plane: Section, hu: Field, rng: Rng) -> None:
    """Trachea, or the main bronchi: air with a thin wall; gas in the oesophagus, in some."""
    t = patient.level
    tubes: list[tuple[Point, Point, tuple[float, float]]] = []
    if t < 0.27:
        tubes.append(((0.0, 0.1 * patient.back), (0.0, 0.1 * patient.back + 0.15), (0.85, 0.9)))
    elif t < 0.6:
        apart = 0.85 + 7.0 * (t - 0.27)
        thin = 0.70 - 0.55 * (t - 0.27)
        for side in (RIGHT, LEFT):
            root = np.array([side * min(apart, 3.3), (0.10 + 0.05 * rng.random()) * patient.back])
            slant = rng.uniform(0.1, 0.7) * (1.6 if side == LEFT and t < 0.42 else 1.0)
            tubes.append((root, root + slant * np.array([side, rng.uniform(0.15, 0.6)]), (thin, 0.9 * thin)))
    if rng.random() < 0.3:
        tubes.append(((0.5, patient.back - 6.3), (0.6, patient.back - 6.3), (0.18, 0.16)))
    for start, end, radii in tubes:
        box, shape = plane.rod(start, end, radii, 0.8)
        piece = hu[box]
        piece = piece + plane.edge(shape - np.float32(0.17)) * (np.float32(25) - piece)
        hu[box] = piece + plane.edge(shape) * (np.float32(AIR + 15) - piece)


def _vessels(patient: Patient, plane: Section, depth: Field, rng: Rng) -> tuple[Field, Field]:
    """Shares of the lung filled by vessels, bronchial walls and fissures, and by the inside of bronchi."""
    clouds = []
    hollow, walls = (np.zeros((SIZE, SIZE), np.float32) for _ in range(2))
    for side in (RIGHT, LEFT):
        clouds += [_fill(*paths, patient.slab) for paths in _branches(patient, plane, depth, side, rng)]
        for start, end, bore in _bronchi(patient, side, rng):
            box, shape = plane.rod(start, end, (bore, 0.8 * bore), 0.6)
            hollow[box] = np.maximum(hollow[box], plane.edge(shape))
            walls[box] = np.maximum(walls[box], np.float32(0.85) * plane.edge(shape - np.float32(0.07 + 0.25 * bore)))
    blood = plane.spread(*(np.concatenate(values) for values in zip(*clouds, strict=True)))
    blood = np.minimum(np.maximum(blood * np.float32(patient.vascularity), walls * (1 - hollow)), 1)
    return blood, hollow


Paths = tuple[np.ndarray, np.ndarray, np.ndarray]  # paths [n, m, 2], radii [n, m], length in the slab for one in plane


def _hilum(side: int, patient: Patient) -> np.ndarray:
    return np.array([side * 3.6, 0.6 + 1.6 * between(patient.level, 0.3, 0.9) - 0.8 * (patient.level < 0.2)])


def _branches(patient: Patient, plane: Section, depth: Field, side: int, rng: Rng) -> list[Paths]:
    """Vessels of one lung: trees that lie in the section, mostly at the hilum, and those that it cuts across."""
    hilum = _hilum(side, patient)
    start, heading, length, radius = _roots(patient, side, hilum, rng)
    found: list[Paths] = []
    for fan, samples in ((3, 44), (2, 24), (0, 16)):
        path, thin = _curved(start, heading, length, radius, samples, rng)
        found.append((path, thin, _inside(samples, len(path), rng)))
        parent = np.repeat(np.arange(len(path)), fan)
        place = rng.integers(int(samples * 0.2), int(samples * 0.95), len(parent))
        step = path[parent, np.minimum(place + 1, samples - 1)] - path[parent, place - 1]
        turn = rng.choice((-1, 1), len(parent)) * rng.uniform(0.35, 0.95, len(parent))
        heading = _turned(step / np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-6)[:, None], turn)
        start = path[parent, place]
        length = length[parent] * rng.uniform(0.3, 0.6, len(parent))
        radius = thin[parent, place] * rng.uniform(0.55, 0.85, len(parent))
    found.append(_crossing(plane, depth, side, hilum, patient, rng))
    return found


def _roots(patient: Patient, side: int, hilum: np.ndarray, rng: Rng) -> tuple[np.ndarray, ...]:
    """Where trees begin, with heading, length and radius: large ones at the hilum, small ones further out."""
    near = 1 - 0.75 * abs(patient.level - 0.42) / 0.58  # the section goes through the hilum
    large, small = max(2, int(rng.normal(5.0 * near, 1.2))), int(rng.integers(8, 15))

    def both(first: np.ndarray, low: float, high: float) -> np.ndarray:
        return np.concatenate([first, rng.uniform(low, high, small)])

    angle = both(np.linspace(-1.25, 1.35, large) + rng.normal(0, 0.25, large), -1.6, 1.6)
    heading = np.stack([side * np.cos(angle), np.sin(angle)], -1)
    start = hilum + heading * both(rng.uniform(-0.3, 2.2, large), 2.5, 7.5)[:, None] * [0.8, 1.1]
    length = both(rng.uniform(3.0, 7.0, large), 1.2, 3.2) * (0.75 + 0.4 * np.abs(np.cos(angle)))
    radius = both(rng.uniform(0.13, 0.36, large) * (0.45 + 0.55 * near), 0.05, 0.11)
    return start, heading, length, radius


def _turned(heading: np.ndarray, angle: np.ndarray) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * heading[:, 0] - s * heading[:, 1], s * heading[:, 0] + c * heading[:, 1]], -1)


def _curved(
    start: np.ndarray, heading: np.ndarray, length: np.ndarray, radius: np.ndarray, samples: int, rng: Rng
) -> tuple[np.ndarray, np.ndarray]:
    """Tapering paths [n, m, 2] that bend a little, and their radii [n, m]."""
    t = np.linspace(0, 1, samples)[None, :, None]
    side = np.stack([-heading[:, 1], heading[:, 0]], -1)
    bend = rng.normal(0, 0.2, (len(start), 1, 1)) * t * t + rng.normal(0, 0.02, (len(start), 1, 1)) * np.sin(8 * t)
    path = start[:, None] + length[:, None, None] * (heading[:, None] * t + side[:, None] * bend)
    return path, radius[:, None] * (1 - 0.62 * t[..., 0])


def _inside(samples: int, count: int, rng: Rng) -> np.ndarray:
    """The share of vessels that is in the section along them: each winds out of it somewhere."""
    t = np.linspace(0, 1, samples)[None]
    leave = rng.uniform(0.35, 1.3, (count, 1))
    return ramp(leave - t, 0.12)


def _crossing(plane: Section, depth: Field, side: int, hilum: np.ndarray, patient: Patient, rng: Rng) -> Paths:
    """Vessels that the section cuts across or aslant: dots and short strokes, thinner towards the pleura."""
    count = int(rng.uniform(110, 150) * (0.55 + 0.45 * patient.slab / 0.3) ** 0.5)
    column, row = rng.integers(0, SIZE, (2, 9 * count))
    x, y = plane.x[row, column], plane.y[row, column]
    inside = (depth[row, column] > 0.35) & (x * side > 0)
    x, y = x[inside][:count], y[inside][:count]
    away = np.stack([x, y], -1) - hilum
    distance = np.maximum(np.hypot(away[:, 0], away[:, 1]), 0.3)
    heading = _turned(away / distance[:, None], rng.normal(0, 0.35, len(x)))
    radius = (0.04 + 0.17 * np.exp(-distance / 2.8)) * rng.lognormal(0, 0.35, len(x))
    steep = np.sqrt(rng.uniform(0.004, 1, len(x)))  # cosine between a vessel and the section's normal
    length = np.minimum(patient.slab * np.sqrt(1 - steep**2) / steep, 2.2) + 0.02
    t = np.linspace(0, 1, 18)[None, :, None]
    bend = rng.normal(0, 0.15, (len(x), 1, 1)) * t * t
    across = np.stack([-heading[:, 1], heading[:, 0]], -1)
    path = np.stack([x, y], -1)[:, None] + length[:, None, None] * (heading[:, None] * t + across[:, None] * bend)
    tall = patient.slab * np.sqrt(1 + (length / patient.slab) ** 2) / length  # a cut across fills the whole slab
    return path, np.broadcast_to(radius[:, None], path.shape[:2]), np.broadcast_to(tall[:, None], path.shape[:2])


def _fill(path: np.ndarray, radius: np.ndarray, share: np.ndarray, slab: float) -> tuple[np.ndarray, ...]:
    """Points (x, y) of vessels and the area each fills: `share` is the length in the slab for one in the plane."""
    path, radius, share = (values.astype(np.float32) for values in (path, radius, share))
    step = np.gradient(path, axis=1)
    length = np.hypot(step[..., 0], step[..., 1])
    unit = step / np.maximum(length, 1e-6)[..., None]
    lines = 5
    place = (np.arange(lines) - (lines - 1) / 2) * (2 / lines)
    weight = np.sqrt(1 - place**2)
    weight /= weight.sum()
    across = np.stack([-unit[..., 1], unit[..., 0]], -1) * radius[..., None]
    round_ = np.linspace(-1, 1, path.shape[1])[:, None] * np.sqrt(1 - place**2)  # ends are round, not cut square
    place, weight, round_ = place.astype(np.float32), weight.astype(np.float32), round_.astype(np.float32)
    points = path[:, :, None] + across[:, :, None] * place[:, None]
    points = points + (unit * radius[..., None])[:, :, None] * round_[..., None]
    mass = (np.pi * radius**2 * length * share / slab)[..., None] * weight
    return points[..., 0].ravel(), points[..., 1].ravel(), mass.ravel()


def _bronchi(patient: Patient, side: int, rng: Rng) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Bronchi that show as rings or tram lines beside their arteries."""
    hilum = _hilum(side, patient)
    found = []
    for _ in range(rng.integers(1, 5)):
        angle = rng.uniform(-1.1, 1.2)
        heading = np.array([side * np.cos(angle), np.sin(angle)])
        far = rng.uniform(0.4, 3.6)
        start = hilum + heading * far
        bore = (0.24 * np.exp(-far / 2.2) + 0.05) * rng.uniform(0.8, 1.2)
        end = start + heading * (rng.uniform(0.02, 0.2) if rng.random() < 0.8 else rng.uniform(0.5, 1.1))
        found.append((start, end, bore))
    return found


def fissures(patient: Patient, plane: Section, rng: Rng) -> Field:
    """The share that the thin plates between the lobes fill, where the section cuts them steeply."""
    clouds = []
    for side in (RIGHT, LEFT):
        if not 0.1 < patient.level < 0.9 or rng.random() < 0.35:
            continue
        half = patient.half[0 if side == RIGHT else 1]
        height = (0.65 - 1.1 * patient.level) * patient.back + rng.normal(0, 0.7)
        bend = height + np.array([rng.normal(0, 0.5), *rng.uniform(-0.9, 0.1, 2), rng.normal(0, 0.7)])
        path = curve(np.stack([side * half * np.array([0.25, 0.5, 0.75, 1.0]), bend], -1), 300)
        length = np.hypot(*np.gradient(path, axis=0).T)
        patchy = 0.6 + 0.4 * np.sin(np.linspace(0, 9, 300) + rng.uniform(0, 6))
        clouds.append((path[:, 0], path[:, 1], length * rng.uniform(0.012, 0.03) * patchy))
    if not clouds:
        return np.zeros((SIZE, SIZE), np.float32)
    return plane.spread(*(np.concatenate(values) for values in zip(*clouds, strict=True)))
