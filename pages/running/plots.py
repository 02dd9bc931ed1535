"""Curves of several runs over each other, and their matrices."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from engine.attacks.norms import NORMS
from engine.experiments.evaluation.evaluate import Matrix
from engine.experiments.runs.comparison import Line, Subtracted
from pages.ui.charts import DASHES, PALETTE
from pages.ui.text import literal

_COUNTS = [[0.0, "rgba(86,180,233,0.04)"], [1.0, "rgba(86,180,233,0.6)"]]
_SIGNED = [[0.0, "rgba(0,114,178,0.7)"], [0.5, "rgba(128,128,128,0.06)"], [1.0, "rgba(213,94,0,0.7)"]]


def curves(groups: Sequence[tuple[str, Sequence[Line]]]) -> go.Figure:
    """Accuracy against epsilon with 95 % intervals: a colour for each of several runs, or else for each line, a kind of
    dash for each line of a run."""
    figure, norms = go.Figure(), {line.norm for _, lines in groups for line in lines}
    for run, (name, lines) in enumerate(groups):
        for number, line in enumerate(lines):
            colour = PALETTE[(run if len(groups) > 1 else number) % 8]
            factor = NORMS[line.norm].factor
            label = literal(f"{name}: {line.name}" if len(groups) > 1 else line.name)
            values = [point.accuracy for point in line.points]
            figure.add_scatter(
                x=[point.eps * factor for point in line.points], y=values, name=label, mode="lines+markers",
                line={"color": colour, "dash": DASHES[number % 8]},
                error_y={"type": "data", "symmetric": False, "thickness": 1, "width": 3,
                         "array": [point.high - point.accuracy for point in line.points],
                         "arrayminus": [point.accuracy - point.low for point in line.points]},
                customdata=[[point.n] for point in line.points],
                hovertemplate="%{x:.3g}: %{y:.1%} of %{customdata[0]}<extra>" + label + "</extra>")
    title = " / ".join(NORMS[norm].noun.replace(" distance", "") for norm in sorted(norms))
    figure.update_layout(
        height=380, margin={"l": 0, "r": 8, "t": 12, "b": 0}, showlegend=True,
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
        xaxis={"title": f"epsilon ({title})", "rangemode": "tozero"},
        yaxis={"title": "accuracy", "range": [-0.03, 1.04], "tickformat": ".0%"})
    return figure


def matrix(shown: Matrix, title: str) -> go.Figure:
    """Images by true class and prediction, coloured by their share of the true class."""
    text = [[f"{count:,}<br>{share:.0%}" for count, share in zip(counts, shares, strict=True)]
            for counts, shares in zip(shown.whole.tolist(), shown.shares.tolist(), strict=True)]
    return _heatmap(shown.shares, text, shown.classes, shown.columns, title, _COUNTS, 0.0, 1.0)


def change(shown: Subtracted, title: str) -> go.Figure:
    """What is predicted more (vermilion) or less (blue), around 0."""
    form = "{:+,.0f}" if shown.same else "{:+.1%}"
    text = [[form.format(value) if value else "0" for value in row] for row in shown.values.tolist()]
    most = float(np.abs(shown.values).max()) or 1.0
    return _heatmap(shown.values, text, shown.classes, shown.columns, title, _SIGNED, -most, most)


def _ink() -> str:
    """The colour of text in the visitor's theme: Plotly's annotations are paler."""
    return "#182028" if st.context.theme.type == "light" else "#e4e9ee"


def _heatmap(values: np.ndarray, text: list[list[str]], rows: Sequence[str], columns: Sequence[str], title: str,
             scale: list[list[object]], low: float, high: float) -> go.Figure:
    names, across = [literal(name) for name in rows], [literal(name) for name in columns]
    figure = go.Figure(go.Heatmap(
        z=values, x=across, y=names, text=text, colorscale=scale, zmin=low, zmax=high, showscale=False, xgap=2, ygap=2,
        hovertemplate="is %{y}, said %{x}: %{text}<extra></extra>"))
    for row, texts in enumerate(text):
        for column, said in enumerate(texts):  # in the page's own colour: these cells are translucent
            figure.add_annotation(x=column, y=row, text=said, showarrow=False, font={"size": 13, "color": _ink()})
    figure.update_layout(
        height=110 + 58 * len(rows), margin={"l": 0, "r": 8, "t": 34, "b": 0}, title={"text": literal(title), "x": 0},
        xaxis={"title": "the model says", "showgrid": False, "zeroline": False},
        yaxis={"title": "the image shows", "autorange": "reversed", "showgrid": False, "zeroline": False})
    return figure
