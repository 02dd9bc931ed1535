"""What defenses that refuse catch, and whom they refuse wrongly."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

from engine.experiments.defending import watched
from engine.experiments.defending.judged import Judged
from engine.experiments.defending.watched import Watch, by_detector
from pages.defending.scope import SCOPE
from pages.ui import figures
from pages.ui.charts import DASHES, PALETTE, percent
from pages.ui.remembered import remembered
from pages.ui.text import literal, plain

MOST = 3  # detectors side by side
FAINT = "#888888"


def show(found: Judged, eps: float | None) -> None:
    """Nothing, where no defense refuses."""
    seen = [one for one in watched.watches(found, eps) if one.detection is not None]
    honest = watched.crowd_sentences(found)
    if not seen and not honest:
        return
    st.markdown("###### Who is refused")
    st.markdown("\n".join(f"- {plain(line)}." for line in (*watched.sentences(seen), *honest)))
    if not seen:
        return
    st.caption("A detector gives every picture a score and refuses those above its threshold. Each line shows what "
               "every possible threshold would do: upwards, the share of attacked pictures that it refuses; to the "
               "right, the share of untouched ones that it refuses as well (false alarms). A line near the upper left "
               "corner is a good detector, one on the diagonal a coin. The mark is the threshold in use; dotted, the "
               "false alarms that were chosen. None of these pictures was used to set it.")
    figures.figure(SCOPE, roc(seen[:8 * MOST]), "detectors-roc")
    figures.grouped_table(SCOPE, watched.readable(seen), "detectors", "detector")


@remembered
def roc(found: Sequence[Watch]) -> go.Figure:
    """The ROC curves of the first detectors, side by side, a line an attack, with the threshold in use marked."""
    detectors = dict(list(by_detector(found).items())[:MOST])
    # Long names of models would run out of the picture.
    titles = [literal(name).replace(" on ", "<br>on ", 1) for name in detectors]
    figure = make_subplots(1, len(detectors), subplot_titles=titles,
                           horizontal_spacing=0.08)
    attacks = list(dict.fromkeys(one.attack for own in detectors.values() for one in own))
    named: set[str] = set()
    for column, own in enumerate(detectors.values(), 1):
        figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": FAINT, "width": 1}, hoverinfo="skip",
                           showlegend=False, row=1, col=column)
        figure.add_vline(own[0].scores.allowed, line={"color": FAINT, "dash": "dot"}, row=1, col=column)
        for one in own:
            number = attacks.index(one.attack)
            _line(figure, one, number, column, one.attack not in named)
            named.add(one.attack)
    figure.update_xaxes(title="untouched pictures refused", range=[-0.03, 1.03], tickformat=".0%")
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%")
    figure.update_yaxes(title="attacked pictures refused", row=1, col=1)
    figure.update_annotations(font={"size": 13})
    top = 48 if any("<br>" in title for title in titles) else 28
    figure.update_layout(height=360, margin={"l": 0, "r": 8, "t": top, "b": 0},
                         legend={"orientation": "h", "y": -0.22, "yanchor": "top", "x": 0})
    return figure


def _line(figure: go.Figure, one: Watch, number: int, column: int, named: bool) -> None:
    curve, colour, name = one.detection, PALETTE[number % 8], literal(one.attack)
    assert curve is not None
    shared = {"legendgroup": name, "name": name, "row": 1, "col": column}
    figure.add_scatter(x=curve.false_alarms, y=curve.caught, mode="lines", showlegend=named,
                       line={"color": colour, "width": 2, "dash": DASHES[number % len(DASHES)]},
                       hovertemplate=f"{name}<br>refuses %{{y:.1%}} of attacked, %{{x:.1%}} of untouched pictures"
                                     f"<br>area under the curve {curve.area:.3f}<extra></extra>", **shared)
    figure.add_scatter(x=[one.alarms.rate], y=[one.caught.rate], mode="markers", showlegend=False,
                       marker={"color": colour, "size": 12, "symbol": "diamond", "line": {"width": 1}},
                       hovertemplate=f"{name}<br>the threshold in use refuses {percent(one.caught.rate or 0)} of "
                                     f"attacked, {percent(one.alarms.rate or 0)} of untouched pictures<extra></extra>",
                       **shared)
