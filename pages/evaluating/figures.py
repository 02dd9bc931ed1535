"""The figures of an evaluation, drawn from rows alone."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from engine.attacks.rows import Rows
from engine.experiments.evaluation.aloud import title
from engine.experiments.evaluation.evaluate import AFTER, BEFORE, SIDES, accuracy, confidence, flows, scores
from engine.experiments.evaluation.evaluate import success as success_of
from engine.metrics.rates import Estimate
from pages.ui import charts
from pages.ui.charts import PALETTE, percent
from pages.ui.remembered import remembered
from pages.ui.text import literal

_COLOURS = {BEFORE: charts.BEFORE, AFTER: charts.AFTER}
_LEGEND = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}


# ---- shares with their intervals


@remembered
def runs(shown: Sequence[Rows], names: Sequence[str]) -> go.Figure:
    """Accuracy before and after every run, and success, with their 95 % intervals."""
    labels = [literal(name) for name in names]
    figure = go.Figure()
    for side, symbol in ((BEFORE, "circle"), (AFTER, "diamond")):
        _dots(figure, f"accuracy {SIDES[side].title}", [accuracy(rows, side) for rows in shown], labels,
              _COLOURS[side], symbol)
    _dots(figure, "success", [success_of(rows).of_attacked for rows in shown], labels, PALETTE[3], "x")
    figure.update_layout(
        height=110 + 34 * len(shown), margin={"l": 0, "r": 24, "t": 28, "b": 0}, legend=_LEGEND,
        xaxis={"range": [-0.02, 1.02], "tickformat": ".0%"}, yaxis={"autorange": "reversed", "ticklabelstandoff": 6})
    return figure


@remembered
def recalls(rows: Rows) -> go.Figure:
    """Recall of every class before and after, with its 95 % interval."""
    figure, labels = go.Figure(), [literal(name) for name in rows.classes]
    for side, symbol in ((BEFORE, "circle"), (AFTER, "diamond")):
        _dots(figure, SIDES[side].title, list(scores(rows, side).scores["recall"].classes), labels, _COLOURS[side],
              symbol)
    figure.update_layout(
        height=110 + 40 * len(labels), margin={"l": 0, "r": 24, "t": 28, "b": 0}, legend=_LEGEND,
        xaxis={"range": [-0.02, 1.02], "tickformat": ".0%", "title": "recall"},
        yaxis={"autorange": "reversed", "ticklabelstandoff": 6})
    return figure


def _dots(figure: go.Figure, name: str, values: Sequence[Estimate], labels: Sequence[str], colour: str,
          symbol: str) -> None:
    known = [(label, one) for label, one in zip(labels, values, strict=True) if one.value is not None]
    spread = [(one.value or 0.0, one.low or 0.0, one.high or 0.0) for _, one in known]
    figure.add_scatter(
        x=[value for value, _, _ in spread], y=[label for label, _ in known], mode="markers", name=name,
        marker={"color": colour, "symbol": symbol, "size": 10},
        error_x={"type": "data", "symmetric": False, "array": [high - value for value, _, high in spread],
                 "arrayminus": [value - low for value, low, _ in spread], "color": colour, "thickness": 1.5},
        customdata=[[percent(value), percent(low), percent(high)] for value, low, high in spread],
        hovertemplate="%{y}, " + name + ": %{customdata[0]} (95 % interval %{customdata[1]} to %{customdata[2]})"
                      "<extra></extra>")


# ---- confidence


@remembered
def reliability(rows: Rows) -> go.Figure:
    """How often the model is right when it is so sure, before and after; on the diagonal it is as sure as right."""
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": "#888888", "dash": "dot", "width": 1},
                       hoverinfo="skip", showlegend=False)
    for side, symbol in ((BEFORE, "circle"), (AFTER, "diamond")):
        found = confidence(rows, side)
        bins = found.bins
        error = "" if found.error is None else f" (ECE {found.error:.3f})"
        figure.add_scatter(
            x=[one.confidence for one in bins], y=[one.accuracy for one in bins], name=f"{SIDES[side].title}{error}",
            mode="lines+markers", line={"color": _COLOURS[side], "width": 1},
            marker={"symbol": symbol, "size": [6 + 14 * (one.count / len(rows.labels)) ** 0.5 for one in bins]},
            error_y={"type": "data", "symmetric": False, "array": [one.accuracy_high - one.accuracy for one in bins],
                     "arrayminus": [one.accuracy - one.accuracy_low for one in bins], "thickness": 1},
            customdata=[one.count for one in bins],
            hovertemplate="%{customdata} images, sure to %{x:.1%}, right in %{y:.1%}<extra></extra>")
    figure.update_layout(
        height=320, margin={"l": 0, "r": 24, "t": 28, "b": 0}, legend=_LEGEND,
        xaxis={"range": [-0.02, 1.02], "tickformat": ".0%", "title": "how sure the model is", "showspikes": False},
        yaxis={"range": [-0.02, 1.05], "tickformat": ".0%", "title": "how often it is right"})
    return figure


@remembered
def histograms(rows: Rows) -> go.Figure:
    """How sure the model is of right and of wrong answers, before and after."""
    figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.12)
    for place, side in enumerate((BEFORE, AFTER)):
        found = confidence(rows, side)
        middles = (found.edges[:-1] + found.edges[1:]) / 2
        for name, counts, colour, pattern in (("right", found.right, PALETTE[2], ""), ("wrong", found.wrong, PALETTE[4],
                                                                                       "/")):
            figure.add_bar(x=middles, y=counts, name=name, row=place + 1, col=1, showlegend=place == 0,
                           legendgroup=name, marker={"color": colour, "pattern": {"shape": pattern}},
                           width=middles[1] - middles[0],
                           hovertemplate="sure to about %{x:.0%}: %{y} " + name + "<extra></extra>")
    figure.update_layout(height=320, margin={"l": 0, "r": 24, "t": 28, "b": 0}, barmode="stack", bargap=0.05,
                         legend={**_LEGEND, "y": 1.04})
    figure.update_xaxes(range=[-0.02, 1.02], tickformat=".0%", showspikes=False)
    figure.update_xaxes(title="how sure the model is", row=2)
    for place, side in enumerate((BEFORE, AFTER)):
        figure.update_yaxes(title=f"images {SIDES[side].title}", rangemode="tozero", row=place + 1)
    return figure


# ---- flows


@remembered
def flow(rows: Rows, ink: str) -> go.Figure:
    """Where predictions go: from each class before to each class after; `ink` is the colour of letters."""
    moved, names = flows(rows), [*map(literal, rows.classes), "refused"]
    count = len(names)
    links = [(before, after, int(moved[before, after])) for before in range(count) for after in range(count)
             if moved[before, after]]
    ends = sorted({before for before, _, _ in links}), sorted({after for _, after, _ in links})
    places = {("before", k): i for i, k in enumerate(ends[0])}
    places |= {("after", k): len(places) + i for i, k in enumerate(ends[1])}
    colours = [PALETTE[k % len(PALETTE)] if k < count - 1 else "#999999" for k in (*ends[0], *ends[1])]
    figure = go.Figure(go.Sankey(
        textfont={"color": ink, "size": 13, "shadow": "none"},
        node={"label": [f"{names[k]} ({moved[k].sum()})" for k in ends[0]]
                       + [f"{names[k]} ({moved[:, k].sum()})" for k in ends[1]],
              "color": colours, "pad": 18, "thickness": 16, "line": {"width": 0},
              "hovertemplate": "%{label}<extra></extra>"},
        link={"source": [places["before", before] for before, _, _ in links],
              "target": [places["after", after] for _, after, _ in links], "value": [n for _, _, n in links],
              "color": [_faint(PALETTE[before % len(PALETTE)] if before < count - 1 else "#999999",
                               0.25 if before == after else 0.6) for before, after, _ in links],
              "customdata": [[names[before], names[after]] for before, after, _ in links],
              "hovertemplate": "%{value} images: %{customdata[0]} before, %{customdata[1]} after<extra></extra>"}))
    figure.update_layout(height=120 + 60 * count, margin={"l": 8, "r": 8, "t": 12, "b": 8})
    return figure


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[at:at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def run_names(shown: Sequence[Rows]) -> list[str]:
    """What tells runs apart, one line each."""
    models, seeds = ({rows.provenance.model for rows in shown}, {rows.spec.seed for rows in shown})
    return [" · ".join(filter(None, (title(rows), rows.provenance.model if len(models) > 1 else "",
                                     f"seed {rows.spec.seed}" if len(seeds) > 1 else ""))) for rows in shown]
