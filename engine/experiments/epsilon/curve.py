"""Accuracy against epsilon, for attacks, models and seeds; everything is a function of rows. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from engine import digest
from engine.attacks.base import Cost
from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows, troubles
from engine.attacks.spec import attack_of, cost_of
from engine.errors import EngineError
from engine.experiments import defended
from engine.experiments.epsilon.ladder import ASSUMED, INDEPENDENT, WORST
from engine.experiments.onepicture.pace import passes
from engine.metrics.rates import Estimate, interval, share

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Point:
    """One attack on one model at one eps ([0,1]). Accuracies are over all images, `low` and `high` the 95 % interval of
    the first; success is over those classified correctly before; `recall` is by class, None where it never occurs.
    `queries` and `gradients` are what was spent for this point on all images, `defended` is what is said besides of a
    model behind defenses."""

    attack: str
    eps: float
    accuracy: float
    accuracy_8bit: float
    success_rate: float | None
    l2_mean: float
    seconds: float
    low: float
    high: float
    model: str
    seed: int
    n: int
    recall: Mapping[str, float | None]
    auc: float | None
    queries: int
    gradients: int
    defended: Mapping[str, Any]

    def facts(self) -> dict[str, Any]:
        """JSON-able."""
        known = asdict(self)
        return known.pop("defended") | known


@dataclass(frozen=True)
class Rise:
    """An accuracy that rises with eps by more than one image, between two neighbouring runs."""

    before: Rows
    after: Rows

    def __str__(self) -> str:
        norm, spec = NORMS[self.after.spec.norm], self.after.spec
        low, high = (accuracy(rows) for rows in (self.before, self.after))
        return (f"{spec.attack}{defended.behind(spec)}: accuracy rises from {low:.1%} at eps "
                f"{norm.text(eps_of(self.before))} to {high:.1%} at {norm.text(eps_of(self.after))}; larger steps "
                "overshoot, use more steps")


@dataclass(frozen=True)
class Curve:
    """Points in the order of the runs; `warnings` say what every run warned of, and where numbers contradict theory;
    `assumed` what the reading takes for granted ("": nothing)."""

    dataset: str
    split: str
    model: str
    n: int
    accuracy_clean: float
    points: tuple[Point, ...]
    warnings: tuple[str, ...]
    reading: str
    assumed: str

    def summary(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "points": [point.facts() for point in self.points]}

    def table(self) -> pandas.DataFrame:
        """One row a point, for spreadsheets."""
        return table_of(self.points)


def table_of(points: Sequence[Point]) -> pandas.DataFrame:
    """One row a point, a column a class for the recalls."""
    import pandas

    rows = [replace(point, recall={}).facts() for point in points]
    shares = [{f"recall_{name}": value for name, value in point.recall.items()} for point in points]
    return pandas.DataFrame([{**row, **own} for row, own in zip(rows, shares, strict=True)]).drop(columns="recall")


def curve_of(dataset: str, split: str, model: str, runs: Sequence[Rows], reading: str = INDEPENDENT) -> Curve:
    """The curve through `runs` on the same images, a point each, in their order. `model` names the models."""
    points = tuple(point_of(rows) for rows in runs)
    halved = reading == WORST and by_halving(runs)
    return Curve(dataset, split, model, len(runs[0].labels), _accuracy(runs[0].predicted_clean, runs[0].labels), points,
                 (*_in_all(runs), *map(str, rises(runs))), reading, ASSUMED if halved else "")


def point_of(rows: Rows) -> Point:
    """The numbers of one run; raises EngineError for an attack without eps."""
    facts = rows.summary()
    low, high = interval(int((rows.predicted_adversarial == rows.labels).sum()), len(rows.labels))
    return Point(rows.spec.attack, eps_of(rows), facts["accuracy_adversarial"], facts["accuracy_adversarial_8bit"],
                 facts["success_rate"], facts["l2_mean"], facts["seconds"], low, high, rows.provenance.model,
                 rows.spec.seed, len(rows.labels), {name: found.value for name, found in recalls(rows).items()},
                 auc_of(rows), int(rows.queries.sum()), int(rows.gradients.sum()), defended.facts(rows))


def eps_of(rows: Rows) -> float:
    """The budget of a run; raises EngineError where there is none."""
    if rows.spec.eps is None:
        raise EngineError(f"{rows.spec.attack} has no eps, and so no curve")
    return rows.spec.eps


def accuracy(rows: Rows) -> float:
    """Over all images, attacked."""
    return _accuracy(rows.predicted_adversarial, rows.labels)


def _accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    return float((predicted == labels).mean())


def recalls(rows: Rows) -> dict[str, Estimate]:
    """Of every class the share that is recognised when attacked; not defined where it never occurs."""
    own = {name: rows.predicted_adversarial[rows.labels == number] == number
           for number, name in enumerate(rows.classes)}
    return {name: share(int(right.sum()), len(right)) for name, right in own.items()}


def auc_of(rows: Rows) -> float | None:
    """Macro area under the ROC curve of the attacked images that got an answer; None where only one class occurs."""
    from engine.metrics.classification import auc  # half a second that a page's first drawing can do without

    answered = ~rows.refused_adversarial
    if not answered.any():
        return None
    return auc(softmax(rows.logits_adversarial[answered].astype(np.float64), axis=1), rows.labels[answered])


@dataclass(frozen=True)
class Spent:
    """What a line's runs have spent, and what as many separate runs would have (`naive_...`): gradients, and all passes
    through the network, those of the verdicts among them, in units of forward and backward."""

    gradients: int
    naive_gradients: int
    passes: float
    naive_passes: float


def spent(line: Sequence[Rows]) -> Spent:
    """Of runs that were made with one gradient for all, or by halving: the clean images are judged once, and what a try
    made of an image before and after rounding. Some verdicts of a straight attack are the same, and cost less still."""
    attack = attack_of(line[0].spec)
    images, cost = len(line[0].labels), cost_of(line[0].spec)
    gradients, queries = (sum(int(getattr(rows, name).sum()) for rows in line) for name in ("gradients", "queries"))
    tries = images * len(line) if attack.straight else sum(int((rows.queries > 0).sum()) for rows in line)
    return Spent(gradients, cost.gradients * images * len(line),
                 passes(Cost(gradients, queries), verdicts=images + 2 * tries), passes(cost) * images * len(line))


def by_halving(runs: Iterable[Rows]) -> bool:
    """Whether a worst case of these attacks, where it is all that was asked for, is found by halving: it is ASSUMED."""
    return not all(attack_of(rows.spec).straight for rows in runs)


def lines_of(runs: Sequence[Rows]) -> list[list[Rows]]:
    """The runs that differ in eps alone, in ascending order of it, in the order in which each line first occurs."""
    lines: dict[str, list[Rows]] = {}
    for rows in runs:
        origin = rows.provenance
        same = digest.of_spec({"model": (origin.model, origin.model_digest), **asdict(replace(rows.spec, eps=None))})
        lines.setdefault(same, []).append(rows)
    return [sorted(line, key=eps_of) for line in lines.values()]


def rises(runs: Sequence[Rows]) -> list[Rise]:
    """Where accuracy rises with eps by more than one image: the attack, not the model, is at fault."""
    return [Rise(before, after) for line in lines_of(runs) for before, after in pairwise(line)
            if len(before.labels) == len(after.labels)
            and (accuracy(after) - accuracy(before)) * len(after.labels) > 1.5]


def _in_all(runs: Sequence[Rows]) -> Iterator[str]:
    """What every run warned of: it concerns the model, not a budget. Gradients are counted over all runs together, as
    some may have used what another one asked for."""
    tallies = [rows.tally for rows in runs]
    zero, bad = (sum(getattr(tally, name) for tally in tallies) for name in ("zero_gradients", "bad_gradients"))
    yield from troubles(sum(int(rows.gradients.sum()) for rows in runs), zero, bad)
    warned = [replace(rows, tally=replace(rows.tally, zero_gradients=0, bad_gradients=0)).warnings for rows in runs]
    yield from (line for line in warned[0] if all(line in others for others in warned))
