"""Anatomy of the chest phantom: chord lengths of organs along the rays, and bones and vessels as clouds of mass.

Body coordinates are centimetres of an average adult: x to the patient's left (the right of the picture), y down from
the lung apex, z forward. Rays run along z, so the path of a ray through an ellipsoid or a cylinder has a closed form;
bones and vessels are sampled as points that carry mass and are summed into the pixels they project to, which gives
cortex its bright rim and the rib cage its bright lateral margin without drawing either.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from engine.data.base import SIZE
from engine.data.phantom_common import Field, Plane, Rng, curve, ramp, texture

RIGHT, LEFT = -1, 1  # sign of x; the patient's right is on the left of the picture


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
    taper: float  # how slowly the cage widens below the apex
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
    density: float  # of the lungs, 1 is average; high in shallow breath
    young: bool
    chin: float | None  # height of the chin where the head hangs into the picture

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
            scale=rng.normal(6.35, 0.3) * (0.93 if young else 1.0),
            stretch=rng.normal(1.0, 0.05),
            shift=(rng.normal(0, 0.7), rng.normal(0, 0.8)),
            roll=rng.normal(0, 0.03),
            yaw=rng.normal(0, 0.05),
            tilt=rng.normal(0.02, 0.06),
            width=(half + rng.normal(0, 0.25), half + rng.normal(0, 0.25)),
            depth=rng.normal(8.3, 0.6),
            wall=float(np.clip(rng.gamma(5.0, 0.4), 0.9, 4.5)) + 0.3,
            taper=rng.uniform(3.1, 4.3),
            flare=rng.normal(0.02, 0.03),
            domes=(right_dome, right_dome + rng.normal(1.1, 0.5)),
            dome_curve=(rng.uniform(0.045, 0.085), rng.uniform(0.045, 0.085)),
            heart=rng.normal(1.0, 0.07) * (1.03 - 0.05 * deep),
            heart_tilt=rng.normal(0.62, 0.12) + 0.08 * deep,
            aorta=rng.uniform(0.55, 0.85) if young else rng.normal(1.0, 0.13),
            rib_slope=rng.normal(0.50, 0.07),
            rib_width=rng.normal(0.60, 0.05),
            bone=float(np.clip(rng.normal(0.95, 0.18), 0.5, 1.5)) * (1.12 if young else 1.0),
            scoliosis=(rng.normal(0, 0.25), rng.uniform(0, 6.28)),
            arms=(raised + rng.normal(0, 0.15), raised + rng.normal(0, 0.15))
            if raised is not None
            else (arm + rng.normal(0, 0.08), arm + rng.normal(0, 0.08)),
            breast=max(0.0, rng.normal(0.9, 0.4)) if not young and rng.random() < 0.45 else 0.0,
            vascularity=rng.lognormal(-0.05, 0.22),
            density=float(np.clip(1.0 - 0.16 * deep + rng.normal(0, 0.1), 0.65, 1.5)),
            young=young,
            chin=rng.uniform(-6.2, -3.6) if rng.random() < (0.45 if young else 0.12) else None,
        )

    def shoulder(self, side: int) -> tuple[np.ndarray, float]:
        """The shoulder joint (x outward from the midline, y) and how far a raised arm has swung the scapula."""
        half, angle = (self.width[0], self.arms[0]) if side == RIGHT else (self.width[1], self.arms[1])
        lift = 1.6 * max(0.0, angle - 0.8)
        return np.array([half + 2.6 + 0.3 * lift, 2.7 - 1.3 * lift]), lift

    def half_width(self, y: np.ndarray, left: np.ndarray | bool) -> np.ndarray:
        """Inner half-width of the rib cage at height y, in cm; 0 above the apex."""
        side = np.where(left, np.float32(self.width[1]), np.float32(self.width[0]))
        opening = 1.0 - np.exp(np.minimum(-(y + 1.05) / self.taper, 0.0))
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


class View(Plane):
    """The projection of one patient: pixel to body coordinates for fields, body to pixel for points."""

    def __init__(self, patient: Patient) -> None:
        scale = np.array([patient.scale, patient.scale * patient.stretch])
        c, s = np.cos(patient.roll), np.sin(patient.roll)
        matrix = np.array([[c, -s], [s, c]]) * scale  # body to pixels
        origin = np.array([SIZE / 2, SIZE / 2]) - matrix @ np.array([0.3, 13.2])
        origin += matrix @ np.array(patient.shift)
        super().__init__(matrix, origin)
        self.yaw, self.tilt = patient.yaw, patient.tilt

    def warped(self, rng: Rng) -> View:
        """The same view with gently distorted body coordinates: no outline in a body is a clean ellipse."""
        view = copy(self)
        view.x = self.x + np.float32(0.22) * texture(rng, 4.4)
        view.y = self.y + np.float32(0.22) * texture(rng, 4.4)
        return view

    def at(self, z: float) -> tuple[Field, Field]:
        """Body coordinates of every pixel in the plane at depth z."""
        return self.x - np.float32(self.yaw * z), self.y - np.float32(self.tilt * z)

    def ellipsoid(
        self, centre: tuple[float, float, float], axes: tuple[float, float, float], turn: float = 0.0
    ) -> Field:
        """Path through an ellipsoid, in cm, turned by `turn` radians in the plane of the picture."""
        middle = (centre[0] + self.yaw * centre[2], centre[1] + self.tilt * centre[2])
        box = self.box([middle], max(axes[:2]) + 1.0)
        x, y = self.x[box] - np.float32(middle[0]), self.y[box] - np.float32(middle[1])
        if turn:
            c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            x, y = c * x + s * y, c * y - s * x
        x, y = x * np.float32(1 / axes[0]), y * np.float32(1 / axes[1])
        path = np.zeros((SIZE, SIZE), np.float32)
        path[box] = np.float32(2 * axes[2]) * np.sqrt(np.maximum(1 - x * x - y * y, 0))
        return path

    def capsule(
        self, start: tuple[float, float], end: tuple[float, float], radius: tuple[float, float], flat: float = 1.0
    ) -> Field:
        """Path through a tapered cylinder with round ends that lies in the plane of the picture, in cm."""
        box = self.box([start, end], max(radius) + 1.0)
        dx, dy = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
        x, y = self.x[box] - np.float32(start[0]), self.y[box] - np.float32(start[1])
        t = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0, 1)
        r = np.float32(radius[0]) + t * np.float32(radius[1] - radius[0])
        x, y = x - t * dx, y - t * dy
        path = np.zeros((SIZE, SIZE), np.float32)
        path[box] = np.float32(2 * flat) * np.sqrt(np.maximum(r * r - x * x - y * y, 0))
        return path

    def splat(self, points: np.ndarray, mass: np.ndarray) -> Field:
        """Sum of the mass (cm^3) of points [n, 3] over each pixel's area: an equivalent thickness in cm."""
        x = points[:, 0] + np.float32(self.yaw) * points[:, 2]
        y = points[:, 1] + np.float32(self.tilt) * points[:, 2]
        return self.spread(x, y, mass)


