"""An evaluation's figures for papers and reports, made without a browser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from engine.attacks.rows import Rows
from engine.experiments import plots
from engine.experiments.evaluation.aloud import title
from engine.experiments.evaluation.evaluate import (
    AFTER,
    BEFORE,
    REFUSED,
    SIDES,
    accuracy,
    change,
    confidence,
    flows,
    matrix,
    scores,
    success,
)
from engine.metrics.rates import Estimate

_LOOKS = {BEFORE: (plots.BEFORE, "o", -0.14), AFTER: (plots.AFTER, "D", 0.14)}


def confusion(rows: Rows) -> Figure:
    """The matrices before and after on one scale of colour, in percent of a row, and the change between them."""
    before, after = (matrix(rows, side) for side in (BEFORE, AFTER))
    moved = change(before, after)
    most = max(1, int(np.abs(moved.whole).max()))
    figure, axes = plots.panels(3, size=(11, 1.5 + 0.6 * len(rows.classes)))
    drawn = ((SIDES[BEFORE].title, before, before.by_row(), plots.AMOUNTS, 0, 100, "{:,}"),
             (SIDES[AFTER].title, after, after.by_row(), plots.AMOUNTS, 0, 100, "{:,}"),
             ("change", moved, moved.whole, plots.CHANGES, -most, most, "{:+,}"))
    for where, (name, one, colours, scale, low, high, form) in zip(axes[0], drawn, strict=True):
        texts = [[form.format(count) if count else "0" for count in row] for row in one.whole.tolist()]
        plots.grid(where, colours, texts, one.classes, one.columns, scale, low, high)
        where.set_title(name)
        where.set_xlabel("the model says")
    axes[0, 0].set_ylabel("the image shows")
    figure.suptitle(plots.shown(f"{title(rows)} on {rows.provenance.model}, {len(rows.labels)} images"))
    return figure


def accuracies(runs: Sequence[Rows]) -> Figure:
    """Accuracy before and after each run, and success, with their 95 % intervals."""
    figure, ((axes,),) = plots.panels(size=(7, 1.2 + 0.4 * len(runs)))
    for side, (colour, mark, shift) in _LOOKS.items():
        plots.dots(axes, [_spread(accuracy(rows, side)) for rows in runs], f"accuracy {SIDES[side].title}", colour,
                   mark, shift)
    plots.dots(axes, [_spread(success(rows).of_attacked) for rows in runs], "success", plots.COLOURS[3], "X")
    plots.named_rows(axes, [f"{title(rows)}, {rows.provenance.model}, seed {rows.spec.seed}" for rows in runs])
    plots.shares(axes, across=True)
    axes.set_xlabel("95 % intervals")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def recalls(rows: Rows) -> Figure:
    """Recall of every class before and after, with its 95 % interval."""
    figure, ((axes,),) = plots.panels(size=(5.5, 1.2 + 0.45 * len(rows.classes)))
    for side, (colour, mark, shift) in _LOOKS.items():
        found = scores(rows, side).scores["recall"].classes
        plots.dots(axes, [_spread(one) for one in found], SIDES[side].title, colour, mark, shift)
    plots.named_rows(axes, rows.classes)
    plots.shares(axes, across=True)
    axes.set_xlabel("recall (95 % interval)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def _spread(one: Estimate) -> tuple[float, float, float] | None:
    return None if one.value is None or one.low is None or one.high is None else (one.value, one.low, one.high)


def confidences(rows: Rows) -> Figure:
    """How often the model is right when it is so sure; and of how many answers it is how sure, right and wrong ones."""
    figure, axes = plots.panels(3, size=(11, 3.6))
    reliability = axes[0, 0]
    reliability.plot([0, 1], [0, 1], color=plots.FAINT, linestyle=":", linewidth=1)
    for place, (side, (colour, mark, _)) in enumerate(_LOOKS.items()):
        found, name = confidence(rows, side), SIDES[side].title
        error = "" if found.error is None else f" (ECE {found.error:.3f})"
        bins = found.bins
        reliability.errorbar([one.confidence for one in bins], [one.accuracy for one in bins], yerr=np.maximum(
            [[one.accuracy - one.accuracy_low for one in bins], [one.accuracy_high - one.accuracy for one in bins]], 0),
            color=colour, marker=mark, capsize=2, label=f"{name}{error}")
        counted, width = axes[0, place + 1], found.edges[1] - found.edges[0]
        middles = (found.edges[:-1] + found.edges[1:]) / 2
        counted.bar(middles, found.right, width * 0.95, color=plots.COLOURS[2], label="right")
        counted.bar(middles, found.wrong, width * 0.95, bottom=found.right, color=plots.COLOURS[1], hatch="//",
                    label="wrong")
        counted.set(title=f"{name} the attack", xlabel="how sure the model is", ylabel="images")
        plots.counts(counted)
        counted.legend()
    reliability.set(xlabel="how sure the model is", ylabel="how often it is right", title="reliability")
    plots.shares(reliability)
    plots.shares(reliability, across=True)
    reliability.legend()
    return figure


def flow(rows: Rows) -> Figure:
    """Where predictions go: from each class before, on the left, to each class after."""
    moved, names = flows(rows), [*rows.classes, REFUSED]
    figure, ((axes,),) = plots.panels(size=(7, 1.4 + 0.6 * len(rows.classes)))
    gap, total = 0.05 * len(rows.labels), len(rows.labels)
    tops = [np.concatenate([[0], np.cumsum(moved.sum(axis=axis) + gap * (moved.sum(axis=axis) > 0))])
            for axis in (1, 0)]
    for axis, (x, align) in enumerate(((-0.02, "right"), (1.02, "left"))):
        for k, name in enumerate(names):
            if count := int(moved.sum(axis=1 - axis)[k]):
                axes.text(x, tops[axis][k] + count / 2, f"{plots.shown(name)} ({count})", ha=align, va="center")
    at = [top.copy() for top in tops]
    for before, after in np.argwhere(moved):
        _ribbon(figure, (at[0][before], at[1][after]), int(moved[before, after]),
                plots.FAINT if before == len(rows.classes) else plots.COLOURS[before % 8], 0.3 if before == after
                else 0.7)
        at[0][before] += moved[before, after]
        at[1][after] += moved[before, after]
    axes.set(xlim=(-0.35, 1.35), ylim=(total + gap * len(names), -gap))
    axes.set_axis_off()
    axes.set_title("before the attack, and after")
    return figure


def _ribbon(figure: Figure, tops: tuple[float, float], width: int, colour: str, opacity: float) -> None:
    x = np.linspace(0, 1, 40)
    y = tops[0] + (tops[1] - tops[0]) * (3 * x**2 - 2 * x**3)
    figure.axes[0].fill_between(x, y, y + width, color=colour, alpha=opacity, linewidth=0)
