"""The Epsilon page's figures, each a pure function of lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from engine.attacks.norms import NORMS, Norm
from engine.experiments.certifying import Certified
from engine.experiments.epsilon.certified import covered, name_of, steps
from engine.experiments.epsilon.eyes import Zone
from engine.experiments.epsilon.lines import ACCURACY, AUC, Line, measured, zone_table
from pages.ui.charts import DASHES, PALETTE
from pages.ui.remembered import remembered
from pages.ui.text import literal

FINE = 2.0  # up to here a symmetric-log axis is linear, in the unit that is shown
TICKS = (0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 255)
RISE = "#d55e00"
ZONE, EYE, MODEL = "rgba(213, 94, 0, 0.16)", "#009e73", "#d55e00"


@dataclass(frozen=True)
class Axis:
    """How eps is spread over an axis: `place` puts a shown eps where it belongs."""

    title: str
    place: Callable[[float], float]
    takes_zero: bool = True


def _symlog(shown: float) -> float:
    return shown / FINE if shown <= FINE else 1 + np.log(shown / FINE)


AXES = {
    "symlog": Axis("fine below 2, then logarithmic", _symlog),
    "linear": Axis("linear", float),
    "log": Axis("logarithmic", lambda shown: float(np.log10(shown)), takes_zero=False),
}


def _x_axis(axis: Axis, norm: Norm, largest: float) -> dict[str, object]:
    """With the values of eps written at their places."""
    offered = [tick for tick in TICKS if tick <= largest * 1.001 and (tick > 0 or axis.takes_zero)]
    room = (axis.place(largest) - axis.place(offered[0])) / 12 if offered else 0.0
    known = offered[:1]
    for tick in offered[:0:-1]:  # the largest, and whatever below it has room, down to the first
        if all(abs(axis.place(other) - axis.place(tick)) >= room for other in known):
            known.append(tick)
    known.sort()
    return {"title": f"epsilon, in n{norm.unit}" if norm.unit else "epsilon (L2)", "zeroline": False,
            "tickvals": [axis.place(tick) for tick in known], "ticktext": [f"{tick:g}" for tick in known],
            "tickangle": 0, "showspikes": False}


def _layout(figure: go.Figure, x: dict[str, object], y: str, height: int) -> go.Figure:
    figure.update_layout(height=height, margin={"l": 0, "r": 8, "t": 34, "b": 0}, xaxis=x,
                         legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
                         yaxis={"title": y, "range": [-0.03, 1.05], "tickformat": ".0%", "zeroline": False})
    return figure


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[place:place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.16)"


@remembered
def curves(lines: Sequence[Line], measure: str, axis: Axis) -> go.Figure:
    """`measure` against eps, a line each with the band of its 95 % interval; triangles mark a rising accuracy."""
    figure = go.Figure()
    for line in lines:
        colour, dash = PALETTE[line.number % 8], DASHES[line.number % 8]
        known = [(shown, measured(rows, measure)) for shown, rows in zip(line.shown, line.runs, strict=True)
                 if shown > 0 or axis.takes_zero]
        known = [(shown, found) for shown, found in known if found.value is not None]
        if not known:
            continue
        x = [axis.place(shown) for shown, _ in known]
        bounds = [(found.low, found.high) for _, found in known]
        if all(low is not None for low, _ in bounds):
            figure.add_scatter(x=[*x, *x[::-1]], y=[*(high for _, high in bounds), *(low for low, _ in bounds[::-1])],
                               fill="toself", fillcolor=_faint(colour), line={"width": 0}, hoverinfo="skip",
                               showlegend=False, mode="lines")
        figure.add_scatter(
            x=x, y=[found.value for _, found in known], name=literal(line.name), mode="lines+markers",
            line={"color": colour, "dash": dash}, marker={"size": 6},
            customdata=[[line.norm.text(shown / line.norm.factor, ".4g"), _range(found.low, found.high)]
                        for shown, found in known],
            hovertemplate="%{customdata[0]}: %{y:.1%}%{customdata[1]}<extra>" + literal(line.name) + "</extra>")
        if measure == ACCURACY and (rising := [place for place in line.rising if line.shown[place] > 0]):
            figure.add_scatter(x=[axis.place(line.shown[place]) for place in rising],
                               y=[measured(line.runs[place], measure).value for place in rising], mode="markers",
                               marker={"symbol": "triangle-up", "size": 13, "color": RISE},
                               name=f"rises: {literal(line.name)}",
                               hovertemplate="accuracy rises here: the attack overshoots<extra></extra>")
    largest = max((shown for line in lines for shown in line.shown), default=1.0)
    norm = lines[0].norm if lines else None
    _layout(figure, _x_axis(axis, norm, largest) if norm else {}, measure, 360)
    return figure.update_yaxes(tickformat=".1f") if measure == AUC else figure


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (95 %: {low:.1%} to {high:.1%})"


@remembered
def zone(line: Line, known: Zone, axis: Axis) -> go.Figure:
    """The share of images that are flipped within each eps, and of those on which the eye sees a change; between the
    two middles the danger zone."""
    figure, factor = go.Figure(), line.norm.factor
    shown = [value for value in line.shown if value > 0 or axis.takes_zero]
    table = zone_table(line, known).set_index("eps")
    flipped = [float(table["flipped"][value / factor] / max(1, known.of)) for value in shown]
    figure.add_scatter(x=[axis.place(value) for value in shown], y=flipped, mode="lines+markers", name="model flipped",
                       line={"color": MODEL, "shape": "hv"},
                       customdata=[f"{value:g}{line.norm.unit}" for value in shown],
                       hovertemplate="within %{customdata}: %{y:.1%} flipped<extra></extra>")
    eye = np.sort(known.eye) * factor
    if len(eye):
        x = [axis.place(value) for value in eye]
        figure.add_scatter(x=[*x, axis.place(max(*shown, eye[-1]))], y=[*(np.arange(1, len(eye) + 1) / len(eye)), 1.0],
                           mode="lines", name="eye sees it", line={"color": EYE, "dash": "dash", "shape": "hv"},
                           customdata=[f"{value:.3g}{line.norm.unit}" for value in [*eye, eye[-1]]],
                           hovertemplate="from %{customdata}: seen on %{y:.1%}<extra></extra>")
    _shade(figure, line, known, axis)
    largest = max([*shown, *eye], default=1.0)
    return _layout(figure, _x_axis(axis, line.norm, largest), "share of images", 320)


def _shade(figure: go.Figure, line: Line, known: Zone, axis: Axis) -> None:
    """The danger zone: from where half are flipped to where half are seen."""
    if known.times is None or known.times <= 1 or known.boundary is None or known.seen is None:
        return
    low, high = (axis.place(value * line.norm.factor) for value in (known.boundary[0], known.seen[0]))
    figure.add_vrect(x0=low, x1=high, fillcolor=ZONE, line_width=0, layer="below",
                     annotation={"text": "danger zone: flipped, unseen", "font": {"size": 12}},
                     annotation_position="bottom left")


@remembered
def smallest(line: Line, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> go.Figure:
    """How many images of each class are flipped first at each eps, and in the last place how many hold."""
    figure = go.Figure()
    names = [*(f"{value:g}" for value in line.shown), "holds"]
    for number, (name, values) in enumerate(zip(classes, counts, strict=False)):
        figure.add_bar(x=names, y=list(values), name=literal(name), marker={
            "color": PALETTE[number % 8], "pattern": {"shape": ("", "/", "x", "-", "\\", "+", ".", "|")[number % 8]}},
            hovertemplate="first flipped at %{x}: %{y}<extra>" + literal(name) + "</extra>")
    figure.update_layout(
        height=320, margin={"l": 0, "r": 8, "t": 34, "b": 0}, barmode="stack", bargap=0.15,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        xaxis={"title": f"smallest epsilon that flips the image, in n{line.norm.unit}", "type": "category"},
        yaxis={"title": "images", "rangemode": "tozero"})
    return figure


@remembered
def certified(found: Sequence[Certified], entries: int) -> go.Figure:
    """The share of images that are right for certain against the L2 radius, a line a model, with the band of its 95 %
    interval, and at 0 what is right without noise; beneath each radius stands the eps that it covers in an image of so
    many values."""
    figure = go.Figure()
    for number, one in enumerate(found):
        radii, shares = steps(one)
        x, name, colour = radii.tolist(), literal(name_of(one)), PALETTE[number % 8]
        bounds = [one.within(radius).interval for radius in x]
        stairs, low, high = _stairs(x, x)[0], *(_stairs(x, [pair[side] for pair in bounds])[1] for side in (0, 1))
        figure.add_scatter(x=[*stairs, *stairs[::-1]], y=[*high, *low[::-1]], fill="toself", fillcolor=_faint(colour),
                           line={"width": 0}, mode="lines", hoverinfo="skip", showlegend=False)
        figure.add_scatter(
            x=[*x, x[-1]], y=[*shares.tolist(), 0.0], name=name, mode="lines",
            line={"color": colour, "dash": DASHES[number % 8], "shape": "vh"},
            customdata=[_linf(radius, entries) for radius in [*x, x[-1]]],
            hovertemplate="within L2 %{x:.3g} (covers %{customdata}): %{y:.1%} for certain<extra>" + name + "</extra>")
        figure.add_scatter(x=[0.0], y=[one.clean.rate], mode="markers", showlegend=False,
                           marker={"symbol": "circle-open", "size": 10, "color": colour, "line": {"width": 2}},
                           hovertemplate="without noise: %{y:.1%} correct<extra>" + name + "</extra>")
    largest = max(float(one.found.radii.max(initial=0.0)) for one in found) or 0.1
    ticks = _round_ticks(largest)
    _layout(figure, {"title": "radius, L2 (and the epsilon that it covers)", "zeroline": False, "tickvals": ticks,
                     "ticktext": [f"{tick:g}<br>{_linf(tick, entries)}" for tick in ticks],
                     "range": [-0.03 * largest, 1.06 * largest], "showspikes": False}, "right for certain", 340)
    return figure


def _stairs(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """The corners of a line that goes up or down first, and then on to the next point."""
    return np.repeat(x, 2)[:-1].tolist(), np.repeat(y, 2)[1:].tolist()


def _linf(radius: float, entries: int) -> str:
    return NORMS["linf"].text(covered(radius, entries), ".2g")


def _round_ticks(largest: float) -> list[float]:
    """Some five round numbers from 0 to `largest`."""
    rough = largest / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(lead * power for lead in (1, 2, 5, 10) if lead * power >= rough)
    return [round(float(number * step), 10) for number in range(int(largest / step) + 1)]
