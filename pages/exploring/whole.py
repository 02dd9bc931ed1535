"""The model as a whole: what the chosen attack does to many images of the split, beside what it did to the one."""

from collections.abc import Sequence
from dataclasses import replace

import plotly.graph_objects as go
import streamlit as st

from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows, joined
from engine.attacks.spec import AttackSpec, attack_of, cost_of
from engine.data import Dataset
from engine.data.classmap import fits
from engine.data.marks import MARKS, marked
from engine.data.splits import evenly
from engine.errors import EngineError
from engine.experiments.epsilon.curve import point_of, recalls
from engine.experiments.epsilon.ladder import WORST, curves_of, curves_task
from engine.experiments.openings import CURVE, EXPLORE
from engine.experiments.runs.repeating import Asked
from engine.experiments.sources import opened
from engine.experiments.sweeps import Sweep, evaluation_task, sweep_of
from engine.experiments.units import rows_of, rows_task
from engine.metrics.rates import interval
from engine.work.jobs import Job, State, jobs
from engine.work.kinds import Task
from engine.zoo.registry import model_card
from pages.exploring import following
from pages.exploring.scope import SCOPE
from pages.ui import charts, links, shell, sweeping
from pages.ui.charts import counted, duration
from pages.ui.controls import SCALES
from pages.ui.matrices import matrices
from pages.ui.remembered import remembered
from pages.ui.runs import Settings
from pages.ui.sweeping import Known
from pages.ui.text import literal, plain

IMAGES = EXPLORE.images
# Seconds up to which the sample is attacked without a click, that one batch may take then, as another visitor's click
# waits for it, and for which nothing was turned before it begins.
SOON, PIECE, REST = 20.0, 3.0, 1.0
# What the session remembers: the sample that began by itself last, the keys of those that gave way to something else,
# and the one that is about to begin.
BEGUN, GAVE_WAY, NEXT = map(SCOPE.key, ("sample begun", "samples given up", "sample next"))
GRID = {"linf": CURVE, "l2": (0.1, 0.25, 0.5, 1, 2, 4, 8)}  # in the units of the slider


def show(settings: Settings, label: int | None) -> None:
    """Confusion matrices at the chosen epsilon, and accuracy against epsilon; `label` is the shown image's class."""
    st.markdown("##### The model as a whole")
    known = opened(settings.source.dataset, settings.source.split).classes
    if settings.source.upload and not fits(known, model_card(settings.model).classes):
        st.caption("The pictures of the chosen data set have other classes than this model knows. Choose the data set "
                   "that it was trained on, if it is here, to see what the attack does to many pictures.")
        return
    left, right = st.columns([1.15, 1], gap="medium")
    try:
        with left:
            _matrices(settings)
        with right:
            if settings.attack.eps is None:
                st.caption("This attack has no epsilon, and so no curve.")
            else:
                _curve(settings, label)
    except EngineError as error:
        st.caption(plain(f"{error}."))


def _sample(settings: Settings, attacks: Sequence[AttackSpec]) -> Sweep:
    """The attacks on a sample of the split; raises EngineError."""
    source = settings.source
    indices = _indices(opened(source.dataset, source.split), settings.attack.mask)
    return sweep_of(source.dataset, source.split, indices, (settings.model,), attacks)


def _indices(data: Dataset, mask: str) -> list[int]:
    """Images spread evenly over the split, of those that have the mask within which the attack is confined."""
    chosen = evenly(range(len(data)), IMAGES)
    return [index for index in chosen if marked(mask, data, index) is not None] if mask in MARKS else chosen


def _seconds(settings: Settings, runs: int = 1) -> float | None:
    """How long so many attacks on the sample take here, as far as that is known."""
    at = following.pace_of(settings)
    if at is None or attack_of(settings.attack).learning_cost(1).queries:
        return None
    return runs * IMAGES * at.estimate(cost_of(settings.attack))


def _soon(settings: Settings, seconds: float | None) -> bool:
    """Whether that need not wait for a click."""
    return seconds is not None and seconds <= SOON and seconds * settings.attack.batch / IMAGES <= PIECE


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f" Takes about {duration(seconds)} here."


# ---- matrices


