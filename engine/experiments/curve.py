"""Accuracy against epsilon, for one attack or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from engine.attacks.norms import NORMS, Norm
from engine.attacks.rows import Rows
from engine.errors import EngineError

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Point:
    """One attack at one eps ([0,1]); accuracies over all images, success over those classified correctly before."""

    attack: str
    eps: float
    accuracy: float
    accuracy_8bit: float
    success_rate: float | None
    l2_mean: float
    seconds: float


@dataclass(frozen=True)
class Curve:
    """Points in the order attack, eps; `warnings` say what every run warned of, and where numbers contradict theory."""

    dataset: str
    split: str
    model: str
    n: int
    accuracy_clean: float
    points: tuple[Point, ...]
    warnings: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    def table(self) -> pandas.DataFrame:
        """One row a point, for spreadsheets."""
        import pandas

        return pandas.DataFrame([asdict(point) for point in self.points])


def curve_of(dataset: str, split: str, model: str, runs: Sequence[Rows]) -> Curve:
    """The curve through `runs` of one model on the same images, a point each, in the order attack, eps."""
    points = [_point(rows) for rows in runs]
    total = len(runs[0].labels)
    norms = {rows.spec.attack: NORMS[rows.spec.norm] for rows in runs}
    return Curve(dataset, split, model, total, runs[-1].summary()["accuracy_clean"], tuple(points),
                 (*_in_all([rows.warnings for rows in runs]), *_contradictions(points, total, norms)))


def _point(rows: Rows) -> Point:
    facts, eps = rows.summary(), rows.spec.eps
    if eps is None:
        raise EngineError(f"{rows.spec.attack} has no eps, and so no curve")
    return Point(rows.spec.attack, eps, facts["accuracy_adversarial"], facts["accuracy_adversarial_8bit"],
                 facts["success_rate"], facts["l2_mean"], facts["seconds"])


def _in_all(warned: Sequence[Sequence[str]]) -> list[str]:
    """What every run warned of: it concerns the model, not a budget."""
    return [line for line in warned[0] if all(line in others for others in warned)] if warned else []


def _contradictions(points: Sequence[Point], n: int, norms: Mapping[str, Norm]) -> Iterator[str]:
    """Accuracy that rises with eps by more than one image: the attack, not the model, is at fault."""
    for before, after in pairwise(points):
        if before.attack == after.attack and (after.accuracy - before.accuracy) * n > 1.5:
            text = norms[after.attack].text
            yield (f"{after.attack}: accuracy rises from {before.accuracy:.1%} at eps {text(before.eps)} to "
                   f"{after.accuracy:.1%} at {text(after.eps)}; larger steps overshoot, use more steps")
