"""Curves of learning, from a history alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from engine.training.sofar import Sofar
from pages.ui.charts import DASHES, PALETTE

_LINES = (  # where, what of the history, its name, colour and dash
    (1, "loss", "loss, training", 0), (1, "validation_loss", "loss, validation", 1),
    (2, "validation_accuracy", "accuracy, validation", 2), (2, "validation_auc", "AUC, validation", 3),
    (2, "validation_robust", "accuracy under PGD-10", 4), (2, "validation_fgsm", "accuracy under FGSM", 5))


def curves(so_far: Sofar, best: int | None = None) -> go.Figure:
    """Loss, and beside it accuracy and AUC, against the epoch; a ring is the epoch under way, a line the `best` one."""
    figure, history = make_subplots(1, 2, horizontal_spacing=0.08), so_far.history
    for column, name, label, number in _LINES:
        known = [(line["epoch"], line[name]) for line in history if line.get(name) is not None]
        if known:
            form = ".3f" if name.endswith(("loss", "auc")) else ".1%"
            style = {"color": PALETTE[number], "dash": DASHES[number]}
            figure.add_scatter(x=[epoch for epoch, _ in known], y=[value for _, value in known], name=label, row=1,
                               col=column, mode="lines+markers", line=style,
                               hovertemplate=f"epoch %{{x}}: %{{y:{form}}}<extra>{label}</extra>")
    if so_far.at is not None and so_far.loss is not None:
        figure.add_scatter(x=[so_far.at], y=[so_far.loss], name="this epoch so far", mode="markers", row=1, col=1,
                           marker={"color": PALETTE[0], "symbol": "circle-open", "size": 11, "line": {"width": 2}},
                           hovertemplate="epoch %{x:.2f}: %{y:.3f}<extra>so far</extra>")
    if best is not None:
        figure.add_vline(x=best, line={"color": "#888888", "width": 1.5, "dash": "dot"})
    figure.update_layout(height=330, margin={"l": 0, "r": 8, "t": 28, "b": 0}, hovermode="closest",
                         legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0})
    figure.update_xaxes(title="epoch", range=[0.5, so_far.epochs + 0.5], dtick=max(1, so_far.epochs // 10),
                        showspikes=False)
    figure.update_yaxes(title="loss", rangemode="tozero", col=1)
    figure.update_yaxes(title="accuracy, AUC", range=[0, 1.03], tickformat=".0%", col=2)
    return figure


def best_epoch(history: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> int | None:
    """The epoch whose weights were kept, as the history of a finished training tells."""
    full = int(settings.get("full_size_epochs", 0))
    by = str(settings.get("select"))
    name = f"validation_{by}" if by in ("auc", "loss", "robust") else "validation_balanced"
    known = [(line[name], line["epoch"]) for line in history[-full:] if line.get(name) is not None] if full else []
    if not known:
        return None
    return int(min(known, key=lambda one: (one[0], -one[1]))[1] if name == "validation_loss" else max(known)[1])
