"""Whether a model is as often right as it is sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.metrics.rates import interval

BINS = 10


@dataclass(frozen=True)
class Bin:
    """The images whose answer has a confidence above `low` up to `high`: so many, so sure on average, so often right,
    the latter with its 95 % interval."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> tuple[Bin, ...]:
    """The bins of a reliability diagram that any image is in, of equal width; `confidence` is in [0,1]."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    places = np.searchsorted(edges[1:-1], confidence)
    return tuple(_bin(float(edges[place]), float(edges[place + 1]), confidence[inside], right[inside])
                 for place in range(bins) if (inside := places == place).any())


def _bin(low: float, high: float, confidence: np.ndarray, right: np.ndarray) -> Bin:
    return Bin(low, high, len(right), float(confidence.mean()), float(right.mean()),
               *interval(int(right.sum()), len(right)))


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """The expected calibration error (Guo et al. 2017): how far confidence and accuracy are apart, on average over the
    images. None of none."""
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.accuracy - one.confidence) for one in bins) / total if total else None
