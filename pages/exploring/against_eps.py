"""The one picture at every epsilon: what the model says, where that flips, and where the eye would see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import streamlit as st

from engine.attacks import ATTACKS
from engine.attacks.base import Cost
from engine.attacks.rows import Rows
from engine.attacks.spec import AttackSpec, attack_of, cost_of
from engine.experiments.epsilon.eyes import LEVEL, SEEN
from engine.experiments.epsilon.ladder import INDEPENDENT, ladder_of, ladder_task
from engine.experiments.gathered import runs_of
from engine.experiments.onepicture.asking import refused, said
from engine.experiments.units import unit_of
from engine.work.jobs import jobs
from engine.work.kinds import Task
from pages.exploring import following
from pages.exploring.run import Run
from pages.exploring.scope import SCOPE
from pages.ui import charts, controls, progress, shell
from pages.ui.charts import DASHES, PALETTE, duration
from pages.ui.controls import Scale
from pages.ui.text import literal, plain

# What is tried, as it is shown; of attacks that take a gradient for each step, fewer.
TRIED = {"linf": (0.125, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 16), "l2": (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 4, 8)}
FEWER = {"linf": (0.25, 0.5, 1, 2, 4, 8, 16), "l2": (0.1, 0.3, 0.5, 1, 2, 4, 8)}
AT_ONCE = 2.0  # seconds up to which it is drawn without being asked for
FEW = 40  # gradients and queries up to which it is, where nobody knows yet how long they take here


@dataclass(frozen=True)
class Points:
    """What the model says, a probability a class, at every eps as it is shown; the first one is 0."""

    shown: tuple[float, ...]
    says: tuple[tuple[float, ...], ...]

    @property
    def flip(self) -> tuple[float, float] | None:
        """Between which two eps the prediction is first another one (a refusal is none); None where it never is."""
        best = [None if refused(says) else max(range(len(says)), key=says.__getitem__) for says in self.says]
        return next(((self.shown[place - 1], self.shown[place]) for place in range(1, len(best))
                     if best[place] not in (best[0], None)), None)


def points_of(clean: Sequence[float], runs: Sequence[Rows], scale: Scale) -> Points:
    """The points of one picture, from what the model says of it as it is and the runs at every eps."""
    says = [tuple(said(rows.logits_adversarial.astype(float))[0].tolist()) for rows in runs]
    return Points((0.0, *((rows.spec.eps or 0) * scale.factor for rows in runs)), (tuple(clean), *says))


def show(run: Run) -> None:
    """The curve, at once where it takes no time, else when asked for."""
    settings, info = run.settings, ATTACKS[run.settings.attack.attack].info
    if not info.bounded:
        st.caption(f"{info.title} has no epsilon: what it finds is already limited by its own settings.")
        return
    attack, scale = attack_of(settings.attack), controls.SCALES[settings.attack.norm]
    levels = (TRIED if attack.straight else FEWER)[settings.attack.norm]
    unit = unit_of(settings.source, settings.model, settings.attack)
    task = ladder_task(ladder_of(unit, [scale.eps(level) for level in levels], INDEPENDENT), settings.device)
    cost, at = _cost(settings.attack, len(levels)), following.pace_of(settings)
    seconds = None if at is None else at.estimate(cost)
    quick = cost.gradients + cost.queries <= FEW if seconds is None else seconds < AT_ONCE
    if jobs().find(task) is None and quick and not attack.learning_cost(1).queries:
        jobs().submit(task, shell.owner())
    payload = _result(task, cost, seconds)
    if payload is not None:
        _draw(run, points_of(run.explored.probabilities.clean, payload, scale), scale)


def _cost(attack: AttackSpec, count: int) -> Cost:
    """Of so many runs on one picture, or of one gradient for all and two looks at each."""
    each = cost_of(attack)
    if attack_of(attack).straight:
        return Cost(each.gradients, each.queries + 2 * count)
    return Cost(each.gradients * count, each.queries * count)


def _result(task: Task, cost: Cost, seconds: float | None) -> list[Rows] | None:
    time = "" if seconds is None else f" Takes about {duration(seconds)} here."
    payload = progress.on_request(
        SCOPE, task, f"This picture alone, attacked at every epsilon: at most {cost.gradients:,} gradients.{time}",
        "Draw it against epsilon", name="against epsilon")
    return None if payload is None else runs_of(payload)


def _draw(run: Run, points: Points, scale: Scale) -> None:
    eye, chosen = _eye(run, scale), (run.settings.attack.eps or 0) * scale.factor
    charts.show(figure(run.classes, points, eye, chosen, scale), key=SCOPE.key("against epsilon figure"))
    st.markdown(sentence(points, eye, scale))
    st.caption(plain(f"The eye: from where this perturbation, enlarged, would become {LEVEL} by the estimate under "
                     "Numbers and files. Between the tried values, marked by dots, lines are drawn straight."))


def _eye(run: Run, scale: Scale) -> float | None:
    """The eps, as it is shown, at which the shown perturbation would just be seen: visibility grows in proportion."""
    score, eps = run.explored.visibility.score, run.settings.attack.eps
    return None if not score or not eps else eps * SEEN / score * scale.factor


def sentence(points: Points, eye: float | None, scale: Scale) -> str:
    """Where it flips and where the eye would see it, in words."""
    highest = points.shown[-1]
    seen = "" if eye is None else f" The eye would notice the change from about **{eye:.2g}{scale.unit}** on."
    if points.flip is None:
        return f"The diagnosis holds at everything that was tried, up to **{scale.text(highest)}**.{seen}"
    low, high = points.flip
    words = f"The diagnosis flips between **{scale.text(low)}** and **{scale.text(high)}**.{seen}"
    if eye is not None and high < eye:
        words += f" In between nobody would see why: the eye needs {eye / high:.2g} times as much as the model."
    return words


def figure(classes: Sequence[str], points: Points, eye: float | None, chosen: float, scale: Scale) -> go.Figure:
    """The probability of every class against eps, on an axis that is fine where eps is small; lines mark the flip, the
    chosen eps and the eye's threshold."""
    drawn = go.Figure()
    x = [_place(value) for value in points.shown]
    for number, name in enumerate(map(literal, classes)):
        drawn.add_scatter(x=x, y=[says[number] for says in points.says], name=name, mode="lines+markers",
                          line={"color": PALETTE[number % 8], "dash": DASHES[number % 8]},
                          customdata=[scale.text(value) for value in points.shown],
                          hovertemplate="%{customdata}: %{y:.1%}<extra>" + name + "</extra>")
    if points.flip is not None:
        drawn.add_vrect(x0=_place(points.flip[0]), x1=_place(points.flip[1]), fillcolor="#d55e00", opacity=0.18,
                        line_width=0, annotation={"text": "flips", "font": {"size": 12}})
    marks = [(chosen, "chosen", "#888888", "dot"), *([(eye, "eye", "#009e73", "dash")] if eye is not None else [])]
    for value, name, colour, dash in marks:
        drawn.add_vline(x=_place(value), line={"color": colour, "width": 1.5, "dash": dash},
                        annotation={"text": name, "font": {"size": 12}},
                        annotation_position="bottom right" if name == "chosen" else "top left")
    ticks = [value for value in points.shown if value == 0 or 4 * value == round(4 * value)]
    drawn.update_layout(
        height=330, margin={"l": 0, "r": 8, "t": 34, "b": 0},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        xaxis={"title": scale.label, "tickvals": [_place(value) for value in ticks],
               "ticktext": [f"{value:g}" for value in ticks], "showspikes": False, "zeroline": False},
        yaxis={"range": [-0.03, 1.05], "tickformat": ".0%", "title": "probability", "zeroline": False})
    return drawn


def _place(value: float) -> float:
    """The root spreads small values."""
    return float(value ** 0.5)
