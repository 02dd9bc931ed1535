"""The lines of curves: what is drawn of runs that differ in eps alone, and what is said of them. Pure functions; no
torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS, Norm
from engine.attacks.rows import Rows
from engine.experiments.defended import front_title
from engine.experiments.epsilon.curve import by_halving, eps_of, lines_of, recalls, rises, spent
from engine.experiments.epsilon.eyes import Zone
from engine.experiments.epsilon.ladder import ASSUMED, WORST
from engine.experiments.evaluation.evaluate import AFTER, scores
from engine.metrics.rates import Estimate, share
from engine.wording import percent

if TYPE_CHECKING:
    import pandas

ACCURACY, AUC = "Accuracy", "AUC"
RECALL = "Recall of "


@dataclass(frozen=True, eq=False)
class Line:
    """The runs of one attack on one model with one seed, in ascending order of eps, under a name that tells them from
    the other lines; `number` gives them a colour."""

    name: str
    runs: tuple[Rows, ...]
    number: int

    @property
    def norm(self) -> Norm:
        return NORMS[self.runs[0].spec.norm]

    @property
    def shown(self) -> list[float]:
        """Every eps as people read it."""
        return [eps_of(rows) * self.norm.factor for rows in self.runs]

    @property
    def rising(self) -> list[int]:
        """The places at which accuracy has risen since the one before."""
        found = {id(rise.after) for rise in rises(self.runs)}
        return [place for place, rows in enumerate(self.runs) if id(rows) in found]


def lines(runs: Sequence[Rows]) -> list[Line]:
    """Every line under its name: as much as is needed to tell it from the others."""
    found = lines_of(runs)
    firsts = [line[0] for line in found]
    several = {what: len({get(rows) for rows in firsts}) > 1 for what, get in _PARTS.items()}
    several["front"] = any(rows.spec.defenses for rows in firsts)
    return [Line(", ".join([_PARTS["attack"](line[0]),
                            *(_PARTS[what](line[0]) for what in ("front", "model", "seed") if several[what])]),
                 tuple(line), number) for number, line in enumerate(found)]


_PARTS = {
    "attack": lambda rows: ATTACKS[rows.spec.attack].info.title,
    "front": lambda rows: front_title(rows.spec),
    "model": lambda rows: rows.provenance.model,
    "seed": lambda rows: f"seed {rows.spec.seed}",
}


def measured(rows: Rows, measure: str) -> Estimate:
    """ACCURACY, AUC, or RECALL with a class's name."""
    if measure == ACCURACY:
        return share(int((rows.predicted_adversarial == rows.labels).sum()), len(rows.labels))
    if measure == AUC:
        return scores(rows, AFTER).scores["auc"].macro
    return recalls(rows)[measure.removeprefix(RECALL)]


def measures(classes: Sequence[str]) -> list[str]:
    """All there are for these classes."""
    return [ACCURACY, *(RECALL + name for name in classes), AUC]


# ---- in words


def size(norm: Norm, eps: float) -> str:
    """An eps for people, with three digits."""
    return norm.text(eps, ".3g")


def sentence(line: Line, zone: Zone | None) -> str:
    """What the worst case means, for who treats patients."""
    worst, name = line.runs[-1], line.name
    attacked, fooled = int(worst.attacked.sum()), int(worst.success.sum())
    if not attacked:
        return f"{name}: the model read none of these {len(worst.labels)} images correctly, so nothing could flip."
    said = (f"{name}: of the {attacked} images that the model read correctly, {fooled} are flipped within "
            f"{size(line.norm, eps_of(worst))}")
    half = next((rows for rows in line.runs if 2 * int(rows.success.sum()) >= attacked), None)
    said += "; half of them hold." if half is None else \
        f", half of them at {size(line.norm, eps_of(half))} already."
    return said if zone is None else f"{said} {danger(line, zone)}"


def danger(line: Line, zone: Zone) -> str:
    """The zone between the model's boundary and the eye's, as a number."""
    if zone.share is None or zone.seen is None:
        return ""
    low, high = zone.interval
    words = (f"{zone.unseen} of {zone.of} flip before the eye would see anything ({percent(zone.share)}, 95 % "
             f"interval {percent(low)} to {percent(high)}): it sees a change from about "
             f"{size(line.norm, zone.seen[0])} on")
    if zone.times is not None and zone.times > 1:
        words += f", {zone.times:.2g} times what half of the images need"
    return f"{words}."


def explained(line: Line) -> list[str]:
    """Every rise of accuracy, and why that is not the model's doing."""
    return [f"{rise}. This is the attack's doing, not the model's: in the worst case it cannot happen."
            for rise in rises(line.runs)]


def assumption(by_reading: Mapping[str, Sequence[Line]]) -> str:
    """What lines by reading take for granted, as a sentence; or nothing."""
    runs = (rows for shown in by_reading.values() for line in shown for rows in line.runs)
    return f"The worst case is {ASSUMED}." if by_reading.keys() == {WORST} and by_halving(runs) else ""


def saved(line: Line) -> str:
    """What one gradient for all, or halving, has saved, of what as many runs of their own would have spent."""
    found = spent(line.runs)
    if found.gradients >= found.naive_gradients:
        return ""
    of_gradients, of_passes = (percent(some / naive) for some, naive in (
        (found.gradients, found.naive_gradients), (found.passes, found.naive_passes)))
    return (f"{line.name}: spent {found.gradients:,} gradients instead of the {found.naive_gradients:,} of separate "
            f"runs ({of_gradients}); of all passes through the network, the verdicts among them, {of_passes}.")


def histogram(zone: Zone, labels: np.ndarray, rungs: Sequence[float]) -> list[list[int]]:
    """How many images of each class (0 to the highest of `labels`) are flipped first at each of `rungs`, and in the
    last place how many at none."""
    bins = [*rungs, np.inf]
    return [[int(((zone.smallest == eps) & (labels == label)).sum()) for eps in bins]
            for label in range(int(labels.max(initial=-1)) + 1)]


# ---- as tables


def curves_table(lines: Sequence[Line], measure: str) -> pandas.DataFrame:
    """What is drawn of `measure` against eps."""
    import pandas

    rows = [(line.name, shown / line.norm.factor, found.value, found.low, found.high, len(rows.labels))
            for line in lines for shown, rows in zip(line.shown, line.runs, strict=True)
            for found in [measured(rows, measure)]]
    return pandas.DataFrame(rows, columns=["line", "eps", measure.lower(), "low", "high", "n"])


def zone_table(line: Line, known: Zone) -> pandas.DataFrame:
    """How many images are flipped within each eps, and on how many the eye would see that much."""
    import pandas

    eps = [value / line.norm.factor for value in line.shown]
    return pandas.DataFrame({"eps": eps, "flipped": [int((known.smallest <= one).sum()) for one in eps],
                         "seen": [int((known.eye <= one).sum()) for one in eps], "of": known.of})


def smallest_table(line: Line, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> pandas.DataFrame:
    """What is drawn of `histogram`."""
    import pandas

    columns = {name: list(values) for name, values in zip(classes, counts, strict=False)}
    return pandas.DataFrame({"eps": [*(value / line.norm.factor for value in line.shown), float("inf")], **columns})
