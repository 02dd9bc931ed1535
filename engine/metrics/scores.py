"""Every score of a classifier's answers, per class, macro and weighted, each with its 95 % interval.

Values are scikit-learn's. An answer of -1 is a refusal, neither right nor a class: it is a miss for recall, no answer
for precision, and no true negative for specificity; the AUC is of the images that got an answer. 0/0 counts as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_fscore_support, recall_score, roc_auc_score

from engine.metrics.rates import Estimate, interval, share
from engine.metrics.resampling import areas, draws, middle


@dataclass(frozen=True)
class Score:
    """One score of every class, and its means over the classes that occur: plain, and by how often each occurs."""

    classes: tuple[Estimate, ...]
    macro: Estimate
    weighted: Estimate

    @property
    def all(self) -> tuple[Estimate, ...]:
        """Of the classes, and then the means."""
        return (*self.classes, self.macro, self.weighted)


@dataclass(frozen=True)
class Scores:
    """Of `n` images, `refused` of which got no answer. `support` images show each class, and of so many it is `said`;
    `scores` are by name: precision, recall, specificity, f1, auc."""

    n: int
    refused: int
    accuracy: Estimate
    support: tuple[int, ...]
    said: tuple[int, ...]
    scores: Mapping[str, Score]


def scores(labels: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray) -> Scores:
    """The scores of the answers `predicted` [N] and `probabilities` [N, K] about images that show `labels` [N]."""
    cells = _cells(labels, predicted, probabilities.shape[1])
    counts = _Counts(cells.sum(axis=0, keepdims=True))
    again = _Counts((draws(len(labels)).astype(np.float32) @ cells.reshape(len(labels), -1).astype(np.float32))
                    .reshape(-1, *cells.shape[1:]).astype(np.int64))
    found = {name: _score(name, values, counts, again) for name, values in _values(labels, predicted, counts).items()}
    return Scores(len(labels), int((predicted < 0).sum()), share(int((labels == predicted).sum()), len(labels)),
                  tuple(counts.support[0].tolist()), tuple(counts.said[0].tolist()),
                  {**found, "auc": _auc(labels, probabilities, predicted >= 0)})


def _cells(labels: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """Which cell of the confusion matrix each image is in, bool [N, K, K + 1]; the last column is of those refused."""
    cells = np.zeros((len(labels), count, count + 1), bool)
    cells[np.arange(len(labels)), labels, np.where(predicted < 0, count, predicted)] = True
    return cells


class _Counts:
    """What is counted of confusion matrices [B, K, K + 1], each [B, K]."""

    def __init__(self, matrices: np.ndarray) -> None:
        answered = matrices[:, :, :-1]
        everything = matrices.sum(axis=(1, 2))[:, None]
        self.right = np.einsum("bkk->bk", answered)
        self.support, self.said = matrices.sum(axis=2), answered.sum(axis=1)
        self.others = everything - self.support
        self.kept_out = answered.sum(axis=(1, 2))[:, None] - self.said - answered.sum(axis=2) + self.right
        self.present = (self.support > 0) | (self.said > 0)

    def of(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A score of every class as a fraction."""
        return {"precision": (self.right, self.said), "recall": (self.right, self.support),
                "specificity": (self.kept_out, self.others), "f1": (2 * self.right, self.said + self.support)}[name]


def _values(labels: np.ndarray, predicted: np.ndarray, counts: _Counts) -> dict[str, list[float]]:
    """Scores of every class, by scikit-learn."""
    known = np.arange(counts.support.shape[1])
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, labels=known, zero_division=0.0)
    kept_out = [recall_score(labels != k, (predicted != k) & (predicted >= 0), zero_division=0.0) for k in known]
    return {"precision": precision.tolist(), "recall": recall.tolist(), "specificity": kept_out, "f1": f1.tolist()}


def _score(name: str, values: Sequence[float], counts: _Counts, again: _Counts) -> Score:
    over, under = again.of(name)
    drawn = np.divide(over, under, out=np.zeros(over.shape), where=under > 0)
    if name == "f1":
        classes = [_estimate(value, drawn[:, k]) for k, value in enumerate(values)]
    else:
        counted = zip(values, *(side[0].tolist() for side in counts.of(name)), strict=True)
        classes = [Estimate(value, *interval(some, of)) for value, some, of in counted]
    return Score(tuple(classes), *(_mean(np.array(values)[None], drawn, weights(counts), weights(again))
                                   for weights in (lambda c: c.present, lambda c: c.support)))


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    return Estimate(float(value), *(middle(drawn) or (float(value), float(value))))


def _mean(values: np.ndarray, drawn: np.ndarray, weights: np.ndarray, drawn_weights: np.ndarray) -> Estimate:
    """The mean of a score over the classes, [1, K] and in resamples [B, K]."""
    value, = _weighted(values, weights)
    return _estimate(value, _weighted(drawn, drawn_weights))


def _weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means [B] over the classes; what is not defined (NaN) is left out."""
    known = np.isfinite(values) & (weights > 0)
    whole = np.where(known, weights, 0).sum(axis=1)
    return np.divide(np.where(known, values * weights, 0).sum(axis=1), whole, out=np.full(len(values), np.nan),
                     where=whole > 0)


def _auc(labels: np.ndarray, probabilities: np.ndarray, answered: np.ndarray) -> Score:
    """One class against the rest; not defined for a class that all of the answered images show, or none."""
    labels, probabilities = labels[answered], probabilities[answered]
    support = np.bincount(labels, minlength=probabilities.shape[1])
    defined = np.flatnonzero((support > 0) & (support < len(labels)))
    if not len(defined):
        return Score((Estimate(),) * len(support), Estimate(), Estimate())
    again = draws(len(labels))
    values, drawn = np.full(len(support), np.nan), np.full((len(again), len(support)), np.nan)
    for k in defined:
        values[k] = roc_auc_score(labels == k, probabilities[:, k])
        drawn[:, k] = areas(again, probabilities[:, k], labels == k)
    classes = tuple(_estimate(value, drawn[:, k]) if np.isfinite(value) else Estimate()
                    for k, value in enumerate(values))
    ones, often = np.ones((1, len(support))), support[None]
    return Score(classes, _mean(values[None], drawn, ones, ones), _mean(values[None], drawn, often, often))
