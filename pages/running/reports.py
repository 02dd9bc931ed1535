"""A run's report: one click makes it, with its progress, and another keeps the file."""

import streamlit as st

from engine.errors import EngineError
from engine.experiments.reports.given import missing_of
from engine.experiments.reports.reporting import FORMS, Form, made
from engine.experiments.runs.kept import Kept
from engine.work.jobs import jobs
from engine.work.kinds import Task
from engine.work.store import Store
from pages.running.scope import SCOPE
from pages.ui import progress, shell
from pages.ui.text import plain

AGAIN = 2000  # passes through a model up to which sample images are made again without being asked for


def offer(store: Store, kept: Kept) -> None:
    """A button for each form of report, and for the file once it is made.

    It is made here and now: it takes seconds, needs no network and no PyTorch, and must not wait for a sweep. What it
    shows that is not kept is computed before, as work like any other.
    """
    making = SCOPE.key("report being made")
    with st.popover("Report"):
        st.markdown("Everything about this run in one file that opens anywhere, offline: settings, data and model "
                    "cards, figures, tables, sample images, warnings, versions, and the command that repeats it.")
        for form in FORMS.values():
            if st.button(f"Make the {form.title}", key=SCOPE.key(f"report {form.ending} {kept.entry.key}")):
                st.session_state[making] = kept.entry.key, form.ending
            if st.session_state.get(making) == (kept.entry.key, form.ending) and _ready(store, kept):
                del st.session_state[making]
                _make(store, kept, form)
            _file(kept, form)


def _ready(store: Store, kept: Kept) -> bool:
    """Whether all that the report shows is kept, or is done without; until then how far that is stands here."""
    key, lacking = kept.entry.key, missing_of(store, kept)
    if not lacking.tasks:
        return True
    agreed = SCOPE.key(f"report agreed {key}")
    if lacking.passes > AGAIN and not st.session_state.get(agreed):
        st.caption(f"Its sample images were not kept. To make them again takes up to {lacking.passes:,} passes of an "
                   "image through a model.")
        if st.button("Make it without", key=SCOPE.key(f"report skip {key}")):
            return True
        if not st.button("Make them again", key=SCOPE.key(f"report again {key}")):
            return False
        st.session_state[agreed] = True
    return all(_done(task, key) for task in lacking.tasks)


def _done(task: Task, key: str) -> bool:
    """Whether this piece of it is over, well or not."""
    job = jobs().find(task) or jobs().submit(task, shell.owner())
    if progress.finished(job):
        if job.error:
            st.caption(plain(f"Something is left out: {job.error}"))
        return True
    if st.button("Leave it out", key=SCOPE.key(f"report leave {key}")):
        jobs().cancel(job, shell.owner())
    return False


def _make(store: Store, kept: Kept, form: Form) -> None:
    bar = st.progress(0.0, text="starting")
    try:
        file = made(store, kept, form.ending, lambda share, text: bar.progress(share, text=text))
    except EngineError as error:
        st.error(plain(error))
        return
    bar.empty()
    st.session_state[_remembered(form)] = (kept.entry.key, kept.entry.label), file


def _file(kept: Kept, form: Form) -> None:
    last, file = st.session_state.get(_remembered(form), (None, b""))
    if last == (kept.entry.key, kept.entry.label):
        st.download_button(f"Download the {form.title}", file, mime=form.mime, on_click="ignore", type="primary",
                           file_name=f"perturbscope-{kept.entry.key[:12]}.{form.ending}",
                           key=SCOPE.key(f"report file {form.ending} {kept.entry.key}"))


def _remembered(form: Form) -> str:
    return SCOPE.key(f"last {form.ending}")
