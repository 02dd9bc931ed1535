"""Jobs as a page sees them: polled from a fragment, never computed in the page itself."""

import streamlit as st

from engine.jobs import Job
from pages.ui.shell import owner

_EVERY = 0.3  # seconds between two looks
PATIENCE = 1.0  # seconds for which a page rather waits than draws a progress bar for a blink


def finished(job: Job, patience: float = PATIENCE) -> bool:
    """Whether the job is over, perhaps after a moment; if not, its progress is drawn here and the page runs again at
    its end."""
    job.watch(owner())
    if job.wait(patience).state.over:
        return True
    _poll(job)
    return False


@st.fragment(run_every=_EVERY)
def _poll(job: Job) -> None:
    job.watch(owner())
    if job.state.over:
        st.rerun()
    st.progress(job.fraction, text=f"{job.task.title}: {job.text}")
