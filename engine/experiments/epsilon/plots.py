"""A curve's figures for papers and reports, made without a browser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.attacks.norms import NORMS, Norm
from engine.attacks.rows import Rows
from engine.experiments import plots
from engine.experiments.epsilon.eyes import Zone
from engine.experiments.epsilon.lines import ACCURACY, AUC, Line, lines, measured
from engine.experiments.runs.comparison import Line as Compared

FINE = 2.0  # up to here the axis is linear, in the unit that is shown
_ZONE, _EYE, _MODEL, _RISE = "#d55e00", "#009e73", "#d55e00", "#d55e00"
_HATCHES = ("", "//", "xx", "--", "\\\\", "++", "..", "||")


def accuracies(runs: Sequence[Rows], title: str) -> Figure:
    """Accuracy against eps, a line an attack, model and seed, with the band of its 95 % interval."""
    return curves(lines(runs), ACCURACY, title)


def curves(drawn: Sequence[Line], measure: str, title: str = "") -> Figure:
    """`measure` against eps, a line each with the band of its 95 % interval; triangles mark a rising accuracy."""
    figure, ((axes,),) = plots.panels()
    for line in drawn:
        known = [(shown, found.value, found.low, found.high) for shown, rows in zip(line.shown, line.runs, strict=True)
                 if (found := measured(rows, measure)).value is not None]
        if known:
            plots.band(axes, known, line.name, line.number)
        if measure == ACCURACY and line.rising:
            axes.plot([line.shown[place] for place in line.rising],
                      [measured(line.runs[place], measure).value for place in line.rising], "^", markersize=9,
                      color=_RISE, label=f"rises: {plots.shown(line.name)}")
    _against_eps(axes, drawn[0].norm, [shown for line in drawn for shown in line.shown])
    plots.shares(axes)
    if measure == AUC:
        axes.yaxis.set_major_formatter(lambda value, place: f"{value:.1f}")
    images = len(drawn[0].runs[0].labels)
    axes.set_ylabel(plots.shown(f"{measure.lower() if measure == ACCURACY else measure}, {images} images (95 % "
                                "interval)"))
    axes.set_title(plots.shown(title))
    plots.legend(axes)
    return figure


def compared(drawn: Sequence[Compared]) -> Figure:
    """Accuracy against eps of runs that were no curve's, with the clean one at 0."""
    figure, ((axes,),) = plots.panels()
    for number, line in enumerate(drawn):
        factor = NORMS[line.norm].factor
        plots.band(axes, [(point.eps * factor, point.accuracy, point.low, point.high) for point in line.points],
                   line.name, number)
    norm = NORMS[drawn[0].norm]
    _against_eps(axes, norm, [point.eps * norm.factor for line in drawn for point in line.points])
    axes.set_ylabel("accuracy (95 % interval)")
    plots.shares(axes)
    plots.legend(axes)
    return figure


def _against_eps(axes: Axes, norm: Norm, values: Sequence[float]) -> None:
    """Linear where it is fine, then logarithmic, with every eps that there is written at its place."""
    axes.set_xscale("symlog", linthresh=FINE, base=2)
    known = sorted(set(values))
    axes.set_xticks(known, [f"{value:.4g}" for value in known], rotation=45 if len(known) > 8 else 0)
    axes.minorticks_off()
    axes.set_xlabel(f"epsilon, in n{norm.unit}" if norm.unit else "epsilon (L2)")


def zone(line: Line, known: Zone) -> Figure:
    """The share of images that are flipped within each eps, and of those on which the eye sees a change; between the
    two middles the danger zone."""
    figure, ((axes,),) = plots.panels(size=(7, 3.4))
    factor = line.norm.factor
    flipped = [float((known.smallest <= shown / factor).sum() / max(1, known.of)) for shown in line.shown]
    axes.step(line.shown, flipped, where="post", color=_MODEL, marker="o", label="model flipped")
    eye = np.sort(known.eye) * factor
    if len(eye):
        axes.step([*eye, max(*line.shown, eye[-1])], [*(np.arange(1, len(eye) + 1) / len(eye)), 1.0], where="post",
                  color=_EYE, linestyle="--", label="eye sees it")
    if known.times is not None and known.times > 1 and known.boundary is not None and known.seen is not None:
        axes.axvspan(known.boundary[0] * factor, known.seen[0] * factor, color=_ZONE, alpha=0.16, linewidth=0,
                     label="danger zone: flipped, unseen")
    _against_eps(axes, line.norm, line.shown)
    plots.shares(axes)
    axes.set_ylabel("share of images")
    axes.set_title(plots.shown(line.name))
    plots.legend(axes, 3)
    return figure


def smallest(line: Line, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """How many images of each class are flipped first at each eps, and in the last place how many hold."""
    figure, ((axes,),) = plots.panels(size=(7, 3.4))
    names = [*(f"{value:.4g}" for value in line.shown), "holds"]
    below = np.zeros(len(names), int)
    for number, (name, values) in enumerate(zip(classes, counts, strict=False)):
        axes.bar(range(len(names)), values, bottom=below, color=plots.COLOURS[number % 8], hatch=_HATCHES[number % 8],
                 label=plots.shown(name))
        below += np.array(values)
    axes.set_xticks(range(len(names)), names, rotation=45 if len(names) > 10 else 0)
    axes.set(xlabel=f"smallest epsilon that flips the image, in n{line.norm.unit}", ylabel="images")
    plots.counts(axes)
    axes.set_title(plots.shown(line.name))
    plots.legend(axes, 3)
    return figure
