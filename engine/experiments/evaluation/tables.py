"""An evaluation as tables, for spreadsheets and papers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.attacks.rows import Rows
from engine.experiments.evaluation.evaluate import (
    AFTER,
    BEFORE,
    SIDES,
    TITLES,
    Standing,
    accuracy,
    groups,
    matrix,
    scores,
    success,
)
from engine.metrics.rates import Estimate

if TYPE_CHECKING:
    import pandas

MACRO, WEIGHTED = "(macro)", "(weighted)"


def run_of(rows: Rows) -> dict[str, Any]:
    """What tells a run from the others."""
    spec = rows.spec
    return {"model": rows.provenance.model, "defense": spec.defenses,
            "attacker": spec.attacker if spec.defenses else "", "attack": spec.attack, "eps": spec.eps,
            "norm": spec.norm, "seed": spec.seed}


def overview(runs: Sequence[Rows], means: bool = True) -> pandas.DataFrame:
    """A row a run: accuracy before and after, success, and the `means` over the classes after, with their intervals."""
    import pandas

    return pandas.DataFrame([_overview(rows, means) for rows in runs])


def _overview(rows: Rows, means: bool) -> dict[str, Any]:
    macro = {metric: score.macro for metric, score in scores(rows, AFTER).scores.items()} if means else {}
    return {**run_of(rows), "n": len(rows.labels), **_spread("accuracy_clean", accuracy(rows, BEFORE)),
            **_spread("accuracy_adversarial", accuracy(rows, AFTER)),
            **_spread("success_rate", success(rows).of_attacked),
            **{name: value for metric, one in macro.items()
               for name, value in _spread(f"{metric}_macro_adversarial", one).items()}}


def _spread(name: str, one: Estimate) -> dict[str, float | None]:
    return {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}


def scores_table(runs: Sequence[Rows]) -> pandas.DataFrame:
    """A row a run, side (before, after) and class, the last two the means: every score with its interval."""
    import pandas

    return pandas.DataFrame([row for rows in runs for side in (BEFORE, AFTER) for row in _scores(rows, side)])


def _scores(rows: Rows, side: str) -> Iterator[dict[str, Any]]:
    found = scores(rows, side)
    for k, name in enumerate((*rows.classes, MACRO, WEIGHTED)):
        mean = k >= len(rows.classes)
        counts = {"images": len(rows.labels) if mean else found.support[k], "said": None if mean else found.said[k]}
        each = {metric: score.all[k] for metric, score in found.scores.items()}
        yield {**run_of(rows), "when": SIDES[side].title, "class": name, **counts,
               **{key: value for metric in TITLES for key, value in _spread(metric, each[metric]).items()}}


def confusion_table(runs: Sequence[Rows]) -> pandas.DataFrame:
    """A row a run, side and cell of its matrix: how many images, in percent of those that show the class, and of those
    said to."""
    import pandas

    return pandas.DataFrame([row for rows in runs for side in (BEFORE, AFTER) for row in _cells(rows, side)])


def _cells(rows: Rows, side: str) -> Iterator[dict[str, Any]]:
    found = matrix(rows, side)
    whole, by_row, by_column = found.whole, found.by_row(), found.by_column()
    for shows, name in enumerate(found.classes):
        for says, column in enumerate(found.columns):
            yield {**run_of(rows), "when": SIDES[side].title, "shows": name, "says": column,
                   "images": int(whole[shows, says]), "percent_of_row": by_row[shows, says],
                   "percent_of_column": by_column[shows, says]}


def groups_table(runs: Sequence[Rows], subgroups: Mapping[str, Sequence[str]]) -> pandas.DataFrame:
    """A row a run and subgroup: accuracy before and after, and success, with their intervals. `subgroups` are the names
    of the images' groups, image by image, for each way of grouping them."""
    import pandas

    return pandas.DataFrame([
        {**run_of(rows), "grouping": name, "group": one.name, "n": one.n, **_spread("accuracy_clean", one.before),
         **_spread("accuracy_adversarial", one.after), **_spread("success_rate", one.success)}
        for rows in runs for name, names in subgroups.items() for one in groups(rows, names)])


def standings_table(ranked: Sequence[Standing], images: Mapping[str, str]) -> pandas.DataFrame:
    """A row an image, in the order of `standings`: in how many runs it was attacked, and fooled. `images` are the
    images' names by their identities."""
    import pandas

    return pandas.DataFrame({"image": [images[one.image] for one in ranked],
                             **{name: [getattr(one, name) for one in ranked]
                                for name in ("attacked", "fooled", "margin")}})
