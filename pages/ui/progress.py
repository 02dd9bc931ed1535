"""Jobs as a page sees them: polled from a fragment, never computed in the page itself."""

import streamlit as st

from engine.work.jobs import Job, State, Task, jobs
from engine.work.store import Payload
from pages.ui.charts import duration
from pages.ui.scope import Scope
from pages.ui.shell import owner
from pages.ui.text import plain
from pages.ui.wishes import wanted_again

_EVERY = 0.3  # seconds between two looks
PATIENCE = 1.0  # seconds for which a page rather waits than draws a progress bar for a blink


def finished(job: Job, patience: float = PATIENCE, shows_preview: bool = False) -> bool:
    """Whether the job is over, perhaps after a moment; if not, its progress is drawn here and the page runs again at
    its end, and for a page that shows previews when there is the first one."""
    job.watch(owner())
    if job.wait(patience).state.over:
        return True
    _poll(job, shows_preview and job.preview is None)
    return False


def on_request(scope: Scope, task: Task, explained: str, label: str, name: str) -> Payload | None:
    """The result of a task that a button starts and another stops; None while there is none. A kept one is there at
    once. `name` tells the page's buttons apart."""
    job = jobs().find(task)
    if job is None or job.state in (State.CANCELLED, State.FAILED):
        if job is not None and job.error:
            st.error(plain(job.error))
        st.caption(explained)
        if not (st.button(label, key=scope.key(name)) or wanted_again(scope, task.key)):
            return None
        job = jobs().submit(task, owner())
    if not finished(job):
        if st.button("Stop", key=scope.key(f"{name} stop")):
            jobs().cancel(job, owner())
        return None
    return job.payload


@st.fragment(run_every=_EVERY)
def _poll(job: Job, waits_for_preview: bool) -> None:
    job.watch(owner())
    if job.state.over or (waits_for_preview and job.preview is not None):
        st.rerun()
    bar(job, f"{job.task.title}: {job.text}")


def bar(job: Job, words: str) -> None:
    """How far a job is, and how long it will take."""
    left = job.left()
    time = "" if left is None else f" · about {duration(left)} left"
    st.progress(job.fraction, text=plain(f"{words}{time}"))
