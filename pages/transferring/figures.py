"""The Transfer page's plots, each a function of what was found."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from engine.experiments.transfers.alignment import Alignment, Cosine
from engine.experiments.transfers.transferred import Cell, Matrix, Relation
from engine.experiments.transfers.words import attack_title, within
from pages.ui.charts import PALETTE, percent
from pages.ui.remembered import remembered
from pages.ui.text import literal

# A cell's height, what the labels above take, and how wide an invisible mark is that takes the clicks on it.
_CELL, _ABOVE, _MARK = 84, 110, 60
_MEANS = {Relation.ITSELF: "the attacker has this very model", Relation.OTHER: "the attacker never saw this model",
          Relation.MEMBER: "it is one of those that the attacker has"}
_DASHES = {Relation.ITSELF: "solid", Relation.MEMBER: "dot"}
# White means nothing, blue all; and around nothing.
_SHARES = ((0.0, "#f4f6f8"), (1.0, "#0072b2"))
_SIGNED = ((0.0, "#d55e00"), (0.5, "#f4f6f8"), (1.0, "#0072b2"))


@remembered
def heat(matrix: Matrix, names: Mapping[str, str]) -> go.Figure:
    """Success by source and target, with how it was counted; a frame marks what was made on the target itself.

    The second trace has an unseen mark in every cell, source by source, which takes the pointer and the clicks from
    anywhere near: those on a heat map are told to nobody.
    """
    rows, columns = ([literal(names[name]) for name in listed] for listed in (matrix.sources, matrix.targets))
    figure = _grid(rows, columns, [[cell.fooled.rate for cell in row] for row in matrix.cells],
                   [[_counted(cell) for cell in row] for row in matrix.cells],
                   None, _SHARES, 0)
    places = [(row, column) for row in range(len(rows)) for column in range(len(columns))]
    figure.add_scatter(x=[column for _, column in places], y=[row for row, _ in places], mode="markers",
                       customdata=[_hover(cell, names) for cell in matrix.pairs],
                       hovertemplate="%{customdata}<extra></extra>", showlegend=False, opacity=0,
                       marker={"symbol": "square", "size": _MARK, "color": "#0072b2"})
    figure.update_layout(hovermode="closest", hoverdistance=-1)
    for (row, column), cell in zip(places, matrix.pairs, strict=True):
        if cell.relation in _DASHES:
            figure.add_shape(type="rect", x0=column - 0.48, x1=column + 0.48, y0=row - 0.46, y1=row + 0.46,
                             line={"color": "#e69f00", "width": 3, "dash": _DASHES[cell.relation]})
    figure.update_xaxes(title="shown to")
    figure.update_yaxes(title="made on")
    return figure


def clicked(matrix: Matrix, points: Sequence[Mapping[str, int]]) -> Cell | None:
    """The cell that was clicked in `heat`, if one was; a click on a larger matrix that was there before is none."""
    place = points[0]["point_index"] if points else None
    return None if place is None or place >= len(matrix.pairs) else matrix.pairs[place]


@remembered
def alignment(found: Alignment, names: Mapping[str, str]) -> go.Figure:
    """The cosine between the gradients of every two models."""
    labels, cosines = [literal(names[name]) for name in found.models], found.matrix()
    return _grid(labels, labels, [[cosine.mean for cosine in row] for row in cosines],
                 [[_shown(cosine, row == column) for column, cosine in enumerate(own)]
                  for row, own in enumerate(cosines)],
                 [[_said(cosine, labels[row], labels[column]) for column, cosine in enumerate(own)]
                  for row, own in enumerate(cosines)], _SIGNED, -1)


@remembered
def means(matrices: Sequence[Matrix]) -> go.Figure:
    """The mean success on models that the attacker never saw, a bar an attack, with its 95 % interval."""
    attacks = [matrix.attack for matrix in matrices]
    known = [(attack_title(matrix.attack, attacks), matrix.elsewhere) for matrix in matrices
             if matrix.elsewhere.rate is not None]
    figure = go.Figure()
    rates = [mean.rate or 0.0 for _, mean in known]
    figure.add_bar(
        y=[literal(name) for name, _ in known], x=rates, orientation="h", marker={"color": PALETTE[0]},
        text=[percent(rate) for rate in rates], textposition="inside", insidetextanchor="start",
        insidetextfont={"color": "#10151b"},
        error_x={"type": "data", "symmetric": False, "array": [mean.high - (mean.rate or 0) for _, mean in known],
                 "arrayminus": [(mean.rate or 0) - mean.low for _, mean in known], "color": "#888888"},
        customdata=[[mean.low, mean.high, mean.pairs] for _, mean in known],
        hovertemplate="%{y}: %{x:.1%}, 95 % interval %{customdata[0]:.1%} to %{customdata[1]:.1%}, "
                      "%{customdata[2]} pairs<extra></extra>")
    figure.update_layout(height=90 + 44 * len(known), margin={"l": 0, "r": 30, "t": 8, "b": 0}, showlegend=False,
                         xaxis={"range": [0, 1], "tickvals": [0, 0.25, 0.5, 0.75, 1], "tickformat": ".0%",
                                "title": "success on models never seen, mean of all pairs"},
                         yaxis={"autorange": "reversed", "ticklabelstandoff": 6})
    return figure


def _grid(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]],
          texts: Sequence[Sequence[str]], hints: Sequence[Sequence[str]] | None, scale: Sequence[tuple[float, str]],
          low: float) -> go.Figure:
    """Cells with a colour, a text and perhaps a hint each, rows from the top down."""
    figure = go.Figure(go.Heatmap(z=[list(row) for row in values], text=[list(row) for row in texts],
                                  texttemplate="%{text}", hoverongaps=False, showscale=False,
                                  colorscale=[list(stop) for stop in scale], zmin=low, zmax=1, xgap=3, ygap=3,
                                  textfont={"size": 14}))
    if hints is None:
        figure.update_traces(hoverinfo="skip")
    else:
        figure.update_traces(customdata=[list(row) for row in hints], hovertemplate="%{customdata}<extra></extra>")
    figure.update_layout(
        height=_ABOVE + _CELL * len(rows), margin={"l": 0, "r": 8, "t": 0, "b": 0},
        xaxis={"side": "top", "tickvals": list(range(len(columns))), "ticktext": list(columns), "showgrid": False,
               "zeroline": False, "range": [-0.5, len(columns) - 0.5], "fixedrange": True},
        yaxis={"tickvals": list(range(len(rows))), "ticktext": list(rows), "range": [len(rows) - 0.5, -0.5],
               "showgrid": False, "zeroline": False, "ticklabelstandoff": 6, "fixedrange": True})
    return figure


def _counted(cell: Cell) -> str:
    share = cell.fooled
    if share.rate is None:
        return ""
    tag = "" if cell.relation is Relation.OTHER else f"<br><i>{cell.relation.value}</i>"
    return f"<b>{percent(share.rate)}</b><br>{share.counted} of {share.of}{tag}"


def _hover(cell: Cell, names: Mapping[str, str]) -> str:
    source, target = (literal(names[name]) for name in (cell.source, cell.target))
    if not cell.fooled.of:
        return f"made on {source}, shown to {target}: nothing counted yet"
    both = "" if cell.both is None or not cell.both.of else (
        f"<br>of the {cell.both.of} that both classified right: {cell.both.counted} ({within(cell.both)})")
    return (f"made on {source}, shown to {target}<br>{cell.fooled.counted} of the {cell.fooled.of} that {target} "
            f"classified right: {within(cell.fooled)}{both}<br>{cell.relation.value}: {_MEANS[cell.relation]}")


def _shown(cosine: Cosine, itself: bool) -> str:
    if cosine.mean is None:
        return ""
    return "1" if itself else f"<b>{cosine.mean:.2f}</b><br>{cosine.low:.2f} to {cosine.high:.2f}"


def _said(cosine: Cosine, one: str, other: str) -> str:
    if cosine.mean is None:
        return f"{one} and {other}: no gradient to compare"
    return (f"{one} and {other}: cosine {cosine.mean:.3f}, 95 % interval {cosine.low:.3f} to {cosine.high:.3f}, "
            f"{cosine.of} images")
