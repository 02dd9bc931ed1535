"""The figures of an evaluation, drawn from rows alone."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from engine.attacks.rows import Rows
from engine.experiments.aloud import title
from engine.experiments.evaluate import AFTER, BEFORE, REFUSED, SIDES, Matrix, change, confidence, flows, matrix, scores
from engine.experiments.evaluate import success as success_of
from engine.metrics.rates import Estimate
from pages.ui import charts
from pages.ui.charts import PALETTE, percent
from pages.ui.text import literal

FORMS = {"counts": "Images", "rows": "% of those that show it", "columns": "% of those said to"}
_COLOURS = {BEFORE: charts.BEFORE, AFTER: charts.AFTER}
_SIGNED = [[0, "#0072b2"], [0.5, "#f7f7f7"], [1, "#d55e00"]]
_DARK = 0.45  # of cividis, below which its colours are dark
_LEGEND = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}


# ---- matrices


def matrices(rows: Rows, form: str) -> go.Figure:
    """The confusion matrices before and after on one scale of colour, and the signed change. A click on a cell selects
    its point, whose custom data are side, true class and answer (-1: refused)."""
    before, after = (matrix(rows, side) for side in (BEFORE, AFTER))
    figure = make_subplots(1, 3, shared_yaxes=True, horizontal_spacing=0.03,
                           subplot_titles=["Before the attack", "After the attack", "Change"])
    shown = [_values(one, form) for one in (before, after)]
    most = 100.0 if form != "counts" else float(max(1, *(int(one.whole.max()) for one in (before, after))))
    for place, (side, one, values) in enumerate(zip((BEFORE, AFTER), (before, after), shown, strict=True)):
        scale = {"colorscale": "Cividis", "zmin": 0, "zmax": most}
        colours = ["#ffffff" if np.nan_to_num(value) < _DARK * most else "#10151a" for value in values.flat]
        _panel(figure, place + 1, side, one, values, form, scale, colours, "")
    moved, values = change(before, after), _moved(before, after, form)
    bound = max(1.0, float(np.nanmax(np.abs(values), initial=0)))
    dark = ["#ffffff" if abs(np.nan_to_num(value)) > 0.75 * bound else "#10151a" for value in values.flat]
    _panel(figure, 3, AFTER, moved, values, form, {"colorscale": _SIGNED, "zmin": -bound, "zmax": bound}, dark, "+")
    figure.update_xaxes(title="the model says", side="bottom", showgrid=False, zeroline=False, showspikes=False)
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False, showspikes=False)
    figure.update_yaxes(title="the image shows", ticklabelstandoff=6, col=1)
    figure.update_yaxes(ticks="", col=2)
    figure.update_yaxes(ticks="", col=3)
    figure.update_layout(height=150 + 68 * len(rows.classes), margin={"l": 0, "r": 8, "t": 30, "b": 0},
                         showlegend=False, clickmode="event+select", dragmode=False)
    return figure


def _values(one: Matrix, form: str) -> np.ndarray:
    return {"counts": lambda: one.whole.astype(float), "rows": one.by_row, "columns": one.by_column}[form]()


def _moved(before: Matrix, after: Matrix, form: str) -> np.ndarray:
    """The change of what is shown, with a column for the refused where either has one."""
    wide = change(before, after).columns != before.classes
    wider = wide or before.refused.any() or after.refused.any()
    values = [np.column_stack([value, np.zeros(len(value))]) if wider and value.shape[1] == len(one.classes) else value
              for one in (before, after) for value in [_values(one, form)]]
    moved = values[1] - values[0]
    return moved if wide else moved[:, :len(before.classes)]


def _panel(figure: go.Figure, column: int, side: str, one: Matrix, values: np.ndarray, form: str,
           scale: dict[str, object], colours: Sequence[str], sign: str) -> None:
    """One matrix, and over every cell a point that can be clicked, with the number."""
    says, shows = [literal(name) for name in one.columns], [literal(name) for name in one.classes]
    figure.add_heatmap(z=values, x=says, y=shows, showscale=False, hoverinfo="skip", xgap=2, ygap=2, row=1, col=column,
                       **scale)
    cells = [(row, place) for row in range(len(shows)) for place in range(len(says))]
    digits = f"{sign}.0f" if form == "counts" else f"{sign}.1f"
    figure.add_scatter(
        x=[says[place] for _, place in cells], y=[shows[row] for row, _ in cells], mode="markers+text", row=1,
        col=column, text=[_number(value, digits) for value in values.flat],
        textfont={"color": list(colours), "size": 15}, marker={"symbol": "square", "size": 46, "opacity": 0},
        selected={"marker": {"opacity": 0.0}}, unselected={"marker": {"opacity": 0.0}, "textfont": {}},
        customdata=[[side, row, -1 if one.columns[place] == REFUSED else place, int(one.whole[row, place])]
                    for row, place in cells],
        hovertemplate="shows %{y}, said %{x}: %{customdata[3]} images<br>click: the images<extra></extra>")


def _number(value: float, digits: str) -> str:
    return "–" if np.isnan(value) else f"{value:{digits}}" if value else "0"


# ---- shares with their intervals


def runs(shown: Sequence[Rows], names: Sequence[str]) -> go.Figure:
    """Accuracy before and after every run, and success, with their 95 % intervals."""
    labels = [literal(name) for name in names]
    figure = go.Figure()
    for side, symbol in ((BEFORE, "circle"), (AFTER, "diamond")):
        _dots(figure, f"accuracy {SIDES[side].title}", [scores(rows, side).accuracy for rows in shown], labels,
              _COLOURS[side], symbol)
    _dots(figure, "success", [success_of(rows).of_attacked for rows in shown], labels, PALETTE[3], "x")
    figure.update_layout(
        height=110 + 34 * len(shown), margin={"l": 0, "r": 24, "t": 28, "b": 0}, legend=_LEGEND,
        xaxis={"range": [-0.02, 1.02], "tickformat": ".0%"}, yaxis={"autorange": "reversed", "ticklabelstandoff": 6})
    return figure


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
                         legend=_LEGEND)
    figure.update_xaxes(range=[-0.02, 1.02], tickformat=".0%", showspikes=False)
    figure.update_xaxes(title="how sure the model is", row=2)
    for place, side in enumerate((BEFORE, AFTER)):
        figure.update_yaxes(title=f"images {SIDES[side].title}", rangemode="tozero", row=place + 1)
    return figure


# ---- flows


def flow(rows: Rows) -> go.Figure:
    """Where predictions go: from each class before to each class after."""
    moved, names = flows(rows), [*map(literal, rows.classes), "refused"]
    count = len(names)
    links = [(before, after, int(moved[before, after])) for before in range(count) for after in range(count)
             if moved[before, after]]
    ends = sorted({before for before, _, _ in links}), sorted({after for _, after, _ in links})
    places = {("before", k): i for i, k in enumerate(ends[0])}
    places |= {("after", k): len(places) + i for i, k in enumerate(ends[1])}
    colours = [PALETTE[k % len(PALETTE)] if k < count - 1 else "#999999" for k in (*ends[0], *ends[1])]
    figure = go.Figure(go.Sankey(
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
