"""At which epsilon the model gives way and at which the eye sees something, and the zone between. No torch."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import betainc

from engine.attacks.rows import Rows
from engine.errors import EngineError
from engine.experiments.epsilon.curve import eps_of
from engine.experiments.sources import opened
from engine.metrics.rates import interval
from engine.metrics.visibility import LEVELS, POOLING, noticeable_difference, visibility
from engine.work.kinds import Bench, Task, kind
from engine.work.store import Payload

LEVEL = "visible"
# From so many just-noticeable differences on a change counts as seen: what Explore calls visible.
SEEN = next(score for score, level in LEVELS if level == LEVEL)
PORTION = 32  # images between two turns


def eye_eps(clean: np.ndarray) -> float:
    """The eps of an L-infinity budget up to which no perturbation of an image [C, H, W] in [0,1] is seen.

    By the project's estimate (engine.metrics.visibility), which grows with every pixel's change and in proportion to
    it: so it is the eps at which a change of that size in every pixel, the most that the budget allows, is just seen.
    A pattern that changes less is seen later, or not at all.
    """
    sharpest = np.sqrt(gaussian_filter(noticeable_difference(clean.mean(axis=0)) ** -2.0, POOLING).max())
    return float(SEEN / sharpest / 255)


def eye_eps_of(clean: np.ndarray, adversarial: np.ndarray, eps: float) -> float | None:
    """The eps at which this very perturbation, made at `eps` and enlarged with it, is just seen; None where there is
    none. The estimate is in proportion to the change."""
    score = visibility(clean, adversarial).score
    return eps * SEEN / score if score > 0 else None


# ---- from rows


def smallest_eps_of(worst: Sequence[Rows]) -> np.ndarray:
    """Of every image the smallest eps that fooled the model, from the worst case's runs in ascending order of eps:
    infinite where it resisted, NaN where nothing was to be done as the model was wrong before. Float [N]."""
    fooled = np.stack([rows.success for rows in worst])
    eps = np.array([eps_of(rows) for rows in worst])
    found = np.where(fooled.any(axis=0), eps[fooled.argmax(axis=0)], np.inf)
    return np.where(worst[0].attacked, found, np.nan)


def middle(values: np.ndarray) -> tuple[float, float, float] | None:
    """The median of `values` [N], up to which half of them lie, and its 95 % bootstrap interval (Efron 1979); infinite
    ones count as large. None where there are none.

    Nothing is drawn: how likely it is that the median of a resample is at most each of the ordered values is known.
    """
    count, ordered = len(values), np.sort(values)
    if not count:
        return None
    half = (count + 1) // 2
    below = betainc(half, count - half + 1, np.arange(1, count + 1) / count)
    low, high = (ordered[min(count - 1, int(np.searchsorted(below, edge)))] for edge in (0.025, 0.975))
    return float(ordered[half - 1]), float(low), float(high)


@dataclass(frozen=True, eq=False)
class Zone:
    """What is known of the images that the model classified correctly: the `smallest` eps that fools it on each
    (infinite: none that was tried) and the `eye` eps from which a change is seen, float [M] each."""

    smallest: np.ndarray
    eye: np.ndarray

    @property
    def of(self) -> int:
        return len(self.smallest)

    @cached_property
    def boundary(self) -> tuple[float, float, float] | None:
        """The eps at which half of the images are flipped, and its 95 % interval; infinite where it was not reached."""
        return middle(self.smallest)

    @cached_property
    def seen(self) -> tuple[float, float, float] | None:
        """The eps at which the eye sees a change on half of the images, and its 95 % interval."""
        return middle(self.eye)

    @property
    def unseen(self) -> int:
        """How many images are flipped by a change that the eye does not see."""
        return int((self.smallest < self.eye).sum())

    @property
    def share(self) -> float | None:
        """The same as a share: the size of the danger zone."""
        return self.unseen / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        return interval(self.unseen, self.of)

    @property
    def times(self) -> float | None:
        """How many times more the eye needs than the model; None where the model's boundary is not known."""
        if self.boundary is None or self.seen is None or not np.isfinite(self.boundary[0]) or self.boundary[0] == 0:
            return None
        return self.seen[0] / self.boundary[0]


def zone_of(worst: Sequence[Rows], eye: np.ndarray) -> Zone:
    """The zone of one attack on one model, from the worst case's runs and the `eye` eps of their images [N]."""
    smallest = smallest_eps_of(worst)
    if len(eye) != len(smallest):
        raise EngineError(f"the eye's eps of {len(eye)} images do not belong to {len(smallest)} rows")
    known = ~np.isnan(smallest)
    return Zone(smallest[known], eye[known])


# ---- as work


@dataclass(frozen=True)
class Looking:
    """Images of a split, known by the digest `images`."""

    dataset: str
    split: str
    indices: tuple[int, ...]
    images: str

    def canonical(self) -> dict[str, Any]:
        """An image looks the same in whatever folder it lies."""
        return {"images": self.images, "seen": SEEN}


def eyes_task(dataset: str, split: str, indices: Sequence[int]) -> Task:
    """The job that finds the eye's eps of those images; `eyes_of` reads it."""
    spec = Looking(dataset, split, tuple(indices), opened(dataset, split).digest_of(indices))
    return Task("eyes", spec, f"what the eye sees of {len(indices)} images of {dataset}/{split}", "cpu")


def eyes_of(payload: Payload) -> np.ndarray:
    """The eye's eps of every image, float [N]."""
    return payload.arrays["eye"]


@kind("eyes", Looking, reads=eyes_of)
def _eyes(looking: Looking, bench: Bench) -> Generator[None, None, Payload]:
    data, found = opened(looking.dataset, looking.split), []
    if data.digest_of(looking.indices) != looking.images:
        raise EngineError("the images have changed since this was asked for; ask for it again")
    for start in range(0, len(looking.indices), PORTION):
        bench.progress.report(start / len(looking.indices), "what the eye sees")
        found += [eye_eps(image) for image in data.images(looking.indices[start:start + PORTION])]
        yield
    return Payload({}, {"eye": np.array(found)})