def _matrices(settings: Settings) -> None:
    sample, seconds = _sample(settings, (settings.attack,)), _seconds(settings)
    task = evaluation_task(sample, settings.device)
    if (before := st.session_state.get(BEGUN)) is not None and before.key != task.key:
        make_way()
    if (runs := _already(sample, task)) is not None:
        _matrices_of(settings, Known(task, runs))
        return
    if _soon(settings, seconds) and _may_begin(task):
        _after_a_rest(task)
        return
    sweeping.inline(
        SCOPE, "matrices", task, lambda known: _matrices_of(settings, known),
        explained=f"What the model says of {counted(len(sample.indices), 'image')} of the split "
                  f"'{settings.source.split}' before and after this attack.{_time(seconds)}",
        label="Attack a sample")


def _already(sample: Sweep, task: Task) -> list[Rows] | None:
    """The one run, where nobody asked for just this but all its rows are there: the curve leaves some, and so do other
    evaluations. A look at them is no work."""
    if jobs().find(task) is not None:
        return None
    pieces = []
    units, = sample.plan()
    for unit in units:
        kept = rows_task(unit, task.device).kept(jobs().store)
        if kept is None:
            return None
        pieces.append(rows_of(kept))
    return [joined(pieces)]


def _may_begin(task: Task) -> bool:
    """Whether nobody has asked for it, nor stopped it: it may have given way to something else."""
    job = jobs().find(task)
    return job is None or (job.state is State.CANCELLED and job.key in st.session_state.get(GAVE_WAY, ()))


@st.fragment(run_every=REST)
def _after_a_rest(task: Task) -> None:
    """Begins, once nothing has been turned for a moment: a slider on its way is not to wait for samples."""
    session = st.session_state
    rested, session[NEXT] = session.get(NEXT) == task.key, task.key
    if rested:
        session.get(GAVE_WAY, set()).discard(task.key)  # from now on it is the visitor's to stop
        session[BEGUN] = jobs().submit(task, shell.owner())
        st.rerun()
    st.caption("The sample is attacked in a moment.")


def make_way() -> None:
    """What began by itself need not go on once something else is asked for. Its rows so far are kept."""
    before: Job | None = st.session_state.get(BEGUN)
    if before is not None and not before.state.over:
        st.session_state.setdefault(GAVE_WAY, set()).add(before.key)
        jobs().cancel(before, shell.owner())


def _matrices_of(settings: Settings, known: Known) -> None:
    if not known.runs:
        return
    rows = known.runs[0]
    st.caption(plain(_accuracies(rows, known.complete)))
    event = st.plotly_chart(matrices(rows, "counts", with_change=False), width="stretch", key=SCOPE.key("matrices"),
                            config=charts.config("confusion"), on_select="rerun", selection_mode="points")
    if points := event.selection.points:
        side, shows, says, _ = points[-1]["customdata"]
        st.switch_page(shell.file("evaluate"), query_params={
            **texts(settings), "when": str(side), "shows": str(shows), "says": str(says)})
    st.page_link(shell.file("evaluate"), label="Open in Evaluate", query_params=texts(settings),
                 help="The same attack on these images, with every number and the images behind it. A click on a cell "
                      "opens its images there.")


def _accuracies(rows: Rows, complete: bool) -> str:
    total = len(rows.labels)
    before, after = (int((said == rows.labels).sum()) for said in (rows.predicted_clean, rows.predicted_adversarial))
    low, high = interval(after, total)
    so_far = "" if complete else "So far: o"
    return (f"{so_far or 'O'}f {counted(total, 'image')} it reads {before} correctly, and {after} after the attack "
            f"({after / total:.0%}; 95 % interval {low:.0%} to {high:.0%}).")


# ---- accuracy against epsilon


def _curve(settings: Settings, label: int | None) -> None:
    scale = SCALES[settings.attack.norm]
    specs = [replace(settings.attack, eps=scale.eps(shown)) for shown in GRID[settings.attack.norm]]
    curves = curves_of(_sample(settings, specs), (WORST,))
    seconds = _seconds(settings, runs=3)  # what halving takes of as many epsilons
    sweeping.inline(
        SCOPE, "curve", curves_task(curves, settings.device), lambda known: _curve_of(settings, known, label),
        explained=f"How accurate it is on them at other epsilons.{_time(seconds)}", label="Draw the curve",
        by_itself=_soon(settings, seconds))


