"""Norm and success against queries, as plots. Pure functions of curves."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.colors import hex_to_rgb

from engine.attacks.norms import NORMS
from engine.experiments.queries.curves import Point, QueryCurve
from engine.experiments.queries.words import names_of
from pages.ui.charts import DASHES, PALETTE
from pages.ui.remembered import remembered
from pages.ui.text import literal

TICKS = [lead * 10**power for power in range(6) for lead in (1, 2, 5)]
SIZES = [lead * 10.0**power for power in range(-4, 5) for lead in (1, 2, 5)]
_MARGIN = {"l": 0, "r": 8, "t": 28, "b": 0}


@remembered
def norm_against_queries(curves: Sequence[QueryCurve], asked: Sequence[int]) -> go.Figure:
    """Median, band between the quartiles, and the mean of those found; marked at the counts that were asked for."""
    figure, norm = go.Figure(), NORMS[curves[0].norm]
    for number, (curve, name) in enumerate(zip(curves, map(literal, names_of(curves)), strict=True)):
        colour, group = PALETTE[number % 8], f"curve {number}"
        red, green, blue = hex_to_rgb(colour)
        between = [point for point in curve.points if point.q25 and point.q75]
        figure.add_scatter(x=[p.queries for p in between] + [p.queries for p in reversed(between)],
                           y=_sizes(between, "q75", norm.factor) + _sizes(between, "q25", norm.factor)[::-1],
                           fill="toself", fillcolor=f"rgba({red},{green},{blue},0.18)", mode="none",
                           legendgroup=group, showlegend=False, hoverinfo="skip")
        queries = [point.queries for point in curve.points]
        figure.add_scatter(x=queries, y=_sizes(curve.points, "median", norm.factor), name=name, mode="lines",
                           line={"color": colour, "width": 2.5}, legendgroup=group,
                           hovertemplate=f"%{{x:,}} queries: median %{{y:.3g}}{norm.unit}<extra>{name}</extra>")
        figure.add_scatter(x=queries, y=_sizes(curve.points, "mean", norm.factor), mode="lines", showlegend=False,
                           line={"color": colour, "width": 1.5, "dash": "dot"}, legendgroup=group,
                           hovertemplate=f"%{{x:,}} queries: mean of those fooled %{{y:.3g}}{norm.unit}"
                                         f"<extra>{name}</extra>")
        if curve.verified is not None:
            held = curve.verified.served
            figure.add_scatter(x=[p.queries for p in held], y=_sizes(held, "median", norm.factor),
                               name=f"{name}, verified", mode="lines+markers", legendgroup=group,
                               line={"color": colour, "width": 1.5, "dash": "dash"},
                               marker={"color": colour, "size": 10, "symbol": "diamond-open", "line": {"width": 2}},
                               hovertemplate=f"%{{x:,}} queries: median %{{y:.3g}}{norm.unit} holds when asked "
                                             f"{curve.verified.times} times more<extra>{name}</extra>")
            figure.add_scatter(x=[p.queries for p in held], y=_sizes(held, "mean", norm.factor), showlegend=False,
                               mode="lines+markers", legendgroup=group,
                               line={"color": colour, "width": 1, "dash": "dot"},
                               marker={"color": colour, "size": 6, "symbol": "diamond-open"},
                               hovertemplate=f"%{{x:,}} queries: mean of those that hold %{{y:.3g}}{norm.unit}"
                                             f"<extra>{name}</extra>")
        marked = [point for point in curve.points if point.queries in asked]
        figure.add_scatter(x=[p.queries for p in marked], y=_sizes(marked, "median", norm.factor), mode="markers",
                           showlegend=False, legendgroup=group, hoverinfo="skip",
                           marker={"color": colour, "size": 8, "symbol": number % 8})
    figure.update_layout(height=_height(curves), margin=_MARGIN, legend=_LEGEND, xaxis=_queries(), showlegend=True,
                         yaxis={"title": norm.noun, "type": "log", "tickvals": SIZES,
                                "ticktext": [f"{size:,g}" for size in SIZES]})
    return figure


@remembered
def success_against_queries(curves: Sequence[QueryCurve], asked: Sequence[int]) -> go.Figure:
    """The share of images fooled by changes of at most each size, with its interval where it was asked for."""
    figure = go.Figure()
    for number, (curve, name) in enumerate(zip(curves, map(literal, names_of(curves)), strict=True)):
        norm = NORMS[curve.norm]
        for place, success in enumerate(curve.points[0].success):
            label = f"{name}, at most {norm.text(success.within, '.4g')}"
            own = [(point.queries, point.success[place]) for point in curve.points]
            line = {"color": PALETTE[number % 8], "dash": DASHES[place % 8], "width": 2}
            figure.add_scatter(x=[queries for queries, _ in own], y=[one.share for _, one in own], name=label,
                               mode="lines", line=line, legendgroup=label,
                               hovertemplate=f"%{{x:,}} queries: %{{y:.1%}}<extra>{label}</extra>")
            marked = [(queries, one) for queries, one in own if queries in asked]
            figure.add_scatter(
                x=[queries for queries, _ in marked], y=[one.share for _, one in marked], mode="markers",
                showlegend=False, legendgroup=label, hoverinfo="skip",
                marker={"color": PALETTE[number % 8], "size": 7, "symbol": number % 8},
                error_y={"array": [one.high - one.share for _, one in marked], "symmetric": False, "width": 3,
                         "arrayminus": [one.share - one.low for _, one in marked], "thickness": 1})
    figure.update_layout(height=_height(curves), margin=_MARGIN, legend=_LEGEND, xaxis=_queries(), showlegend=True,
                         yaxis={"title": "share of images fooled", "range": [-0.03, 1.03], "tickformat": ".0%"})
    return figure


_LEGEND = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}


def _height(curves: Sequence[QueryCurve]) -> int:
    """Of both plots, so that they stand side by side: the longer legend may take a line for each of its names."""
    line = 29 if any(curve.front for curve in curves) else 20  # of which two names may share one, if they are short
    return 320 + line * sum(len(curve.points[0].success) for curve in curves)


def _queries() -> dict[str, object]:
    return {"title": "queries an image", "type": "log", "tickvals": TICKS, "ticktext": [f"{n:,}" for n in TICKS],
            "showspikes": False}


def _sizes(points: Sequence[Point], name: str, factor: float) -> list[float | None]:
    """What a logarithmic axis can show, as people read it; None where it is infinite, or 0."""
    found = (getattr(point, name) for point in points)
    return [value * factor if value else None for value in found]
