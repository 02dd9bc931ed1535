"""A run started anew: as long work with progress and cancel, and how it came out beside what is kept."""

import time

import streamlit as st

from engine.errors import EngineError
from engine.experiments.runs.again import Repeated, again_here, repeating_task, repetitions
from engine.experiments.runs.kept import Kept
from engine.work.jobs import State, jobs
from engine.work.store import Store
from pages.running.scope import SCOPE
from pages.ui import own, progress, shell
from pages.ui.charts import counted
from pages.ui.text import plain


def button(store: Store, kept: Kept) -> None:
    """Re-run: all of it is computed once more, with nothing taken from what is kept."""
    key = kept.entry.key
    reason = _why_not(kept)
    pressed = st.button("Re-run", key=SCOPE.key(f"again {key}"), disabled=bool(reason), help=reason or (
        "Computes all of it once more, with nothing taken from what is kept, and tells whether the same comes of it."))
    if pressed:
        jobs().submit(repeating_task(kept, len(repetitions(store, kept))), shell.owner())


def _why_not(kept: Kept) -> str:
    try:
        again_here(kept)
    except EngineError as error:
        return plain(error)
    return ""


def outcome(store: Store, kept: Kept) -> None:
    """How far it is, or how it came out the last time."""
    if _why_not(kept):
        return
    key, found = kept.entry.key, repetitions(store, kept)
    job = jobs().find(repeating_task(kept, len(found)))
    if job is not None and not job.state.over:
        with st.container(horizontal=True, vertical_alignment="center"):
            if not progress.finished(job) and st.button("Cancel", key=SCOPE.key(f"again cancel {key}")):
                jobs().cancel(job, shell.owner())
    if job is not None and job.state is State.FAILED:
        st.error(plain(job.error))
    elif job is not None and job.state is State.CANCELLED:
        st.info("The re-run was cancelled; nothing of it is kept.")
    if found := repetitions(store, kept):
        _tell(kept, *found[-1])


def _tell(kept: Kept, when: float, how: Repeated) -> None:
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
    if how.same:
        st.success(f"Computed once more on {day}: the same bytes came of it, on all {counted(how.of, 'row')}.")
    else:
        st.warning(f"Computed once more on {day}: it came out otherwise. {how.differ:,} of {how.of:,} predictions of "
                   "attacked images differ; norms or other numbers may, too.")
    if kept.imported:
        own.note(how.key)
        st.caption(f"As it was computed here it is listed as {how.key[:12]}.")
