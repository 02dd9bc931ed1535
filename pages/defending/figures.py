"""What defenses cost and are worth, as a plot. A pure function of standings."""

from collections.abc import Sequence

import plotly.graph_objects as go

from engine.attacks.norms import NORMS
from engine.experiments.defending.apart import across
from engine.experiments.defending.judged import Standing
from engine.experiments.defending.words import defenses_of, models_of, names_of
from pages.ui.charts import PALETTE, percent
from pages.ui.remembered import remembered
from pages.ui.text import literal

_SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star", "hexagon", "pentagon")
_SIZE, _FIRST = 13, 19  # the first is larger, so that what lies on it does not hide it
_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
_BELOW = {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0}
_HEIGHT, _LINE, _GREY = 380, 24, "#888888"


@remembered
def trade_off(standings: Sequence[Standing]) -> go.Figure:
    """Accuracy unattacked against what holds under attack: filled, where the attacker knows of the defense, lighter and
    joined to it, where he does not; bars are 95 % intervals. A point says which standing it is, and whether the
    attacker knows. Of several models each has its symbol, and each defense its colour."""
    figure = go.Figure()
    stacks, models = (list(dict.fromkeys(getattr(one, name) for one in standings)) for name in ("defenses", "model"))
    for number, (one, name, at) in enumerate(zip(standings, map(literal, names_of(standings)), across(standings),
                                                 strict=True)):
        colour = PALETTE[stacks.index(one.defenses) % 8]
        symbol = _SYMBOLS[(models.index(one.model) if len(models) > 1 else number) % 8]
        clean = one.clean.rate or 0.0
        if len(one.points) > 1:
            figure.add_scatter(x=[at] * 2, y=[faced.robust.rate for faced, _ in one.points], mode="lines",
                               line={"color": colour, "width": 1.5}, showlegend=False, hoverinfo="skip", opacity=0.6)
        for place, (faced, knows) in enumerate(one.points):
            who = "does not know of it" if not knows else "knows of it" if one.defenses else ""
            low, high = faced.robust.interval
            rate = faced.robust.rate or 0.0
            figure.add_scatter(
                x=[at], y=[rate], mode="markers", name=name, legendgroup=name,
                showlegend=not place and len(models) == 1,
                customdata=[[number, knows]], opacity=1.0 if knows else 0.55,
                marker={"color": colour, "symbol": symbol if knows else f"{symbol}-open",
                        "size": _SIZE if number else _FIRST,
                        "line": {"color": colour, "width": 2}},
                error_y={"array": [max(0.0, high - rate)], "arrayminus": [max(0.0, rate - low)], "symmetric": False,
                         "thickness": 1, "width": 4},
                hovertemplate=f"{name}<br>unattacked {percent(clean)}<br>attacker {who}: {percent(rate)} hold"
                              f"<br>worst: {literal(faced.worst)}<extra></extra>")
    entries = _legend(figure, standings) if len(models) > 1 else 0
    first = standings[0]
    within = "" if first.eps is None else f" within {NORMS[first.norm].text(first.eps, '.3g')}"
    figure.update_layout(
        height=_HEIGHT + _LINE * entries, margin={"l": 0, "r": 12, "t": 12 if entries else 28, "b": 0},
        legend=_BELOW if entries else _LEGEND, showlegend=True, clickmode="event+select",
        xaxis={"title": "read correctly, unattacked", "range": [-0.04, 1.04], "tickformat": ".0%"},
        yaxis={"title": f"hold under attack{within}", "range": [-0.04, 1.04], "tickformat": ".0%"})
    return figure


def _legend(figure: go.Figure, standings: Sequence[Standing]) -> int:
    """Which colour is which defense, and which symbol which model; how many there are of both."""
    models, defenses = models_of(standings), dict[str, str]()
    for one, name in zip(standings, defenses_of(standings), strict=True):
        defenses.setdefault(one.defenses, name)
    marks = [*((name, PALETTE[number % 8], "circle") for number, name in enumerate(defenses.values())),
             *((name, _GREY, f"{_SYMBOLS[number % 8]}-open") for number, name in enumerate(models.values()))]
    for name, colour, symbol in marks:
        figure.add_scatter(x=[None], y=[None], mode="markers", name=literal(name), hoverinfo="skip",
                           marker={"color": colour, "symbol": symbol, "size": 11, "line": {"width": 2}})
    return len(marks)
