"""In what one attack may be better than another: a number a picture, and how such numbers are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.attacks.rows import Rows
from engine.metrics.rates import interval


@dataclass(frozen=True)
class Measure:
    """`values` [N] of N attacked pictures, of which the greater is the better.

    `table` says what stands in a table's cells, which `pooled` writes of all networks' values together, and `own` of
    one network's; or of what is `shown` [N, ...] of the pictures, where the values do not tell enough.
    """

    table: str
    better: str
    values: Callable[[Rows], np.ndarray]
    pooled: Callable[[np.ndarray], str]
    own: Callable[[np.ndarray], str]
    shown: Callable[[Rows], np.ndarray] | None = None

    def cell(self, networks: list[Rows]) -> str:
        """What came out with all networks, together and one by one."""
        parts = list(map(self.shown or self.values, networks))
        together = self.pooled(np.concatenate(parts))
        return together if len(parts) == 1 else f"{together}: {', '.join(map(self.own, parts))}"


def _share(fooled: np.ndarray) -> str:
    low, high = interval(int(fooled.sum()), len(fooled))
    return f"{fooled.mean():.1%} ({low:.0%} to {high:.0%})"


def _mean_and_median(distances: np.ndarray) -> str:
    return f"{distances.mean():.3f} / {np.median(distances):.3f}"


def _nearness(rows: Rows) -> np.ndarray:
    """The L2 distance of what fools the model, below zero; -inf where nothing does."""
    return np.where(rows.success, -rows.l2, -np.inf)


FOOLED = Measure(
    table="how many are fooled, with the 95 % interval (Wilson)",
    better="fools more",
    values=lambda rows: rows.success.astype(float),
    pooled=_share,
    own=lambda fooled: f"{fooled.mean():.0%}",
)

NEARNESS = Measure(
    table="mean / median L2 distance of what fools the model",
    better="gets nearer",
    values=_nearness,
    pooled=lambda nearness: _mean_and_median(-nearness),
    own=lambda nearness: f"{-np.median(nearness):.3f}",
)

RIGHT = Measure(
    table="how many are still read correctly, with the 95 % interval (Wilson)",
    better="leaves more of them read correctly",
    values=lambda rows: (rows.predicted_adversarial == rows.labels).astype(float),
    pooled=_share,
    own=lambda right: f"{right.mean():.0%}",
)

# Behind noise most images at which an attacker ends do not fool: their distances tell what he believes he has reached.
FARNESS = Measure(
    table="mean / median L2 distance of the image at which the attacker ends, and with how many he fools the model as "
          "it is served; compared is the distance of what fools, which is infinite where nothing does",
    better="is kept farther away",
    values=lambda rows: -_nearness(rows),
    pooled=lambda ends: f"{_mean_and_median(ends[:, 0])} ({ends[:, 1].sum():.0f} of {len(ends)})",
    own=lambda ends: f"{np.median(ends[:, 0]):.3f}",
    shown=lambda rows: np.stack([rows.l2, rows.success], axis=1),
)