def _curve_of(settings: Settings, known: Known, label: int | None) -> None:
    if not known.runs:
        return
    st.caption(plain("Worst case within the budget: an image counts as lost from the smallest epsilon on that fools "
                     f"the model. {counted(len(known.runs[0].labels), 'image')}"
                     f"{'' if known.complete else ' so far'}."))
    event = st.plotly_chart(curve(known.runs, settings.attack, label), width="stretch", key=SCOPE.key("curve"),
                            config=charts.config("accuracy-against-epsilon"), on_select="rerun",
                            selection_mode="points")
    asked = {**texts(settings), SCALES[settings.attack.norm].setting: _grid(settings.attack)}
    if event.selection.points:
        st.switch_page(shell.file("epsilon"), query_params=asked)
    st.page_link(shell.file("epsilon"), label="Open in Epsilon", query_params=asked,
                 help="The same curve with both readings, every image's own smallest epsilon, and the eye's.")


@remembered
def curve(runs: Sequence[Rows], attack: AttackSpec, label: int | None) -> go.Figure:
    """Accuracy with its 95 % interval, and the recall of class `label`, against epsilon; a line at the chosen one."""
    norm, first = NORMS[attack.norm], runs[0]
    points = [point_of(rows) for rows in runs]
    right = int((first.predicted_clean == first.labels).sum())
    clean = (right / len(first.labels), *interval(right, len(first.labels)))
    x = [0.0, *(point.eps * norm.factor for point in points)]
    accuracy, low, high = zip(clean, *((point.accuracy, point.low, point.high) for point in points), strict=True)
    figure = go.Figure()
    figure.add_scatter(x=[*x, *x[::-1]], y=[*high, *low[::-1]], fill="toself", mode="lines", line={"width": 0},
                       fillcolor="rgba(86,180,233,0.2)", hoverinfo="skip", showlegend=False)
    figure.add_scatter(x=x, y=accuracy, name="accuracy", mode="lines+markers", line={"color": charts.BEFORE},
                       hovertemplate="%{x:g}" + norm.unit + ": %{y:.1%} right<extra></extra>")
    if label is not None:
        name = first.classes[label]
        shown = [_clean_recall(first, label), *(recalls(rows)[name].value for rows in runs)]
        figure.add_scatter(x=x, y=shown, name=f"recall of {literal(name)}", mode="lines+markers",
                           line={"color": charts.AFTER, "dash": "dash"}, marker={"symbol": "diamond"},
                           hovertemplate="%{x:g}" + norm.unit + ": %{y:.1%} found<extra></extra>")
    figure.add_vline(x=(attack.eps or 0.0) * norm.factor, line={"color": "#888888", "width": 1.5, "dash": "dot"},
                     annotation={"text": "chosen", "yref": "paper", "y": 0.98, "xanchor": "left", "showarrow": False})
    figure.update_layout(
        height=300, margin={"l": 0, "r": 8, "t": 28, "b": 0}, clickmode="event+select", dragmode=False,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis={"title": SCALES[attack.norm].label, "showspikes": False, "rangemode": "tozero"},
        yaxis={"range": [-0.03, 1.05], "tickformat": ".0%"})
    return figure


def _clean_recall(rows: Rows, label: int) -> float | None:
    own = rows.labels == label
    return float((rows.predicted_clean[own] == label).mean()) if own.any() else None


# ---- links


def _grid(attack: AttackSpec) -> str:
    scale = SCALES[attack.norm]
    shown = {*map(float, GRID[attack.norm]), (attack.eps or 0.0) * scale.factor}
    return ",".join(scale.text(value) for value in sorted(shown))


def texts(settings: Settings) -> dict[str, str]:
    """The address of the pages about whole data sets for the sample and the attack."""
    source, attack = settings.source, settings.attack
    indices = _indices(opened(source.dataset, source.split), attack.mask)
    return links.texts(Asked(source.dataset, source.split, tuple(indices), (settings.model,), (), (attack,)),
                       settings.device)
