"""Whether a picture of one's own is like those that the model was trained on."""

import streamlit as st

from engine.errors import EngineError
from engine.experiments.onepicture import pace, suited, unlike
from engine.experiments.onepicture.unlike import Distance
from engine.work.jobs import State, jobs
from engine.work.kinds import Task
from engine.zoo.registry import model_card, model_digest
from pages.exploring.run import Run
from pages.exploring.scope import SCOPE
from pages.ui import progress, runs
from pages.ui.charts import duration
from pages.ui.shell import owner
from pages.ui.text import plain

FRESH = 60  # seconds for which the training pictures are taken to be as they were seen last
PATIENCE = 1.0  # seconds for which the page waits for the comparison, once it is known what is usual


def say(run: Run) -> None:
    """What the comparison tells, where it takes a moment only; nothing about pictures of the model's own data set."""
    usual = _usual(run.settings)
    if usual is None or (learned := jobs().find(usual)) is None or learned.state is not State.DONE:
        return
    job = jobs().submit(unlike.looking_task(run.settings.source, usual), owner()).wait(PATIENCE)
    if job.state is State.DONE and job.payload is not None:
        found = Distance.of(job.payload)
        (st.warning if found.unlike else st.caption)(plain(words(found)))


def words(found: Distance) -> str:
    """The comparison for people."""
    if found.unlike:
        return ("This picture is unlike all that the model was trained on: by the features that it decides by, it is "
                f"{found.distance / found.edge:.1f} times as far from them as 99 in 100 pictures of that set at most "
                "are. What the model says of it is a guess.")
    return ("By the features that the model decides by, this picture is as near to its training pictures as others of "
            "that set are. That is no proof that it is right.")


def offer(run: Run) -> None:
    """The look at what the model was trained on, which takes a while, once for each model."""
    usual = _usual(run.settings)
    if usual is None:
        return
    known = jobs().find(usual)
    if known is not None and known.state is State.DONE:
        return  # it is said beside the verdict
    at = pace.known(run.settings.model, run.settings.device)
    time = "" if at is None else f", about {duration(unlike.seconds(at.seconds * pace.FORWARD))} here"
    payload = progress.on_request(
        SCOPE, usual, f"Looks at {unlike.TRAINING} of the model's training pictures, once{time}: then it is said of "
                      "every picture of your own whether it is unlike all of them.",
        "Is my picture like those that it was trained on?", name="likeness")
    if payload is not None:
        st.rerun()


def _usual(settings: runs.Settings) -> Task | None:
    card = model_card(settings.model)
    info = suited.trained_on(card)
    if info is None or (not settings.source.upload and settings.source.dataset == info.name):
        return None
    return _task(settings.model, settings.device, model_digest(settings.model))


@st.cache_data(ttl=FRESH, max_entries=16, show_spinner=False)
def _task(model: str, device: str, digest: str) -> Task | None:
    try:
        return unlike.learning_task(model, device)
    except EngineError:
        return None
