"""Anatomy of the chest phantom: chord lengths of organs along the rays, and bones and vessels as clouds of mass.

Body coordinates are centimetres of an average adult: x to the patient's left (the right of the picture), y down from
the lung apex, z forward. Rays run along z, so the path of a ray through an ellipsoid or a cylinder has a closed form;
bones and vessels are sampled as points that carry mass and are summed into the pixels they project to, which gives
cortex its bright rim and the rib cage its bright lateral margin without drawing either.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

SIZE = 224
RIGHT, LEFT = -1, 1  # sign of x; the patient's right is on the left of the picture
Field = np.ndarray  # float32 [224, 224]
Rng = np.random.Generator


@lru_cache(maxsize=1)
def _pixels() -> tuple[Field, Field]:
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    return columns, rows


@lru_cache(maxsize=8)
def _tile(beta: float, number: int) -> np.ndarray:
    """A periodic random field with power spectrum 1/f^beta, zero mean, unit variance, tiled twice each way."""
    side = 320
    rng = np.random.default_rng([number, int(beta * 10)])
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * side
    amplitude = np.where(frequency >= 1.5, np.maximum(frequency, 1.0) ** (-beta / 2), 0.0)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) * amplitude, s=(side, side))
    return np.tile((field / field.std()).astype(np.float32), (2, 2))


def texture(rng: Rng, beta: float) -> Field:
    """A random window of a power-law random field, unit variance; larger `beta` is smoother."""
    tile = _tile(beta, int(rng.integers(2)))
    row, column = rng.integers(0, 320, 2)
    window = tile[row : row + SIZE, column : column + SIZE]
    if rng.random() < 0.5:
        window = window.T
    return window[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]


def ramp(value: np.ndarray, width: float) -> np.ndarray:
    """0 below -width, 1 above +width, smooth between."""
    t = np.clip(value * (0.5 / width) + 0.5, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


@dataclass(frozen=True)
class Patient:
    """One patient's build and posture. Lengths in cm, angles in radians, pairs are (right, left)."""

    scale: float  # pixels per cm
    stretch: float  # vertical over horizontal scale
    shift: tuple[float, float]
    roll: float  # rotation in the picture plane
    yaw: float  # turn about the long axis
    tilt: float  # lordotic (positive) or kyphotic view
    width: tuple[float, float]  # inner half-width of the rib cage
    depth: float  # inner half-depth of the rib cage
    wall: float  # soft tissue outside the rib cage
    flare: float
    domes: tuple[float, float]  # height of the diaphragm
    dome_curve: tuple[float, float]
    heart: float  # relative heart size
    heart_tilt: float
    aorta: float
    rib_slope: float
    rib_width: float
    bone: float  # mineral density, 1 is average
    scoliosis: tuple[float, float]
    arms: tuple[float, float]  # angle of the upper arm from straight down
    breast: float  # 0 for none
    vascularity: float
    young: bool

    @classmethod
    def draw(cls, rng: Rng) -> Patient:
        """A random patient."""
        young = bool(rng.random() < 0.35)
        half = rng.normal(13.4, 0.7)
        deep = rng.uniform(-1.0, 1.0)  # inspiration
        right_dome = 22.0 + 1.6 * deep + rng.normal(0, 0.7)
        raised = rng.uniform(1.9, 2.7) if young and rng.random() < 0.6 else None
        arm = rng.uniform(0.05, 0.5)
        return cls(
            scale=rng.normal(5.9, 0.28) * (0.93 if young else 1.0),
            stretch=rng.normal(1.0, 0.05),
            shift=(rng.normal(0, 0.7), rng.normal(0, 0.8)),
            roll=rng.normal(0, 0.03),
            yaw=rng.normal(0, 0.05),
            tilt=rng.normal(0.02, 0.06),
            width=(half + rng.normal(0, 0.25), half + rng.normal(0, 0.25)),
            depth=rng.normal(8.3, 0.6),
            wall=float(np.clip(rng.gamma(5.0, 0.4), 0.9, 4.5)) + 0.3,
            flare=rng.normal(0.02, 0.03),
            domes=(right_dome, right_dome + rng.normal(1.1, 0.5)),
            dome_curve=(rng.uniform(0.045, 0.085), rng.uniform(0.045, 0.085)),
            heart=rng.normal(1.0, 0.07) * (1.03 - 0.05 * deep),
            heart_tilt=rng.normal(0.62, 0.12) + 0.08 * deep,
            aorta=rng.uniform(0.55, 0.85) if young else rng.normal(1.0, 0.13),
            rib_slope=rng.normal(0.50, 0.07),
            rib_width=rng.normal(0.60, 0.05),
            bone=rng.normal(1.0, 0.13) * (1.1 if young else 1.0),
            scoliosis=(rng.normal(0, 0.25), rng.uniform(0, 6.28)),
            arms=tuple(arm + rng.normal(0, 0.08) if raised is None else raised + rng.normal(0, 0.15) for _ in "rl"),
            breast=max(0.0, rng.normal(0.9, 0.4)) if not young and rng.random() < 0.45 else 0.0,
            vascularity=rng.lognormal(0.0, 0.2),
            young=young,
        )

    def half_width(self, y: np.ndarray, left: np.ndarray | bool) -> np.ndarray:
        """Inner half-width of the rib cage at height y, in cm; 0 above the apex."""
        side = np.where(left, np.float32(self.width[1]), np.float32(self.width[0]))
        opening = 1.0 - np.exp(np.minimum(-(y + 1.25) / 4.3, 0.0))
        return side * opening * (1.0 + self.flare * (y - 14.0) / 10.0 - 0.0012 * np.maximum(y - 19.0, 0.0) ** 2)

    def half_depth(self, y: np.ndarray) -> np.ndarray:
        """Inner half-depth of the rib cage at height y, in cm."""
        return self.depth * (1.0 - 0.95 * np.exp(np.minimum(-(y + 2.2) / 6.0, 0.0)))

    def spine(self, y: np.ndarray) -> np.ndarray:
        """Lateral position of the spine at height y, in cm."""
        return self.scoliosis[0] * np.sin(y / 6.5 + self.scoliosis[1])

    @cached_property
    def vertebrae(self) -> np.ndarray:
        """Heights of the lower end plates from C4 to L3, in cm; T1 is number 4."""
        heights = np.concatenate([np.full(4, 1.55), np.linspace(1.75, 2.6, 12), np.full(3, 2.9)])
        edges = np.cumsum(heights)
        return edges - edges[3] - 2.6


