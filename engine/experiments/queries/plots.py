"""Query curves as a figure in a file, drawn without a browser. Does not import torch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.experiments.queries.curves import QueryCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours; lines of one colour differ in their dashes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
DASHES = ("-", "--", ":", "-.")
FORMATS = ("svg", "png")


def as_file(curves: Sequence[QueryCurve], form: str) -> bytes:
    """Norm against queries (median, the band between the quartiles, and the mean of those found), and success against
    queries at the chosen sizes, a row a norm; in one of FORMATS."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    norms = list(dict.fromkeys(curve.norm for curve in curves))
    # Without the time of day, and with names that do not change, the same curves give the same file; names from outside
    # are shown as they are, whatever dollars are in them.
    with rc_context({"svg.hashsalt": "perturbscope", "text.parse_math": False}):
        figure = Figure(figsize=(11, 4.2 * len(norms)), layout="constrained")
        for (left, right), norm in zip(figure.subplots(len(norms), 2, squeeze=False), norms, strict=True):
            own = [(curve, COLOURS[number % 8]) for number, curve in enumerate(curves) if curve.norm == norm]
            _norm_against_queries(left, own)
            _success_against_queries(right, own)
        file = io.BytesIO()
        figure.savefig(file, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
    return file.getvalue()


def name_of(curve: QueryCurve) -> str:
    """What tells a curve from others."""
    limit = "" if curve.eps is None else f" {NORMS[curve.run_norm].text(curve.eps)}"
    return f"{ATTACKS[curve.attack].info.title}{limit}, {curve.model}, seed {curve.seed}"


def _norm_against_queries(axes: Axes, curves: Sequence[tuple[QueryCurve, str]]) -> None:
    for curve, colour in curves:
        norm, queries = NORMS[curve.norm], [point.queries for point in curve.points]

        def sizes(name: str, curve: QueryCurve = curve, factor: float = norm.factor) -> list[float]:
            found = (getattr(point, name) for point in curve.points)
            return [float("nan") if value is None or value <= 0 else value * factor for value in found]

        axes.plot(queries, sizes("median"), color=colour, label=name_of(curve))
        axes.plot(queries, sizes("mean"), color=colour, linestyle=":", linewidth=1)
        axes.fill_between(queries, sizes("q25"), sizes("q75"), color=colour, alpha=0.2, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="queries", ylabel=NORMS[curves[0][0].norm].noun,
             title="median, quartiles; dotted: mean of those found")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)


def _success_against_queries(axes: Axes, curves: Sequence[tuple[QueryCurve, str]]) -> None:
    for curve, colour in curves:
        queries = [point.queries for point in curve.points]
        for number, success in enumerate(curve.points[0].success):
            own = [point.success[number] for point in curve.points]
            axes.plot(queries, [one.share for one in own], color=colour, linestyle=DASHES[number % 4],
                      label=f"{ATTACKS[curve.attack].info.title}: {NORMS[curve.norm].text(success.within, '.4g')}")
            axes.fill_between(queries, [one.low for one in own], [one.high for one in own], color=colour, alpha=0.08,
                              linewidth=0)
    axes.set(xscale="log", ylim=(-0.02, 1.02), xlabel="queries", ylabel="share of images fooled",
             title="within a norm of at most; bands: 95 % intervals")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
