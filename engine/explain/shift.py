"""How far a heatmap moved, and how much of it lies on a lesion."""

from dataclasses import dataclass

import numpy as np

from engine.errors import EngineError

HOTTEST = 0.2


@dataclass(frozen=True)
class CamShift:
    """What an attack did to a heatmap; every number is None where one of the two maps is the same everywhere.

    `correlation`: Pearson's, -1 to 1; `overlap`: intersection over union of the hottest 20 % of each, 0 to 1;
    `centre_distance`: between the two centres of heat, in pixels.
    """

    correlation: float | None
    overlap: float | None
    centre_distance: float | None


def cam_shift(before: np.ndarray, after: np.ndarray) -> CamShift:
    """How heatmap `after` differs from `before`, both [H,W] with values of at least 0."""
    _check_shapes(before, after)
    before, after = before.astype(np.float64), after.astype(np.float64)
    if np.ptp(before) == 0 or np.ptp(after) == 0:
        return CamShift(None, None, None)
    hot_before, hot_after = hottest(before), hottest(after)
    return CamShift(
        correlation=float(np.clip(np.corrcoef(before.ravel(), after.ravel())[0, 1], -1, 1)),
        overlap=float((hot_before & hot_after).sum() / (hot_before | hot_after).sum()),
        centre_distance=float(np.linalg.norm(_centre(before) - _centre(after))),
    )


def hottest(heat: np.ndarray, share: float = HOTTEST) -> np.ndarray:
    """Which pixels of a heatmap [H,W] belong to its hottest `share`, as bool [H,W].

    Those at or above the quantile and above the lowest value: fewer than `share` where most of it is at the lowest.
    """
    return (heat >= np.quantile(heat, 1 - share)) & (heat > heat.min())


def heat_on(mask: np.ndarray, heat: np.ndarray) -> float | None:
    """Share of the heat [H,W] that lies on the lesion `mask` [H,W] (bool, or weights from 0 to 1), 0 to 1.

    None where there is no heat or no lesion. Heat spread evenly scores the lesion's share of the picture.
    """
    _check_shapes(mask, heat)
    total = float(heat.sum(dtype=np.float64))
    if total <= 0 or not mask.any():
        return None
    return float((heat * mask).sum(dtype=np.float64) / total)


def _centre(heat: np.ndarray) -> np.ndarray:
    """Row and column of the centre of heat."""
    rows, columns = np.indices(heat.shape)
    return np.array([(rows * heat).sum(), (columns * heat).sum()]) / heat.sum()


def _check_shapes(first: np.ndarray, second: np.ndarray) -> None:
    if first.ndim != 2 or first.shape != second.shape:
        raise EngineError(f"two maps [H,W] of one size are compared, not {first.shape} with {second.shape}")
