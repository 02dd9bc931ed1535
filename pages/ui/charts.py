"""The page's plots: class probabilities, and how an attack went step by step."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import streamlit as st

from engine.wording import counted as counted
from engine.wording import duration as duration
from engine.wording import percent as percent
from pages.ui.remembered import remembered
from pages.ui.text import literal

# Okabe and Ito's colours, in the order in which classes get them.
PALETTE = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#f0e442", "#999999")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")
BEFORE, AFTER = "#56b4e9", "#e69f00"
CAMERA = "figures are saved as"  # where a session remembers what it wants of the cameras


def config(name: str = "perturbscope") -> dict[str, object]:
    """Plotly's settings: few buttons, and a camera that saves as the visitor wishes."""
    return {
        "displaylogo": False,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d",
                                   "resetScale2d"],
        "toImageButtonOptions": {"format": st.session_state.get(CAMERA) or "svg", "filename": name, "scale": 2},
    }


def show(figure: go.Figure, key: str) -> None:
    """Draw a plot; its camera saves it."""
    st.plotly_chart(figure, width="stretch", key=key, config=config())


@remembered
def probabilities(classes: Sequence[str], before: Sequence[float], after: Sequence[float]) -> go.Figure:
    """Two bars a class: before and after the attack."""
    figure = go.Figure()
    for name, values, colour, pattern in (("before", before, BEFORE, ""), ("after the attack", after, AFTER, "/")):
        figure.add_bar(y=[literal(c) for c in classes], x=list(values), name=name, orientation="h",
                       text=[percent(v) for v in values], textposition="outside", cliponaxis=False,
                       marker={"color": colour, "pattern": {"shape": pattern}},
                       hovertemplate="%{y}, " + name + ": %{x:.2%}<extra></extra>")
    figure.update_layout(
        height=70 + 52 * len(classes), margin={"l": 0, "r": 8, "t": 28, "b": 0},
        barmode="group", bargap=0.28, bargroupgap=0.06,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        xaxis={"range": [0, 1.12], "tickvals": [0, 0.25, 0.5, 0.75, 1], "tickformat": ".0%"},
        yaxis={"autorange": "reversed", "ticklabelstandoff": 6})
    return figure


@remembered
def steps(classes: Sequence[str], probabilities: Sequence[Sequence[float]], loss: Sequence[float], chosen: int,
          loss_title: str) -> go.Figure:
    """Probability of every class, and the loss, at every step; a line marks the chosen one."""
    numbers = list(range(len(loss)))
    figure = go.Figure()
    for index, name in enumerate(map(literal, classes)):
        figure.add_scatter(x=numbers, y=[p[index] for p in probabilities], name=name, mode="lines+markers",
                           line={"color": PALETTE[index % 8], "dash": DASHES[index % 8]},
                           hovertemplate="step %{x}: %{y:.1%}<extra>" + name + "</extra>")
    figure.add_scatter(x=numbers, y=list(loss), name="loss", yaxis="y2", mode="lines+markers", showlegend=False,
                       line={"color": "#999999"}, hovertemplate="step %{x}: loss %{y:.3g}<extra></extra>")
    figure.add_vline(x=chosen, line={"color": "#888888", "width": 1.5, "dash": "dot"})
    figure.update_layout(
        height=330, margin={"l": 0, "r": 8, "t": 28, "b": 0}, hovermode="x unified",
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        xaxis={"title": "step", "dtick": max(1, len(numbers) // 10), "anchor": "y2", "showspikes": False},
        yaxis={"domain": [0.46, 1], "range": [-0.03, 1.05], "tickformat": ".0%", "title": "probability"},
        yaxis2={"domain": [0, 0.36], "title": loss_title, "rangemode": "tozero"})
    return figure


@remembered
def walk(queries: Sequence[int], distances: Sequence[float | None], title: str) -> go.Figure:
    """How far the best image is from the original after so many queries."""
    figure = go.Figure()
    ticks = [lead * 10**power for power in range(6) for lead in (1, 2, 5)]
    figure.add_scatter(x=list(queries), y=list(distances), mode="lines", line={"color": BEFORE, "width": 2},
                       hovertemplate="%{x:,} queries: %{y:.3g}<extra></extra>")
    figure.update_layout(
        height=260, margin={"l": 0, "r": 8, "t": 12, "b": 0}, showlegend=False,
        xaxis={"title": "queries", "type": "log", "tickvals": ticks, "ticktext": [f"{n:,}" for n in ticks],
               "showspikes": False},
        yaxis={"title": title, "rangemode": "tozero"})
    return figure


@remembered
def bisection(tried: Sequence[float], fooled: Sequence[bool], title: str) -> go.Figure:
    """The budgets a search tried, one after another, and which of them flipped the diagnosis."""
    figure = go.Figure()
    numbers = list(range(1, len(tried) + 1))
    figure.add_scatter(x=numbers, y=list(tried), mode="lines", line={"color": "#888888", "width": 1, "dash": "dot"},
                       hoverinfo="skip", showlegend=False)
    for name, flag, colour, symbol in (("flips", True, AFTER, "x"), ("holds", False, BEFORE, "circle")):
        chosen = [i for i, f in enumerate(fooled) if f == flag]
        figure.add_scatter(x=[numbers[i] for i in chosen], y=[tried[i] for i in chosen], mode="markers", name=name,
                           marker={"color": colour, "symbol": symbol, "size": 10},
                           hovertemplate="try %{x}: %{y:.3g}<extra>" + name + "</extra>")
    figure.update_layout(
        height=260, margin={"l": 0, "r": 8, "t": 28, "b": 0},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        xaxis={"title": "try", "dtick": 1, "showspikes": False}, yaxis={"title": title, "rangemode": "tozero"})
    return figure


# What of an attack's learning curves is a share of pictures; the others are losses, on an axis of their own.
_SHARES = {"fooling": "pictures fooled", "fooled": "pictures fooled"}


@remembered
def learning(curves: Mapping[str, Sequence[float]]) -> go.Figure:
    """The losses that an attack learned by, and the share of pictures it fooled meanwhile."""
    figure, longest = go.Figure(), max(map(len, curves.values()), default=0)
    for index, (name, values) in enumerate(curves.items()):
        share = name in _SHARES
        figure.add_scatter(x=list(range(1, len(values) + 1)), y=list(values), name=_SHARES.get(name, name),
                           mode="lines+markers" if longest <= 10 else "lines", yaxis="y2" if share else "y",
                           line={"color": PALETTE[index % 8], "dash": DASHES[index % 8]},
                           hovertemplate=f"step %{{x}}: %{{y:{'.1%' if share else '.3g'}}}<extra>"
                                         f"{_SHARES.get(name, name)}</extra>")
    figure.update_layout(
        height=240, margin={"l": 0, "r": 8, "t": 28, "b": 0}, showlegend=True,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        xaxis={"title": "step of learning", "showspikes": False, "dtick": 1 if longest <= 10 else None},
        yaxis={"title": "loss"},
        yaxis2={"title": "pictures fooled", "overlaying": "y", "side": "right", "range": [0, 1.02],
                "tickmode": "array", "tickvals": [0, 0.5, 1], "tickformat": ".0%", "showgrid": False})
    return figure
