"""An evaluation's figures for papers, as SVG and PNG, made without a browser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from engine.attacks.rows import Rows
from engine.experiments.evaluation.aloud import title
from engine.experiments.evaluation.evaluate import AFTER, BEFORE, SIDES, Matrix, accuracy, change, matrix

# Blue, white, vermilion, centred on white; and from white to blue.
_SIGNED = LinearSegmentedColormap.from_list("signed", ["#0072b2", "#ffffff", "#d55e00"])
_COUNTS = LinearSegmentedColormap.from_list("counts", ["#ffffff", "#0072b2"])
_BEFORE, _AFTER = "#56b4e9", "#e69f00"


def confusion(rows: Rows) -> Figure:
    """The matrices before and after on one scale of colour, in percent of a row, and the change between them."""
    before, after = (matrix(rows, side) for side in (BEFORE, AFTER))
    figure = Figure(figsize=(11, 0.9 + 0.8 * len(rows.classes)), layout="constrained")
    axes = figure.subplots(1, 3)
    for where, side, one in zip(axes, (BEFORE, AFTER), (before, after), strict=False):
        _matrix(where, one, one.by_row(), SIDES[side].title, _COUNTS, 0, 100, "d")
    moved = change(before, after)
    most = max(1, int(np.abs(moved.whole).max()))
    _matrix(axes[2], moved, moved.whole, "change", _SIGNED, -most, most, "+d")
    figure.suptitle(f"{title(rows)} on {rows.provenance.model}, {len(rows.labels)} images")
    return figure


def _matrix(axes: Axes, one: Matrix, colours: np.ndarray, name: str, scale: LinearSegmentedColormap, low: float,
            high: float, form: str) -> None:
    shown = np.nan_to_num(colours)
    axes.imshow(shown, cmap=scale, vmin=low, vmax=high)
    for (row, column), count in np.ndenumerate(one.whole):
        dark = abs(shown[row, column]) > 0.6 * max(abs(low), abs(high))
        axes.text(column, row, f"{count:{form}}" if count else "0", ha="center", va="center",
                  color="white" if dark else "black")
    axes.set_title(name)
    axes.set_xticks(range(len(one.columns)), one.columns, rotation=30, ha="right")
    axes.set_yticks(range(len(one.classes)), one.classes)
    axes.set_xlabel("the model says")
    axes.set_ylabel("the image shows")


def accuracies(runs: Sequence[Rows]) -> Figure:
    """Accuracy before and after each run, with its 95 % interval."""
    figure = Figure(figsize=(7, 0.8 + 0.4 * len(runs)), layout="constrained")
    axes = figure.subplots()
    for side, colour, shift in ((BEFORE, _BEFORE, -0.12), (AFTER, _AFTER, 0.12)):
        found = [accuracy(rows, side) for rows in runs]
        values = [one.value or 0.0 for one in found]
        spread = [[value - (one.low or 0.0) for one, value in zip(found, values, strict=True)],
                  [(one.high or 0.0) - value for one, value in zip(found, values, strict=True)]]
        axes.errorbar(values, np.arange(len(runs)) + shift, xerr=spread, fmt="o", color=colour, capsize=3,
                      label=SIDES[side].title)
    axes.set_yticks(range(len(runs)), [f"{rows.provenance.model}\n{title(rows)}, seed {rows.spec.seed}"
                                       for rows in runs], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("accuracy (95 % interval)")
    axes.legend()
    return figure
