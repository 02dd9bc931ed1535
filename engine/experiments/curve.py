"""Accuracy against epsilon, for one attack or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from engine.attacks.norms import NORMS, Norm
from engine.attacks.spec import AttackSpec
from engine.data.base import Dataset
from engine.experiments.evaluate import evaluate
from engine.progress import Progress
from engine.zoo.classifier import Classifier

if TYPE_CHECKING:
    import pandas

    from engine.attacks.batch import Memory


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


def curve(dataset: Dataset, indices: list[int], model: Classifier, attacks: Sequence[AttackSpec], eps: Sequence[float],
          *, device: str = "auto", progress: Progress | None = None, memory: Memory | None = None) -> Curve:
    """Run every attack at every eps; raises EngineError and Cancelled."""
    progress = progress or Progress()
    values = sorted(set(eps))
    points: list[Point] = []
    clean = 0.0
    warned: list[tuple[str, ...]] = []
    runs = [(spec, value) for spec in attacks for value in values]
    for number, (spec, value) in enumerate(runs):
        part = progress.part(number / len(runs), (number + 1) / len(runs))
        result = evaluate(dataset, indices, model, replace(spec, eps=value), device=device, progress=part,
                          memory=memory)
        warned.append(result.warnings)
        facts = result.summary()
        clean = facts["accuracy_clean"]
        points.append(Point(spec.attack, value, facts["accuracy_adversarial"], facts["accuracy_adversarial_8bit"],
                            facts["success_rate"], facts["l2_mean"], facts["seconds"]))
    return Curve(dataset.info.name, dataset.split, model.name, len(indices), clean, tuple(points),
                 (*_in_all(warned),
                  *_contradictions(points, len(indices), {spec.attack: NORMS[spec.norm] for spec in attacks})))


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
