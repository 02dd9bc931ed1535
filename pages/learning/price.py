"""What a training will cost, said before Run."""

import streamlit as st

from engine.errors import EngineError
from engine.experiments.trainings.pace import cost_of, measuring_task
from engine.experiments.trainings.training import epochs_done
from engine.training.spec import chosen_of
from engine.work.jobs import Job, State, jobs
from engine.work.kinds import Task
from engine.work.room import size_text
from pages.learning.choosing import Chosen
from pages.ui import shell
from pages.ui.charts import counted, duration


def of(chosen: Chosen, task: Task) -> str:
    """Time and memory in one line, as soon as a step was measured; raises EngineError where none is possible."""
    spec = chosen.spec
    known = jobs().find(task)
    if known is not None and (known.payload is not None or not known.state.over):
        return ""
    done = epochs_done(spec)
    words = f"Goes on after epoch {done} of {spec.epochs}. " if done else ""
    step = measuring_task(spec, chosen.data, chosen.device)
    job = jobs().find(step) or jobs().submit(step, shell.owner())
    if job.state is State.FAILED:
        raise EngineError(job.error)
    if job.state is State.CANCELLED:
        return words
    if job.payload is None:
        _wait(job)
        return f"{words}A step is being measured, to say how long it will take."
    counts = {split: len(chosen_of(spec, split, labels)) for split, labels in chosen.labels.items()}
    cost = cost_of(spec, chosen.data, counts, job.payload)
    return (f"{words}{counted(counts[spec.split], 'picture')}, {counted(spec.epochs, 'epoch')}: about "
            f"{duration(cost.seconds)} here besides reading them, and {size_text(int(cost.bytes))} of memory.")


@st.fragment(run_every=0.5)
def _wait(job: Job) -> None:
    job.watch(shell.owner())
    if job.state.over:
        st.rerun()