Cloud = tuple[np.ndarray, np.ndarray]  # points [n, 3] in cm, mass [n] in cm^3


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.sqrt(np.einsum("...i,...i->...", vectors, vectors)), 1e-6)[..., None]


@lru_cache(maxsize=8)
def _section(lines: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lines across an elliptic bone: place, depth, and the shares of its cortex and of its core that each carries."""
    edges = np.linspace(-1, 1, lines + 1)
    place = (edges[1:] + edges[:-1]) / 2
    depth = 0.5 * np.sqrt(1 - place**2) * (-1.0) ** np.arange(lines)
    rim = np.diff(np.arcsin(edges)) / np.pi
    core = np.diff(edges * np.sqrt(1 - edges**2) + np.arcsin(edges)) / np.pi
    return place.astype(np.float32), depth.astype(np.float32), rim.astype(np.float32), core.astype(np.float32)


def tube(
    path: np.ndarray,
    normal: np.ndarray,
    high: np.ndarray | float,
    thick: np.ndarray | float,
    cortex: np.ndarray | float,
    marrow: np.ndarray | float,
    lines: int = 12,
) -> Cloud:
    """A bone along `path` [n, m, 3]: an elliptic shell of `cortex` cm around spongy bone of relative density `marrow`.

    `normal` [n, m, 3] is the direction of the short axis (half-length `thick`); `high` is the other half-axis; both,
    and the densities, broadcast to [n, m].
    """
    path, normal = path.astype(np.float32), normal.astype(np.float32)
    high, thick, cortex, marrow = (np.asarray(v, np.float32) for v in (high, thick, cortex, marrow))
    step = np.gradient(path, axis=1)
    length = np.sqrt(np.einsum("...i,...i->...", step, step))
    up = _unit(np.cross(step, normal)) * np.broadcast_to(high, length.shape)[..., None]
    out = normal * np.broadcast_to(thick, length.shape)[..., None]
    place, depth, rim, core = _section(lines)
    along = (0.5 * (np.arange(lines) % 2) - 0.25).astype(np.float32)  # neighbours interleave: no beading
    points = np.stack([place, depth, along], -1) @ np.stack([up, out, step], 2) + path[:, :, None]
    shell = 2 * np.pi * np.sqrt((high**2 + thick**2) / 2) * length * cortex
    inside = np.pi * high * thick * length * marrow
    mass = shell[..., None] * rim + inside[..., None] * core
    return points.reshape(-1, 3), mass.ravel()


def _ribs(patient: Patient, rng: Rng) -> Cloud:
    """Twelve pairs of ribs: tilted hoops on the chest wall, from the spine round to the costal cartilage."""
    reach = np.array([2.45, 2.45, 2.5, 2.5, 2.45, 2.4, 2.35, 2.25, 2.1, 1.9, 1.35, 0.9])
    slope = patient.rib_slope * np.array([0.62, 0.72, 0.82, 0.9, 0.96, 1.0, 1.02, 1.02, 1.0, 0.98, 0.95, 0.9])
    bucket = np.array([0.2, 0.5, 0.8, 1.1, 1.3, 1.5, 1.6, 1.6, 1.5, 1.4, 1.2, 1.0])
    origin = patient.vertebrae[4:16] - 1.2
    high = patient.rib_width * np.array([0.95, 0.9, 0.9, 0.95, 1, 1, 1, 1, 0.98, 0.92, 0.8, 0.65])
    paths, normals, highs, dense = [], [], [], []
    for side in (RIGHT, LEFT):
        wobble = rng.normal(0, 0.12, 12)
        theta = 0.13 + np.linspace(0, 1, 150) * (reach - 0.13 + rng.normal(0, 0.05, 12))[:, None]
        back = 1 - np.cos(theta)
        y = (origin + wobble)[:, None] + (slope + rng.normal(0, 0.012, 12))[:, None] * patient.depth * back
        y = y + bucket[:, None] * np.sin(theta) ** 2 - 0.35 * np.exp(-(((theta - 0.35) / 0.25) ** 2))
        level = np.maximum(y, origin[:, None] + 1.1)
        x = patient.half_width(level, side == LEFT) + 0.35
        z = patient.half_depth(level) + 0.35
        bend = np.sign(np.sin(theta)) * np.abs(np.sin(theta)) ** 0.85
        paths.append(np.stack([side * x * bend, y, -z * np.cos(theta)], -1))
        normals.append(_unit(np.stack([side * np.sin(theta), 0 * y - 0.15, -np.cos(theta)], -1)))
        fade = 1 + 0.1 * np.cos(theta)
        dense.append((0.8 + 0.2 * np.cos(theta)) * (1 - 0.4 * np.sin(theta) ** 4))
        highs.append(high[:, None] * fade)
    path = np.concatenate(paths)
    path[..., 0] += patient.spine(path[..., 1]) * np.exp(-np.abs(path[..., 0]) / 6)
    density = np.concatenate(dense) * np.interp(np.linspace(0, 1, 150), [0, 0.93, 1], [1, 1, 0.05])
    return tube(path, np.concatenate(normals), np.concatenate(highs), 0.33, 0.085 * density, 0.42 * density, 11)


@dataclass(frozen=True)
class Bone:
    """A long bone by its knots (cm; x counts outward from the midline), half-axes and densities."""

    knots: list[tuple[float, float, float]]
    high: list[float]
    thick: float
    cortex: float
    marrow: float


def _long_bones(side: int, bones: list[Bone], samples: int = 110, lines: int = 11) -> Cloud:
    paths = np.stack([curve(np.array(b.knots, float), samples) for b in bones]) * [side, 1.0, 1.0]
    high = np.stack([curve(np.array(b.high), samples) for b in bones])
    thick, cortex, marrow = (np.array([[getattr(b, k)] for b in bones]) for k in ("thick", "cortex", "marrow"))
    return tube(paths, np.broadcast_to([0.0, 0.0, 1.0], paths.shape), high, thick, cortex, marrow, lines)


def _shoulder(patient: Patient, side: int, rng: Rng) -> list[Cloud]:
    """Clavicle, scapula and upper arm of one side."""
    angle = patient.arms[0 if side == RIGHT else 1]
    joint, lift = patient.shoulder(side)
    j = rng.normal(0, 0.25, 8)
    front = float(patient.half_depth(np.array(3.0))) * 0.9
    inner = 3.3 + j[0] * 0.8
    z = -float(patient.half_depth(np.array(6.0))) - 1.2
    top = np.array([joint[0] - 1.3, joint[1] + 0.2])  # glenoid
    lean = rng.uniform(0.1, 0.4) + 0.28 * max(0.0, angle - 0.4)
    tip = top + (12.0 + j[4]) * np.array([-np.sin(0.42 - lean), np.cos(0.42 - lean)])
    inner_top = top + np.array([-5.6 + 1.2 * lift, -0.8 + j[5]])

    def at(p: np.ndarray, dx: float = 0.0, dy: float = 0.0, dz: float = 0.0) -> tuple[float, float, float]:
        return float(p[0]) + dx, float(p[1]) + dy, z + dz

    head = joint + np.array([1.0, 0.4])
    along = np.array([np.sin(angle), np.cos(angle)])
    shaft = [(*(head + along * d), -0.5) for d in np.linspace(-2.0, 31.0, 9)]
    clavicle = [
        (1.5, inner, front),
        (4.2, inner - 0.45 + j[1] * 0.4, front + 0.6),
        (8.5, inner - 1.7 - 0.5 * lift + j[2], front - 1.0),
        (joint[0] - 2.6, joint[1] - 2.2 + j[2], 0.0),
        (joint[0] - 0.6, joint[1] - 2.0 + j[3] * 0.5, -1.5),
    ]
    lateral = [at(top, 0.2, 0.6, 3.0), at(0.55 * top + 0.45 * tip, 0.25), at(tip)]
    medial = [at(tip), at(0.5 * (tip + inner_top), -0.5), at(inner_top)]
    upper = [at(inner_top), at(0.5 * (top + inner_top), 0.0, -0.5), at(top, -1.2, -1.0, 3.5)]
    spine = [
        at(inner_top, 0.3, 1.6),
        at(0.45 * top + 0.55 * inner_top, 0.0, 0.1, -1.0),
        at(top, 0.6, -2.3, 1.0),
        at(top, 2.0, -2.3, 3.0),
    ]
    socket = [at(top, 0.0, -1.1, 3.0), at(top, 0.1, 0.2, 3.0), at(top, 0.25, 1.3, 3.0)]
    bones = [
        Bone(clavicle, [0.8, 0.58, 0.5, 0.58, 0.74], 0.5, 0.12, 0.2),
        Bone(lateral, [0.5, 0.42, 0.3], 0.45, 0.10, 0.10),
        Bone(medial, [0.25, 0.2, 0.2], 0.2, 0.06, 0.1),
        Bone(upper, [0.2, 0.2, 0.3], 0.2, 0.05, 0.1),
        Bone(spine, [0.3, 0.4, 0.5, 0.6], 0.35, 0.08, 0.12),
        Bone(socket, [0.5, 0.6, 0.5], 0.5, 0.10, 0.2),
    ]
    arm = Bone(shaft, [1.7, 2.05, 1.3, 1.1, 1.05, 1.0, 1.0, 1.0, 1.1], 1.1, 0.16, 0.08)
    return [
        _long_bones(side, bones),
        _long_bones(side, [arm], 220, 26),
        _blade(side, np.array([at(top), at(tip), at(inner_top)]), rng),
    ]


def _blade(side: int, corners: np.ndarray, rng: Rng) -> Cloud:
    """The thin plate of the scapula: points spread over a triangle."""
    count = 2500
    w = rng.dirichlet(np.ones(3), count)
    points = w @ corners
    points[:, 0] *= side
    a, b = corners[1, :2] - corners[0, :2], corners[2, :2] - corners[0, :2]
    area = abs(a[0] * b[1] - a[1] * b[0]) / 2
    return points.astype(np.float32), np.full(count, 0.10 * area / count, np.float32)


def _transverse(patient: Patient, rng: Rng) -> Cloud:
    """Transverse processes: stubs beside each thoracic vertebra, which roughen the outline of the spine."""
    y = patient.vertebrae[5:17] - 1.5
    paths = []
    for side in (RIGHT, LEFT):
        x = side * np.linspace(1.2, 2.8, 14)
        lift = rng.normal(-0.12, 0.08, len(y))
        height = y[:, None] + lift[:, None] * np.abs(x)
        paths.append(np.stack([patient.spine(height) + x, height, np.full(height.shape, -8.0)], -1))
    path = np.concatenate(paths)
    return tube(path, np.broadcast_to([0.0, 0.0, 1.0], path.shape), np.linspace(0.55, 0.3, 14), 0.3, 0.05, 0.12, 8)


def skeleton(patient: Patient, view: View, rng: Rng) -> Field:
    """Bone except the vertebral column: equivalent thickness of compact bone in cm."""
    clouds = [_ribs(patient, rng), _transverse(patient, rng)]
    for side in (RIGHT, LEFT):
        clouds += _shoulder(patient, side, rng)
    if patient.chin is not None:
        arch = [(-5.6, -5.5), (-4.9, -2.6), (-2.6, -0.7), (0.0, -0.3), (2.6, -0.7), (4.9, -2.6), (5.6, -5.5)]
        turn = rng.normal(0, 0.4)
        jaw = Bone(
            [(x + turn, patient.chin + y, 4.0) for x, y in arch], [0.8, 0.9, 1.0, 1.0, 1.0, 0.9, 0.8], 0.6, 0.2, 0.5
        )
        clouds.append(_long_bones(LEFT, [jaw], lines=14))
    return view.splat(np.concatenate([c[0] for c in clouds]), np.concatenate([c[1] for c in clouds]))


def column(patient: Patient, view: View, rng: Rng) -> Field:
    """Vertebral bodies with end plates and disc spaces, pedicles and spinous processes: compact bone, cm."""
    x, y = view.at(-5.0)
    near = np.abs(x).min(0) < 3.6
    x, y = x[:, near], y[:, near]
    edges = patient.vertebrae
    grid = np.linspace(-12.0, 36.0, 961)
    index = np.clip(np.searchsorted(edges, grid), 1, len(edges) - 1)
    height = edges[index] - edges[index - 1]
    phase_of = (grid - edges[index - 1]) / height  # 0 at the top of a vertebra, 1 at the bottom of its disc
    where = np.clip(((y + 12.0) * 20.0).astype(np.int32), 0, 960)
    phase = phase_of[where].astype(np.float32)
    half = (1.45 + 0.025 * np.maximum(grid + 4.0, 0.0))[where].astype(np.float32)
    u = np.abs(x - patient.spine(y).astype(np.float32))
    half = half * (1.0 - 0.10 * np.sin(np.pi * np.clip(phase / 0.8, 0, 1)))
    inside = ramp(half - u, 0.3)
    body = ramp(phase - 0.04, 0.03) * ramp(0.80 - phase, 0.03)
    plate = np.exp(-(((phase - 0.05) / 0.035) ** 2)) + np.exp(-(((phase - 0.79) / 0.035) ** 2))
    side = np.exp(-(((half - u - 0.1) / 0.1) ** 2))
    bone = inside * (0.10 + 0.20 * body + 0.14 * plate) + 0.14 * side * body
    ring = np.hypot((u - 0.62 * half) / 0.42, (phase - 0.30) / 0.20)
    bone += 0.20 * np.exp(-(((ring - 0.9) / 0.22) ** 2))
    process = np.hypot((x - patient.spine(y)) / 0.32, (phase - 0.72) / 0.26)
    bone += 0.22 * ramp(1.0 - process, 0.3) + 0.10 * ramp(0.75 - u, 0.3)
    result = np.zeros((SIZE, SIZE), np.float32)
    result[:, near] = bone
    return result


@dataclass(frozen=True)
class Branches:
    """Curved vessels of one order: paths [n, m, 3], steps between their points, tapering radii [n, m]; cm."""

    path: np.ndarray
    step: np.ndarray
    radius: np.ndarray


def _branches(
    start: np.ndarray, heading: np.ndarray, length: np.ndarray, radius: np.ndarray, rng: Rng, samples: int
) -> Branches:
    t = np.linspace(0, 1, samples, dtype=np.float32)
    bend, kink = rng.normal(0, 0.16, start.shape), rng.normal(0, 0.03, start.shape)
    shape = (np.stack([heading, bend, kink], 1) * length[:, None, None]).astype(np.float32)
    path = start.astype(np.float32)[:, None] + np.stack([t, t * t, np.sin(9 * t)], -1) @ shape
    step = np.stack([np.ones_like(t), 2 * t, 9 * np.cos(9 * t)], -1) / np.float32(samples - 1) @ shape
    return Branches(path, step, radius.astype(np.float32)[:, None] * (1 - np.float32(0.62) * t))


# children per branch, their length and radius relative to the parent, and points along a branch, coarse to fine
_FANS = ((4, 0.62, 0.76, 50), (4, 0.62, 0.8, 32), (2, 0.64, 0.82, 20), (0, 0, 0, 12))


def _lung_tree(patient: Patient, side: int, rng: Rng) -> list[Branches]:
    """Arteries and veins of one lung, from the hilum outward: paths and radii, coarse to fine."""
    hilum = np.array([side * (3.6 if side == RIGHT else 3.9), 12.6 if side == RIGHT else 11.4, -0.5])
    count = 15
    # directions of the first branches, in turns of the clock face: up, out, and mostly down
    angle = np.array([-1.45, -1.2, -1.0, -0.75, -0.4, 0.0, 0.3, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.7])
    angle = angle + rng.normal(0, 0.14, count)
    rise = np.sin(angle)
    heading = _unit(np.stack([side * np.cos(angle), rise, rng.normal(0, 0.3, count)], -1))
    start = hilum + np.stack(
        [
            side * (0.3 + np.abs(rng.normal(0, 0.5, count))),
            1.9 * rise + rng.normal(0, 0.5, count),
            rng.normal(0, 1, count),
        ],
        -1,
    )
    length = np.where(rise < 0, 7.5, 9.0) * rng.uniform(0.75, 1.2, count)
    radius = 0.42 * rng.uniform(0.7, 1.2, count) * np.where(rise < 0, 0.78, 1.05)
    tree = []
    for fan, shorter, thinner, samples in _FANS:
        order = _branches(start, heading, length, radius, rng, samples)
        tree.append(order)
        parent = np.repeat(np.arange(len(start)), fan)
        place = rng.integers(int(samples * 0.15), samples, len(parent))
        start = order.path[parent, place]
        heading = _unit(_unit(order.step[parent, place]) + rng.normal(0, 0.55, start.shape) * [1, 1, 0.5])
        length = length[parent] * shorter * rng.uniform(0.6, 1.2, len(parent))
        radius = order.radius[parent, place] * thinner * rng.uniform(0.7, 1.1, len(parent))
    return tree


def vessels(patient: Patient, view: View, rng: Rng) -> Field:
    """Pulmonary arteries and veins: thickness of blood along the ray, cm (not yet confined to the lungs)."""
    points, mass = [], []
    for side in (RIGHT, LEFT):
        for order, lines in zip(_lung_tree(patient, side, rng), (5, 3, 1, 1), strict=True):
            place, _, _, core = _section(lines)
            ds = np.sqrt(np.einsum("...i,...i->...", order.step, order.step))
            flat = np.maximum(np.hypot(order.step[..., 0], order.step[..., 1]), 1e-6)
            normal = np.stack([-order.step[..., 1], order.step[..., 0]], -1) * (order.radius / flat)[..., None]
            offset = np.stack([place, np.float32(0.5) * (np.arange(lines, dtype=np.float32) % 2)], -1)
            normal = np.concatenate([normal, np.zeros_like(normal[..., :1])], -1)
            spread = offset @ np.stack([normal, order.step], 2) + order.path[:, :, None]
            points.append(spread.reshape(-1, 3))
            mass.append((np.float32(np.pi) * order.radius**2 * ds)[..., None] * core)
    blood = view.splat(np.concatenate(points), np.concatenate([m.ravel() for m in mass]))
    for side in (RIGHT, LEFT):  # the lower lobe artery
        top = (side * (3.3 if side == RIGHT else 3.9), 12.0 if side == RIGHT else 11.0)
        end = (top[0] + side * rng.uniform(1.2, 2.2), top[1] + rng.uniform(4.5, 6.5))
        blood += view.capsule(top, end, (0.75, 0.3))
    blood *= np.float32(patient.vascularity)
    return blood / (1 + np.float32(0.35) * blood)  # branches overlap where they leave the hilum, but do not add up


@dataclass(frozen=True)
class Thorax:
    """Paths through the soft parts, in cm."""

    air: Field  # aerated lung
    gas: Field  # air without lung: trachea, bronchi, stomach, colon
    body: Field  # everything inside the skin
    cavity: Field  # rib cage above the diaphragm, mediastinum included
    lungs: np.ndarray  # bool, the lung fields one would outline
    rim: Field  # distance to the lateral chest wall


def _union(*paths: Field) -> Field:
    """Smooth union of the paths of overlapping organs."""
    total = sum(np.square(np.square(p)) for p in paths)
    return np.sqrt(np.sqrt(total))


def _merge(*paths: Field) -> Field:
    """A softer union, without a visible seam."""
    return np.sqrt(sum(np.square(p) for p in paths))


def _body(patient: Patient, view: View, half: Field, depth: Field) -> Field:
    """Path inside the skin: torso, neck, shoulders, arms, head if it is in the picture."""
    thick = 0.5 * patient.wall
    wide = half + np.float32(patient.wall) + np.float32(0.012) * np.square(np.maximum(view.y - 16.0, 0))
    u = np.minimum(np.abs(view.x) / np.maximum(wide, 0.1), 1.0)
    torso = 2 * (depth + np.float32(0.8 + thick)) * np.sqrt(1 - u * u * u)
    parts = [torso, view.capsule((0.0, -16.0), (0.0, 3.0), (4.6 + thick, 5.4 + thick), 1.0)]
    for side, angle, width in ((RIGHT, patient.arms[0], patient.width[0]), (LEFT, patient.arms[1], patient.width[1])):
        reach, _ = patient.shoulder(side)
        joint = (side * reach[0], reach[1] + 0.3)
        elbow = (joint[0] + side * 26 * np.sin(angle), joint[1] + 26 * np.cos(angle))
        parts.append(view.capsule((side * 3.0, -2.5), joint, (4.0 + thick, 4.2 + thick), 1.25))
        parts.append(view.capsule(joint, elbow, (4.3 + thick, 3.4 + thick)))
        parts.append(
            view.capsule(
                (joint[0] - side * 1.0, joint[1] + 1.5), (side * (width + 0.6), 15.0), (3.2 + thick, 1.5 + thick), 1.1
            )
        )
    if patient.chin is not None:
        parts.append(view.ellipsoid((0.0, patient.chin - 6.0, 2.0), (6.3, 6.3, 7.5)))
    if patient.breast:
        size = 4.6 + 1.6 * patient.breast
        height = 14.5 + 2.2 * patient.breast
        fade = np.float32(0.55 * patient.breast) * ramp(view.y - np.float32(height), size)
        for side in (RIGHT, LEFT):
            parts[0] = parts[0] + fade * view.ellipsoid((side * 7.8, height, 8.0), (size + 0.8, size, 2.8), side * 0.3)
    return _union(*parts)


def _mediastinum(patient: Patient, view: View) -> Field:
    """Heart, great vessels and what lies between the lungs."""
    h, a = patient.heart, patient.aorta
    base = 0.5 * (patient.domes[0] + patient.domes[1])
    heart = _merge(
        view.ellipsoid((2.6 * h, base - 4.6, 3.0), (6.9 * h, 5.0 * h, 4.2), patient.heart_tilt),
        view.ellipsoid((-1.2, base - 5.0, 2.5), (3.3 * h, 5.2 * h, 3.6)),
        view.ellipsoid((1.6, base - 9.2, 2.5), (2.9 * h, 4.2, 2.8), 0.25),
    )
    vessels = _union(
        view.ellipsoid((1.9 + 0.5 * a, 8.0, -1.0), (1.9 * a, 2.0 * a, 2.6)),
        view.ellipsoid((-0.9, 10.0, 2.0), (2.4 * a, 5.0, 3.0)),
        view.capsule((-1.9, 2.0), (-1.9, 14.0), (0.9, 1.1), 1.6),
        view.capsule((1.6 + 0.7 * a, 8.0), (0.9, 26.0), (1.25 * a, 1.1 * a), 1.2),
    )
    x = view.x - np.float32(0.2)
    upper = np.float32(6.5) * np.sqrt(np.maximum(1 - np.square(x / (2.3 + 0.10 * np.abs(view.y - 5.0))), 0))
    hila = _union(
        view.ellipsoid((-3.4, 13.0, 0), (1.5, 2.4, 1.5), 0.25), view.ellipsoid((3.7, 11.7, -1), (1.5, 1.9, 1.5), -0.3)
    )
    below = (
        np.float32(10.0)
        * ramp(np.float32(2.2) - np.abs(view.x - 0.8), 2.4)
        * ramp(view.y - np.float32(base - 3.0), 1.6)
    )
    return _union(heart, vessels, upper) + np.float32(0.8) * hila + below


def _dome(view: View, patient: Patient) -> Field:
    """Depth below the silhouette of the diaphragm, negative above it."""
    x, y = view.x, view.y
    left = ramp(x, 3.0)
    top = np.float32(patient.domes[0]) + np.float32(patient.domes[1] - patient.domes[0]) * left
    steep = np.float32(patient.dome_curve[0]) + np.float32(patient.dome_curve[1] - patient.dome_curve[0]) * left
    off = np.abs(x) - np.float32(6.2)
    off2 = off * off
    height = top + steep * np.where(off > 0, off2 + 0.0014 * off2 * off2, 0.55 * off2)
    return y - height


def thorax(patient: Patient, view: View, rng: Rng) -> Thorax:
    """The soft parts of one patient."""
    view = view.warped(rng)
    x, y = view.x, view.y
    half = patient.half_width(y, x > 0).astype(np.float32)
    depth = patient.half_depth(y).astype(np.float32)
    body = _body(patient, view, half, depth)
    u = np.minimum(np.abs(x) / np.maximum(half, 0.1), 1.0)
    cavity = 2 * depth * np.sqrt(np.maximum(1 - u * u * np.sqrt(u), 0)) * (half > 0.2)
    crown = 0.10 * np.square(np.abs(x) - 4.6) + 0.2
    cavity = np.minimum(cavity, 2 * np.sqrt(np.maximum(y - crown, 0) * np.float32(7.0)))
    below = _dome(view, patient)
    hidden = np.minimum(2 * np.sqrt(np.maximum(below, 0) / np.float32(0.075)), cavity)
    cavity_above = cavity - hidden
    spine = np.float32(4.2) * np.sqrt(np.maximum(1 - np.square((x - patient.spine(y)) / 2.9), 0)).astype(np.float32)
    middle = _mediastinum(patient, view)
    solid = np.minimum(middle + spine, cavity_above)
    air = cavity_above - solid
    lungs = (below < 0) & (air > 0.42 * cavity) & (air > 0.8)
    gas = _airways(view, patient) + _bowel_gas(view, patient, below, rng)
    return Thorax(air, gas, body, cavity_above, lungs, half - np.abs(x))


def _airways(view: View, patient: Patient) -> Field:
    """Trachea and main bronchi."""
    sway = 0.25 * patient.aorta
    return np.maximum.reduce(
        [
            view.capsule((0.1, -12.0), (-sway, 4.0), (0.78, 0.82)),
            view.capsule((-sway, 4.0), (-0.1, 10.2), (0.82, 0.85)),
            view.capsule((-0.2, 10.2), (-3.2, 13.4), (0.62, 0.5)),
            view.capsule((0.1, 10.2), (4.0, 12.8), (0.58, 0.42)),
        ]
    )


def _bowel_gas(view: View, patient: Patient, below: Field, rng: Rng) -> Field:
    """Stomach bubble under the left dome and gas in the colon, in some."""
    gas = np.zeros_like(view.x)
    if rng.random() < 0.6:
        width = rng.uniform(1.8, 3.8)
        centre = (rng.uniform(4.5, 8.0), patient.domes[1] + rng.uniform(2.2, 3.6), 2.0)
        bubble = view.ellipsoid(centre, (width, rng.uniform(1.4, 2.2), rng.uniform(1.0, 3.0)), rng.normal(0, 0.2))
        if rng.random() < 0.5:  # a fluid level, in those who stood
            bubble = bubble * ramp(centre[1] + 0.7 - view.y, 0.15)
        gas = bubble
    for _ in range(rng.poisson(1.6)):
        centre = (rng.uniform(1.0, 12.0), patient.domes[1] + rng.uniform(3.2, 9.0), 3.0)
        gas = gas + view.ellipsoid(
            centre, (rng.uniform(0.9, 2.4), rng.uniform(0.8, 1.6), rng.uniform(0.4, 1.6)), rng.uniform(0, 3)
        )
    return gas * ramp(below - 0.5, 0.4)