class View:
    """The projection of one patient: pixel to body coordinates for fields, body to pixel for points."""

    def __init__(self, patient: Patient) -> None:
        scale = np.array([patient.scale, patient.scale * patient.stretch])
        c, s = np.cos(patient.roll), np.sin(patient.roll)
        self.matrix = np.array([[c, -s], [s, c]]) * scale  # body to pixels
        self.origin = np.array([SIZE / 2, SIZE / 2]) - self.matrix @ np.array([0.3, 13.2])
        self.origin += self.matrix @ np.array(patient.shift)
        self.yaw, self.tilt = patient.yaw, patient.tilt
        columns, rows = _pixels()
        (a, b), (d, e) = np.linalg.inv(self.matrix).astype(np.float32)
        u, v = columns - np.float32(self.origin[0]), rows - np.float32(self.origin[1])
        self.x, self.y = a * u + b * v, d * u + e * v
        self.area = float(abs(np.linalg.det(np.linalg.inv(self.matrix))))  # of a pixel, cm^2

    def at(self, z: float) -> tuple[Field, Field]:
        """Body coordinates of every pixel in the plane at depth z."""
        return self.x - np.float32(self.yaw * z), self.y - np.float32(self.tilt * z)

    def ellipsoid(
        self, centre: tuple[float, float, float], axes: tuple[float, float, float], turn: float = 0.0
    ) -> Field:
        """Path through an ellipsoid, in cm, turned by `turn` radians in the plane of the picture."""
        x, y = self.at(centre[2])
        x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
        if turn:
            c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            x, y = c * x + s * y, c * y - s * x
        x, y = x * np.float32(1 / axes[0]), y * np.float32(1 / axes[1])
        return np.float32(2 * axes[2]) * np.sqrt(np.maximum(1 - x * x - y * y, 0))

    def capsule(
        self, start: tuple[float, float], end: tuple[float, float], radius: tuple[float, float], flat: float = 1.0
    ) -> Field:
        """Path through a tapered cylinder with round ends that lies in the plane of the picture, in cm."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        x, y = self.x - np.float32(start[0]), self.y - np.float32(start[1])
        t = np.clip((x * np.float32(dx) + y * np.float32(dy)) * np.float32(1 / (dx * dx + dy * dy)), 0, 1)
        r = np.float32(radius[0]) + t * np.float32(radius[1] - radius[0])
        x, y = x - t * np.float32(dx), y - t * np.float32(dy)
        return np.float32(2 * flat) * np.sqrt(np.maximum(r * r - x * x - y * y, 0))

    def splat(self, points: np.ndarray, mass: np.ndarray) -> Field:
        """Sum of the mass (cm^3) of points [n, 3] over each pixel's area: an equivalent thickness in cm."""
        flat = points[:, :2] + points[:, 2:] * np.array([self.yaw, self.tilt], np.float32)
        column, row = flat @ self.matrix.astype(np.float32).T[:, :].T.T.T if False else (
            flat[:, 0] * np.float32(self.matrix[0, 0]) + flat[:, 1] * np.float32(self.matrix[0, 1])
            + np.float32(self.origin[0]),
            flat[:, 0] * np.float32(self.matrix[1, 0]) + flat[:, 1] * np.float32(self.matrix[1, 1])
            + np.float32(self.origin[1]),
        )
        inside = (column >= 0) & (column < SIZE - 1) & (row >= 0) & (row < SIZE - 1)
        column, row, mass = column[inside], row[inside], mass[inside]
        c, r = column.astype(np.int32), row.astype(np.int32)
        column, row = column - c, row - r
        corner = r * SIZE + c
        right, low = mass * column, mass * row
        both = right * row
        total = np.bincount(corner, mass - right - low + both, SIZE * SIZE)
        total += np.bincount(corner + 1, right - both, SIZE * SIZE)
        total += np.bincount(corner + SIZE, low - both, SIZE * SIZE)
        total += np.bincount(corner + SIZE + 1, both, SIZE * SIZE)
        return (total / self.area).astype(np.float32).reshape(SIZE, SIZE)
