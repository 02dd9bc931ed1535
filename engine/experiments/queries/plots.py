"""Query curves as a figure for papers and reports, made without a browser. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.attacks.norms import NORMS
from engine.experiments import plots
from engine.experiments.queries.curves import QueryCurve
from engine.experiments.queries.words import names_of

Named = tuple[QueryCurve, str, str]  # with its name and its colour


def curves(drawn: Sequence[QueryCurve]) -> Figure:
    """Norm against queries (median, the band between the quartiles, and the mean of those found), and success against
    queries at the chosen sizes, a row a norm."""
    norms = list(dict.fromkeys(curve.norm for curve in drawn))
    named = [(curve, name, plots.COLOURS[number % len(plots.COLOURS)])
             for number, (curve, name) in enumerate(zip(drawn, names_of(drawn), strict=True))]
    figure, rows = plots.panels(2, len(norms), size=(11, 4.2 * len(norms)))
    for (left, right), norm in zip(rows, norms, strict=True):
        own = [one for one in named if one[0].norm == norm]
        _norm_against_queries(left, own)
        _success_against_queries(right, own)
    return figure


def _norm_against_queries(axes: Axes, named: Sequence[Named]) -> None:
    for curve, name, colour in named:
        norm, queries = NORMS[curve.norm], [point.queries for point in curve.points]

        def sizes(which: str, curve: QueryCurve = curve, factor: float = norm.factor) -> list[float]:
            found = (getattr(point, which) for point in curve.points)
            return [float("nan") if value is None or value <= 0 else value * factor for value in found]

        axes.plot(queries, sizes("median"), color=colour, label=plots.shown(name))
        axes.plot(queries, sizes("mean"), color=colour, linestyle=":", linewidth=1)
        if curve.verified is not None:
            held = [(point.queries, point.median * norm.factor) for point in curve.verified.served if point.median]
            axes.plot([at for at, _ in held], [size for _, size in held], color=colour, marker="D", linestyle="--",
                      markersize=5, label=plots.shown(f"{name}, verified"))
        axes.fill_between(queries, sizes("q25"), sizes("q75"), color=colour, alpha=0.2, linewidth=0)
    plots.logarithmic(axes, upright=True)
    axes.set(xlabel="queries an image", ylabel=NORMS[named[0][0].norm].noun,
             title="median, quartiles; dotted: mean of those found" + (
                 "; diamonds: verified" if any(curve.verified is not None for curve, _, _ in named) else ""))
    plots.legend(axes, 1)


def _success_against_queries(axes: Axes, named: Sequence[Named]) -> None:
    for curve, name, colour in named:
        queries = [point.queries for point in curve.points]
        for number, success in enumerate(curve.points[0].success):
            own = [point.success[number] for point in curve.points]
            axes.plot(queries, [one.share for one in own], color=colour,
                      linestyle=plots.DASHES[number % len(plots.DASHES)],
                      label=plots.shown(f"{name}, at most {NORMS[curve.norm].text(success.within, '.4g')}"))
            axes.fill_between(queries, [one.low for one in own], [one.high for one in own], color=colour, alpha=0.08,
                              linewidth=0)
    plots.logarithmic(axes)
    plots.shares(axes)
    axes.set(xlabel="queries an image", ylabel="share of images fooled",
             title="within a norm of at most; bands: 95 % intervals")
    plots.legend(axes, 1)
