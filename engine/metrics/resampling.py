"""How sure numbers are that are no plain shares: the same counted on images drawn again and again (Efron 1979)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

MOST, LEAST, SEED = 1000, 200, 0  # how many times; fewer where there are many images
_NUMBERS = 2_000_000
_AT_ONCE = 1_000_000  # numbers


@lru_cache(maxsize=4)
def draws(count: int, times: int | None = None, seed: int = SEED) -> np.ndarray:
    """How often each of `count` images is drawn when as many are drawn with replacement: int32 [times, count], the same
    for the same numbers."""
    times = min(MOST, max(LEAST, _NUMBERS // max(1, count))) if times is None else times
    random = np.random.default_rng(seed)
    drawn = np.empty((times, count), np.int32)
    for row in drawn:
        row[:] = np.bincount(random.integers(0, count, count), minlength=count)
    drawn.setflags(write=False)
    return drawn


def middle(values: np.ndarray) -> tuple[float, float] | None:
    """Between what the middle 95 % of resampled `values` lie; NaN is where one was not defined. None where none was."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def areas(weights: np.ndarray, scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """The area under the ROC curve of `scores` [N] for `positive` bool [N], for each row of `weights` [B, N]; NaN where
    one side is not there."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    step = max(1, _AT_ONCE // max(1, len(scores)))
    return np.concatenate([_areas(weights[at:at + step][:, order].astype(np.float64), positive[order], starts)
                           for at in range(0, len(weights), step)])


def _areas(weights: np.ndarray, positive: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """By the share of pairs that are ranked right, a tie counting half (Mann and Whitney 1947); `starts` is where each
    group of equal scores begins."""
    yes = np.add.reduceat(weights * positive, starts, axis=1)
    no = np.add.reduceat(weights * ~positive, starts, axis=1)
    won = (yes * (np.cumsum(no, axis=1) - 0.5 * no)).sum(axis=1)
    pairs = yes.sum(axis=1) * no.sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
