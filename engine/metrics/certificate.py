"""What votes on noisy copies of an image prove: a radius within which no change of it moves the majority.

After Cohen, Rosenfeld and Kolter 2019 (CERTIFY): a first few draws choose a class, and others bound its share from
below (Clopper and Pearson 1934). Does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtri

from engine.errors import EngineError

ABSTAINED = -1  # the class of an image of which nothing is proven


def fewest_draws(alpha: float) -> int:
    """How many draws prove anything at all at confidence 1 - `alpha`, all of them for one class."""
    return math.floor(math.log(alpha) / math.log(0.5)) + 1


def least_share(counted: np.ndarray, of: int, alpha: float) -> np.ndarray:
    """What the true share is at least, with confidence 1 - `alpha`, where `counted` of `of` were seen: the one-sided
    bound of Clopper and Pearson. 0 where nothing was counted."""
    counted = np.asarray(counted, np.float64)
    some = np.maximum(counted, 1)
    return np.where(counted > 0, betaincinv(some, of - some + 1, alpha), 0.0)


@dataclass(frozen=True)
class Certificate:
    """Of each image the class that is proven, int64 [N], or ABSTAINED, the L2 radius within which it holds, 0 where
    nothing does, and the share of votes, at least, that it rests on."""

    classes: np.ndarray
    radii: np.ndarray
    shares: np.ndarray

    def accuracy(self, labels: np.ndarray, radii: Sequence[float]) -> list[float]:
        """The certified accuracy at each radius: of how many images the true class is proven at least that far."""
        right = self.classes == np.asarray(labels)
        return [float(np.mean(right & (self.radii >= radius))) for radius in radii]

    @property
    def abstained(self) -> np.ndarray:
        """Of which images nothing is proven, bool [N]."""
        return self.classes == ABSTAINED


def check(sigma: float, alpha: float, choosing: int, counting: int) -> None:
    """Raises EngineError where so many draws cannot prove anything, whatever they say."""
    if not 0 < sigma < math.inf:
        raise EngineError(f"a certificate needs noise; choose a sigma above 0, not {sigma:g}")
    if not 0 < alpha < 0.5:
        raise EngineError(f"alpha, the risk that a certificate is wrong, must lie between 0 and 0.5, not {alpha:g}")
    if counting < (fewest := fewest_draws(alpha)) or choosing < 1:
        raise EngineError(f"{counting} draws prove nothing at alpha {alpha:g}, whatever they say; take at least "
                          f"{fewest} to count, and one to choose the class")


def certificate(chosen: np.ndarray, counted: np.ndarray, sigma: float, alpha: float = 0.001) -> Certificate:
    """What is proven with confidence 1 - `alpha`, an image each, by votes under noise of deviation `sigma`: those by
    which the class is `chosen` and, of other draws, those `counted`, int [N, K] each. Raises EngineError."""
    chosen, counted = np.asarray(chosen), np.asarray(counted)
    if chosen.shape != counted.shape or chosen.ndim != 2:
        raise EngineError(f"votes must be [N, K] twice, not {list(chosen.shape)} and {list(counted.shape)}")
    if len(counted) == 0:
        return Certificate(np.empty(0, np.int64), np.empty(0), np.empty(0))
    draws = int(counted[0].sum())
    check(sigma, alpha, int(chosen[0].sum()), draws)
    leading = chosen.argmax(axis=1)
    shares = least_share(counted[np.arange(len(counted)), leading], draws, alpha)
    proven = shares > 0.5
    radii = np.where(proven, sigma * ndtri(np.where(proven, shares, 0.5)), 0.0)
    return Certificate(np.where(proven, leading, ABSTAINED), radii, shares)
