"""What is read from attacked images: how a model does before and after, and what an accuracy hides. No torch.

Everything is a function of rows. A refused image (predicted -1) is neither right nor of any class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from engine import digest
from engine.attacks.rows import Rows
from engine.data import Dataset
from engine.experiments import defended
from engine.metrics.calibration import Bin, calibration_error, reliability
from engine.metrics.rates import Estimate, interval, share

if TYPE_CHECKING:
    from engine.metrics.scores import Scores

# The scores that every class has, and what they are called.
TITLES = {"precision": "Precision", "recall": "Recall", "specificity": "Specificity", "f1": "F1", "auc": "AUC"}
REFUSED = "(refused)"  # the column of those that got no answer
BARS = 20  # of a confidence histogram


@dataclass(frozen=True)
class Side:
    """Which of the three answers to an image: before, after, or after saving with 8 bits."""

    name: str
    title: str
    logits: str
    refused: str


SIDES = {side.name: side for side in (
    Side("clean", "before", "logits_clean", "refused_clean"),
    Side("adversarial", "after", "logits_adversarial", "refused_adversarial"),
    Side("8bit", "after saving with 8 bits", "logits_8bit", "refused_8bit"),
)}
BEFORE, AFTER = "clean", "adversarial"


def said(rows: Rows, side: str) -> np.ndarray:
    """The classes [N] that the model says; -1 where it refused."""
    answers: np.ndarray = getattr(rows, f"predicted_{side}")
    return answers


def probabilities(rows: Rows, side: str) -> np.ndarray:
    """What the model gives every class [N, K], float64; NaN where it refused."""
    logits = getattr(rows, SIDES[side].logits).astype(np.float64)
    return np.where(getattr(rows, SIDES[side].refused)[:, None], np.nan, softmax(logits, axis=1))


# ---- confusion matrices


@dataclass(frozen=True, eq=False)
class Matrix:
    """How many images that show a class (row) were said to show another (column), int [K, K]; `refused` [K] of each
    class got no answer."""

    classes: tuple[str, ...]
    counts: np.ndarray
    refused: np.ndarray

    @property
    def columns(self) -> tuple[str, ...]:
        """What may be said of an image."""
        return (*self.classes, REFUSED) if self.refused.any() else self.classes

    @property
    def whole(self) -> np.ndarray:
        """The counts with a last column for the refused where there are any."""
        return np.column_stack([self.counts, self.refused]) if self.refused.any() else self.counts

    @property
    def shares(self) -> np.ndarray:
        """Of the images that show the class, from 0 to 1; 0 where none does."""
        return np.nan_to_num(self.by_row() / 100)

    def by_row(self) -> np.ndarray:
        """Percent of the images that show the class; NaN where none does."""
        return _percent(self.whole, (self.counts.sum(axis=1) + self.refused)[:, None])

    def by_column(self) -> np.ndarray:
        """Percent of the images said to show the class; NaN where none is."""
        return _percent(self.whole, self.whole.sum(axis=0)[None])


def _percent(counts: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.divide(100.0 * counts, of, out=np.full(counts.shape, np.nan), where=of > 0)


def matrix(rows: Rows, side: str) -> Matrix:
    """The confusion matrix before or after."""
    from sklearn.metrics import confusion_matrix

    known, answers = np.arange(len(rows.classes)), said(rows, side)
    refused = np.bincount(rows.labels[answers < 0], minlength=len(known))
    if refused.sum() == len(answers):  # scikit-learn wants an answer at least
        return Matrix(rows.classes, np.zeros((len(known), len(known)), int), refused)
    return Matrix(rows.classes, confusion_matrix(rows.labels, answers, labels=known), refused)


def change(before: Matrix, after: Matrix) -> Matrix:
    """What the attack took from each cell (negative) or brought there."""
    return Matrix(before.classes, after.counts - before.counts, after.refused - before.refused)


def cell(rows: Rows, side: str, shows: int, says: int) -> np.ndarray:
    """The numbers of the rows behind a cell of the matrix; `says` -1: those refused."""
    return np.flatnonzero((rows.labels == shows) & (said(rows, side) == says))


def flows(rows: Rows) -> np.ndarray:
    """How many predictions went from a class (row) to a class (column), int [K + 1, K + 1]; last are the refused."""
    count = len(rows.classes)
    ways = said(rows, BEFORE) % (count + 1) * (count + 1) + said(rows, AFTER) % (count + 1)
    moved: np.ndarray = np.bincount(ways, minlength=(count + 1) ** 2).reshape(count + 1, count + 1)
    return moved


# ---- scores


def accuracy(rows: Rows, side: str) -> Estimate:
    """The share of right answers."""
    return share(int((said(rows, side) == rows.labels).sum()), len(rows.labels))


def scores(rows: Rows, side: str) -> Scores:
    """Accuracy, and precision, recall, specificity, F1 and AUC, with their intervals; those asked for last are
    remembered."""
    from engine.metrics.scores import scores as all_scores

    answers, given = said(rows, side), probabilities(rows, side)
    key = digest.of_arrays(rows.labels, answers, given)
    found = _remembered.pop(key, None) or all_scores(rows.labels, answers, given)
    _remembered[key] = found
    for old in list(_remembered)[:-_MOST_REMEMBERED]:
        _remembered.pop(old, None)
    return found


_remembered: dict[str, Scores] = {}
_MOST_REMEMBERED = 500


@dataclass(frozen=True)
class Success:
    """Of `attacked` images, those classified correctly before, `fooled` went where the attacker wants them. Of all `n`,
    `there` are there in the end, some of which were before."""

    fooled: int
    attacked: int
    there: int
    n: int

    @property
    def of_attacked(self) -> Estimate:
        return share(self.fooled, self.attacked)

    @property
    def of_all(self) -> Estimate:
        return share(self.there, self.n)


def success(rows: Rows) -> Success:
    """How often the attack got what it wants, over the images that count and over all."""
    answers, target = rows.predicted_adversarial, rows.spec.target
    there = (answers != rows.labels) & (answers >= 0) if target is None else answers == target
    return Success(int(rows.success.sum()), int(rows.attacked.sum()), int(there.sum()), len(rows.labels))


# ---- confidence


@dataclass(frozen=True, eq=False)
class Confidence:
    """How sure the model is of its answers, before or after: the bins of the reliability diagram, the expected
    calibration error, and how many answers of each confidence (`edges` [B + 1]) are right and wrong, int [B]."""

    bins: tuple[Bin, ...]
    error: float | None
    mean: float | None
    edges: np.ndarray
    right: np.ndarray
    wrong: np.ndarray


def confidence(rows: Rows, side: str) -> Confidence:
    """Of the images that got an answer."""
    answered = said(rows, side) >= 0
    sure = probabilities(rows, side)[answered].max(axis=1) if answered.any() else np.zeros(0)
    right = said(rows, side)[answered] == rows.labels[answered]
    bins, edges = reliability(sure, right), np.linspace(0, 1, BARS + 1)
    return Confidence(bins, calibration_error(bins), float(sure.mean()) if len(sure) else None, edges,
                      *(np.histogram(sure[which], edges)[0] for which in (right, ~right)))


# ---- images over several runs


@dataclass(frozen=True)
class Standing:
    """How one image fared: attacked in so many runs, fooled in so many of them; `margin` is what its true class kept
    over the best other one after the attack, -1 to 1, on average over those runs."""

    image: str
    attacked: int
    fooled: int
    margin: float


def standings(runs: Sequence[Rows]) -> list[Standing]:
    """The images that were attacked in any of the runs, by their identities, the most robust first."""
    places = dict[str, int]()
    known: list[tuple[tuple[str, ...], np.ndarray]] = []
    for rows in runs:
        where = next((numbers for names, numbers in known if names == rows.identities), None)
        if where is None:
            where = np.array([places.setdefault(image, len(places)) for image in rows.identities])
        known.append((rows.identities, where))
    attacked, fooled, margin = np.zeros((3, len(places)))
    for rows, (_, where) in zip(runs, known, strict=True):
        for total, values in ((attacked, rows.attacked), (fooled, rows.success), (margin, _margins(rows))):
            total += np.bincount(where, values * rows.attacked, len(total))
    images = np.array(list(places))
    order = np.lexsort((images, -margin, np.divide(fooled, attacked, out=np.full(len(images), 2.0),
                                                   where=attacked > 0)))
    return [Standing(str(images[place]), int(attacked[place]), int(fooled[place]),
                     float(margin[place] / attacked[place]))
            for place in order if attacked[place]]


def alike(one: Rows, other: Rows) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the rows of both that are about the same images, image by image."""
    if one.identities == other.identities:  # as mostly
        every = np.arange(len(one.labels))
        return every, every
    places = {image: place for place, image in enumerate(one.identities)}
    both = [(places[image], place) for place, image in enumerate(other.identities) if image in places]
    return np.array([p for p, _ in both], int), np.array([p for _, p in both], int)


