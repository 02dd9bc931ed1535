"""What defenses cost and are worth, as a plot. A pure function of standings."""

from collections.abc import Sequence

import plotly.graph_objects as go

from engine.attacks.norms import NORMS
from engine.experiments.defending.judged import Faced, Standing
from engine.experiments.defending.words import names_of
from pages.ui.charts import PALETTE, percent
from pages.ui.remembered import remembered
from pages.ui.text import literal

_SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star", "hexagon", "pentagon")
_SIZE, _FIRST = 13, 19  # the first is larger, so that what lies on it does not hide it
_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}


@remembered
def trade_off(standings: Sequence[Standing]) -> go.Figure:
    """Accuracy unattacked against what holds under attack: filled, where the attacker knows of the defense, lighter and
    joined to it, where he does not; bars are 95 % intervals. A point says which standing it is."""
    figure = go.Figure()
    for number, (one, name) in enumerate(zip(standings, map(literal, names_of(standings)), strict=True)):
        colour, symbol = PALETTE[number % 8], _SYMBOLS[number % 8]
        points = _points(one)
        clean = one.clean.rate or 0.0
        if len(points) > 1:
            figure.add_scatter(x=[clean] * 2, y=[faced.robust.rate for faced, _, _ in points], mode="lines",
                               line={"color": colour, "width": 1.5}, showlegend=False, hoverinfo="skip", opacity=0.6)
        for place, (faced, who, opacity) in enumerate(points):
            low, high = faced.robust.interval
            rate = faced.robust.rate or 0.0
            figure.add_scatter(
                x=[clean], y=[rate], mode="markers", name=name, legendgroup=name, showlegend=not place,
                customdata=[[number]], opacity=opacity,
                marker={"color": colour, "symbol": symbol if opacity == 1 else f"{symbol}-open",
                        "size": _SIZE if number else _FIRST,
                        "line": {"color": colour, "width": 2}},
                error_y={"array": [max(0.0, high - rate)], "arrayminus": [max(0.0, rate - low)], "symmetric": False,
                         "thickness": 1, "width": 4},
                hovertemplate=f"{name}<br>unattacked %{{x:.1%}}<br>attacker {who}: {percent(rate)} hold"
                              f"<br>worst: {literal(faced.worst)}<extra></extra>")
    first = standings[0]
    within = "" if first.eps is None else f" within {NORMS[first.norm].text(first.eps, '.3g')}"
    figure.update_layout(
        height=380, margin={"l": 0, "r": 12, "t": 28, "b": 0}, legend=_LEGEND, showlegend=True,
        clickmode="event+select",
        xaxis={"title": "read correctly, unattacked", "range": [-0.04, 1.04], "tickformat": ".0%"},
        yaxis={"title": f"still correct under attack{within}", "range": [-0.04, 1.04], "tickformat": ".0%"})
    return figure


def _points(one: Standing) -> list[tuple[Faced, str, float]]:
    """Who knows of it first."""
    points = [] if one.adaptive is None else [(one.adaptive, "knows of it" if one.defenses else "", 1.0)]
    if one.oblivious is not None and one.oblivious is not one.adaptive:
        points.append((one.oblivious, "does not know of it", 0.55))
    return points
