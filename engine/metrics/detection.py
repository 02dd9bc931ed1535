"""How well a score tells attacked images from clean ones. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.errors import EngineError

ALARMS = (0.01, 0.05)  # the shares of clean images that may be refused at which detectors are compared


@dataclass(frozen=True)
class Detection:
    """The ROC curve of a score: at each threshold the share of clean images refused and that of attacked ones, both
    from 0 to 1, and the area below, 0.5 where the score tells nothing."""

    false_alarms: np.ndarray
    caught: np.ndarray
    area: float

    def caught_at(self, alarms: float) -> float:
        """The share of attacked images refused where no more than `alarms` of the clean ones are."""
        return float(self.caught[self.false_alarms <= alarms].max())


def detection(clean: np.ndarray, attacked: np.ndarray) -> Detection:
    """The ROC of scores [N] of clean images and [M] of attacked ones, higher where an attack is suspected. Raises
    EngineError."""
    from sklearn.metrics import auc, roc_curve

    clean, attacked = np.asarray(clean, np.float64), np.asarray(attacked, np.float64)
    if not len(clean) or not len(attacked):
        raise EngineError("a detector is judged by clean and by attacked images; there are none of one kind")
    scores = np.concatenate([clean, attacked])
    if not np.isfinite(scores).all():
        raise EngineError("a detector's score is not finite for some images; it cannot be judged by them")
    false_alarms, caught, _ = roc_curve(np.repeat([0, 1], [len(clean), len(attacked)]), scores)
    return Detection(false_alarms, caught, float(auc(false_alarms, caught)))
