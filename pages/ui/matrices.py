"""Confusion matrices as a figure whose cells can be clicked, drawn from rows alone."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from engine.attacks.rows import Rows
from engine.experiments.evaluation.evaluate import AFTER, BEFORE, REFUSED, Matrix, change, matrix
from pages.ui.remembered import remembered
from pages.ui.text import literal

FORMS = {"counts": "Images", "rows": "% of those that show it", "columns": "% of those said to"}
_SIGNED = [[0, "#0072b2"], [0.5, "#f7f7f7"], [1, "#d55e00"]]
_DARK = 0.45  # of cividis, below which its colours are dark


@remembered
def matrices(rows: Rows, form: str, with_change: bool = True) -> go.Figure:
    """The confusion matrices before and after on one scale of colour, and the signed change. A click on a cell selects
    its point, whose custom data are side, true class and answer (-1: refused)."""
    before, after = (matrix(rows, side) for side in (BEFORE, AFTER))
    titles = ["Before the attack", "After the attack", "Change"][:3 if with_change else 2]
    figure = make_subplots(1, len(titles), shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=titles)
    shown = [_values(one, form) for one in (before, after)]
    most = 100.0 if form != "counts" else float(max(1, *(int(one.whole.max()) for one in (before, after))))
    for place, (side, one, values) in enumerate(zip((BEFORE, AFTER), (before, after), shown, strict=True)):
        scale = {"colorscale": "Cividis", "zmin": 0, "zmax": most}
        colours = ["#ffffff" if np.nan_to_num(value) < _DARK * most else "#10151a" for value in values.flat]
        _panel(figure, place + 1, side, one, values, form, scale, colours, "")
    if with_change:
        _change(figure, before, after, form)
    figure.update_xaxes(title="the model says", side="bottom", showgrid=False, zeroline=False, showspikes=False)
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False, showspikes=False)
    figure.update_yaxes(title="the image shows", ticklabelstandoff=6, col=1)
    for column in range(2, len(titles) + 1):
        figure.update_yaxes(ticks="", col=column)
    figure.update_layout(height=150 + 68 * len(rows.classes), margin={"l": 0, "r": 8, "t": 30, "b": 0},
                         showlegend=False, clickmode="event+select", dragmode=False)
    return figure


def counted_cells(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> go.Figure:
    """One matrix as a card has it: the colour is the share of a row."""
    names = [literal(name) for name in classes]
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    figure = go.Figure(go.Heatmap(z=shares, x=names, y=names, customdata=counts, colorscale="Cividis", zmin=0, zmax=1,
                                  showscale=False, xgap=2, ygap=2, texttemplate="%{text:,}", text=counts,
                                  hovertemplate="is %{y}, said %{x}: %{customdata} (%{z:.1%})<extra></extra>"))
    figure.update_layout(height=120 + 42 * len(names), margin={"l": 0, "r": 8, "t": 30, "b": 0},
                         xaxis={"title": "the model says"}, yaxis={"autorange": "reversed", "title": "the image shows"})
    return figure


def _change(figure: go.Figure, before: Matrix, after: Matrix, form: str) -> None:
    moved, values = change(before, after), _moved(before, after, form)
    bound = max(1.0, float(np.nanmax(np.abs(values), initial=0)))
    colours = ["#ffffff" if abs(np.nan_to_num(value)) > 0.75 * bound else "#10151a" for value in values.flat]
    _panel(figure, 3, AFTER, moved, values, form, {"colorscale": _SIGNED, "zmin": -bound, "zmax": bound}, colours, "+")


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