def _margins(rows: Rows) -> np.ndarray:
    """The true class's probability above that of the best other; 0 where the model refused."""
    given = probabilities(rows, AFTER)
    here = np.arange(len(given)), rows.labels
    others = given.copy()
    others[here] = -np.inf
    return np.nan_to_num(given[here] - others.max(axis=1))


# ---- subgroups


def subgroups(dataset: Dataset, indices: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """For each way in which the data group these images, the group of each ("": none)."""
    known = [dataset.groups(index) for index in indices]
    titles = dict.fromkeys(title for names in known for title in names)
    return {title: tuple(names.get(title, "") for names in known) for title in titles}


@dataclass(frozen=True)
class Group:
    """The images of one subgroup: accuracy before and after, and success over those classified correctly before."""

    name: str
    n: int
    before: Estimate
    after: Estimate
    success: Estimate


def groups(rows: Rows, names: Sequence[str]) -> list[Group]:
    """One for each of `names` [N], what group each image is in, by name; those in none ("") are left out."""
    of = np.array(names)
    return [_group(rows, name, of == name) for name in sorted(set(names) - {""})]


def _group(rows: Rows, name: str, inside: np.ndarray) -> Group:
    right = [int((said(rows, side) == rows.labels)[inside].sum()) for side in (BEFORE, AFTER)]
    total = int(inside.sum())
    return Group(name, total, share(right[0], total), share(right[1], total),
                 share(int(rows.success[inside].sum()), int(rows.attacked[inside].sum())))


# ---- the command line's contract, and tables


def summary(rows: Rows) -> dict[str, Any]:
    """One run's numbers, JSON-able: each score before and after, of every class and its means, with its intervals."""
    sides = {name: scores(rows, name) for name in (BEFORE, AFTER)}
    found = success(rows)
    before, after = (matrix(rows, side) for side in (BEFORE, AFTER))
    return {
        "model": rows.provenance.model, "attack": rows.spec.attack, "eps": rows.spec.eps, "norm": rows.spec.norm,
        "seed": rows.spec.seed, "defense": rows.spec.defenses, "classes": list(rows.classes), "n": len(rows.labels),
        **{f"accuracy_{name}": one.accuracy.value for name, one in sides.items()},
        **{f"accuracy_{name}_interval": [one.accuracy.low, one.accuracy.high] for name, one in sides.items()},
        "accuracy_adversarial_8bit": accuracy(rows, "8bit").value,
        "attacked": found.attacked, "success_rate": found.of_attacked.value,
        "success_interval": list(interval(found.fooled, found.attacked)), "success_rate_all": found.of_all.value,
        "confusion_clean": before.counts.tolist(), "confusion_adversarial": after.counts.tolist(),
        "refused_clean": before.refused.tolist(), "refused_adversarial": after.refused.tolist(),
        **{name: {side: _score_facts(one, name, rows.classes) for side, one in sides.items()}
           for name in sides[BEFORE].scores},
        "ece": {side: confidence(rows, side).error for side in sides},
        "flows": flows(rows).tolist(),
        "queries": int(rows.queries.sum()), "gradients": int(rows.gradients.sum()), "seconds": rows.seconds,
        **defended.facts(rows),
    }


def _score_facts(one: Scores, name: str, classes: Sequence[str]) -> dict[str, Any]:
    score = one.scores[name]
    found = {"classes": dict(zip(classes, score.classes, strict=True)), "macro": score.macro,
             "weighted": score.weighted}
    return {**_each(found, lambda it: it.value), "intervals": _each(found, lambda it: [it.low, it.high])}


def _each(found: Mapping[str, Any], read: Callable[[Estimate], object]) -> dict[str, Any]:
    return {name: _each(it, read) if isinstance(it, dict) else read(it) for name, it in found.items()}
