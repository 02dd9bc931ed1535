"""One picture behind each defense: as it was sent, as it arrives, and where the model then looks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import streamlit as st

from engine.attacks.spec import ADAPTIVE
from engine.experiments.defending.judged import Judged, Standing, fooled_within
from engine.experiments.defending.judging import Checked
from engine.experiments.defending.seeing import Through, through_task
from engine.experiments.defending.words import names_of
from engine.experiments.queries.walks import plan
from engine.experiments.sweeps import Sweep
from engine.experiments.units import Unit
from engine.work.jobs import State, jobs
from pages.defending.scope import SCOPE
from pages.defending.words import who
from pages.ui import pictures, progress, shell
from pages.ui.charts import percent
from pages.ui.pictures import Figure
from pages.ui.sweeping import Known
from pages.ui.text import in_archive, plain


def show(known: Known, found: Judged, standings: Sequence[Standing]) -> None:
    """Chosen by the visitor; computed when asked for."""
    st.markdown("###### One picture behind each defense")
    sweep = cast(Sweep, known.task.spec)
    runs = [_run(found, one) for one in standings]
    names = sweep.images
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row = st.selectbox("Picture", range(len(names)), _first(found, standings[0], runs[0]),
                           key=SCOPE.control("seen"), format_func=lambda place: names[place],
                           help=in_archive(names[0], sweep.split))
        asked = st.toggle("Show it, with heatmaps", key=SCOPE.control("seen asked"),
                          help="The attacked picture as it is sent, what the defense lets through to the model, and "
                               "where the model looks for what it says.")
    if not asked:
        return
    for run, name in zip(runs, names_of(standings), strict=True):
        st.markdown(plain(f"{name}, {who(run)}"))
        _row(known, run, row)


def _run(found: Judged, one: Standing) -> Checked:
    """The worst attack of who knows of the defense, or of whom there is."""
    runs = [run for run in found.runs_of(one) if run.spec.eps is None or run.spec.eps == one.eps]
    aware = [run for run in runs if run.spec.attacker == ADAPTIVE] or runs
    return max(aware, key=lambda run: int(fooled_within(run, found.norm, one.eps).sum()))


def _first(found: Judged, one: Standing, run: Checked) -> int:
    """A picture that the bare model is fooled by."""
    fooled = np.flatnonzero(fooled_within(run, found.norm, one.eps))
    return int(fooled[0]) if len(fooled) else 0


def _row(known: Known, run: Checked, row: int) -> None:
    unit, place = _unit(known, run, row)
    job = jobs().submit(through_task(replace(unit, shown=place), known.task.device), shell.owner())
    if not progress.finished(job):
        return
    if job.state is not State.DONE or job.payload is None:
        st.error(plain(job.error or "The pictures were cancelled; choose another to compute them again."))
        return
    it, badge = Through.of(job.payload), "SYNTHETIC" if unit.seen.info.synthetic else ""
    scale = (pictures.INFERNO_CSS, "ignored", "what counts most")
    clean, after = (_says(run, getattr(run, f"logits_{side}")[row]) for side in ("clean", "adversarial"))
    before, heated = (run.classes[label] for label in it.classes)
    name = job.key
    pictures.row([
        Figure("Original", f"answered: {clean}", pictures.image_png(it.sent[0], f"{name} sent"), badge),
        Figure("Attacked, as sent", f"answered: {after}", pictures.image_png(it.sent[1], f"{name} attacked"), badge),
        Figure("As it arrives", "what the model gets to see", pictures.image_png(it.arrived[1], f"{name} arrived"),
               badge),
        Figure("Looks at, original", f"for {before}",
               pictures.heat_png(it.arrived[0], it.maps[0], None, False, f"{name} heat 0"), badge, scale=scale),
        Figure("Looks at, attacked", f"for {heated}",
               pictures.heat_png(it.arrived[1], it.maps[1], None, False, f"{name} heat 1"), badge, scale=scale),
    ])


def _unit(known: Known, run: Checked, row: int) -> tuple[Unit, int]:
    sweep, number = cast(Sweep, known.task.spec), known.found.known.index(run)
    for unit in plan(sweep, known.task.device)[number]:
        if row < len(unit.indices):
            return unit, row
        row -= len(unit.indices)
    raise IndexError("there are not so many rows")


def _says(run: Checked, logits: np.ndarray) -> str:
    values = logits.astype(np.float64)
    if np.isnan(values).any():
        return "refused"
    odds = np.exp(values - values.max())
    return f"{run.classes[int(values.argmax())]} {percent(float(odds.max() / odds.sum()))}"
