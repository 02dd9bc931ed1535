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
    count = probabilities.shape[1]
    support, said = (np.bincount(numbers, minlength=count) for numbers in (labels, predicted[predicted >= 0]))
    present = (support > 0) | (said > 0)
    found = {name: Score(tuple(classes), _mean(classes, present), _mean(classes, support))
             for name, classes in _classes(labels, predicted, count).items()}
    return Scores(len(labels), int((predicted < 0).sum()), share(int((labels == predicted).sum()), len(labels)),
                  tuple(support.tolist()), tuple(said.tolist()),
                  {**found, "auc": _auc(labels, probabilities, predicted >= 0)})


def _classes(labels: np.ndarray, predicted: np.ndarray, count: int) -> dict[str, list[Estimate]]:
    """Every class's scores that are counted, by scikit-learn; their intervals are those of the shares that they are."""
    known = np.arange(count)
    shows, says = labels[:, None] == known, predicted[:, None] == known
    right, said, support = (shows & says).sum(axis=0), says.sum(axis=0), shows.sum(axis=0)
    kept_out = (predicted[:, None] >= 0) & ~says
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, labels=known, zero_division=0.0)
    specificity = [recall_score(~shows[:, k], kept_out[:, k], zero_division=0.0) for k in known]
    counted = {"precision": (precision, right, said), "recall": (recall, right, support),
               "specificity": (specificity, (~shows & kept_out).sum(axis=0), (~shows).sum(axis=0))}
    shares = {name: [Estimate(float(value), *interval(int(some), int(of)))
                     for value, some, of in zip(*columns, strict=True)] for name, columns in counted.items()}
    return {**shares, "f1": [_f1(float(value), int(some), int(of))
                             for value, some, of in zip(f1, right, said + support - right, strict=True)]}


def _f1(value: float, right: int, either: int) -> Estimate:
    """F1 is 2J / (1 + J), where J is the share of right answers among the images that show a class or are said to: so
    are the ends of its interval."""
    return Estimate(value, *(2 * end / (1 + end) for end in interval(right, either)))


def _mean(classes: Sequence[Estimate], weights: np.ndarray) -> Estimate:
    """The weighted mean over classes, with the interval that follows from theirs as if they were independent (the
    method of variance estimates recovery, Zou and Donner 2008): unlike that of resamples it does not vanish where all
    are 0 or 1."""
    values, lows, highs = np.array([(one.value, one.low, one.high) for one in classes], float).T
    parts = weights / weights.sum()
    value = float(parts @ values)
    down, up = (float(np.sqrt(((parts * (ends - values)) ** 2).sum())) for ends in (lows, highs))
    return Estimate(value, max(0.0, value - down), min(1.0, value + up))


def _auc(labels: np.ndarray, probabilities: np.ndarray, answered: np.ndarray) -> Score:
    """One class against the rest; not defined for a class that all of the answered images show, or none. The intervals
    are those of resamples."""
    labels, probabilities = labels[answered], probabilities[answered]
    support = np.bincount(labels, minlength=probabilities.shape[1])
    defined = np.flatnonzero((support > 0) & (support < len(labels)))
    if not len(defined):
        return Score((Estimate(),) * len(support), Estimate(), Estimate())
    again = draws(len(labels))
    values = np.array([roc_auc_score(labels == k, probabilities[:, k]) for k in defined])
    drawn = np.stack([areas(again, probabilities[:, k], labels == k) for k in defined], axis=1)
    classes = [Estimate()] * len(support)
    for place, k in enumerate(defined):
        classes[k] = _spread(values[place], drawn[:, place])
    often = support[defined] / support[defined].sum()
    return Score(tuple(classes), *(_spread(values @ parts, drawn @ parts)
                                   for parts in (np.full(len(defined), 1 / len(defined)), often)))


def _spread(value: float, drawn: np.ndarray) -> Estimate:
    return Estimate(float(value), *(middle(drawn) or (float(value), float(value))))
