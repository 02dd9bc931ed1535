"""What went wrong while nobody looked: work that a stopped server left, and damage that was mended."""

import streamlit as st

import engine.experiments.trainings.training  # noqa: F401  (which can be taken up again)
from engine.errors import EngineError
from engine.work.jobs import Job, State, jobs
from engine.work.journal import Accepted
from engine.work.kinds import Task
from pages.exploring.scope import SCOPE
from pages.ui import runs, shell, wishes
from pages.ui.address import travel
from pages.ui.links import of_training
from pages.ui.text import capital, plain

_DATA = ("check", "predictions")  # kinds of work that the page about data asks for
_KEPT = SCOPE.key("again trouble")  # why something could not be asked for again


def show() -> None:
    """One line for each, with what can be done about it; nothing where all is well."""
    taken_up = jobs().take_up()
    if (trouble := st.session_state.get(_KEPT)) is not None:
        with st.container(key="again-trouble", horizontal=True, vertical_alignment="center"):
            st.error(plain(trouble))
            st.button("Close", key=SCOPE.key("again close"), on_click=st.session_state.pop, args=(_KEPT, None))
    for job in taken_up:
        _going_on(job)
    for accepted in jobs().lost():
        _lost(accepted)
    for number, note in enumerate(jobs().store.notes):
        with st.container(key=f"note-{number}", horizontal=True, vertical_alignment="center"):
            st.warning(plain(capital(note)))
            st.button("Close", key=SCOPE.key(f"note {number}"), on_click=jobs().store.noted, args=(note,))


def _going_on(job: Job) -> None:
    """A job taken up from a server that stopped."""
    then = {State.DONE: "It is done now.", State.FAILED: f"It cannot go on: {job.error}",
            State.CANCELLED: "It was cancelled since."}.get(job.state, "It goes on.")
    with st.container(key=f"taken-up-{job.key[:16]}", horizontal=True, vertical_alignment="center"):
        # A quiet line: nothing is lost, and the pictures below are what the visitor came for.
        st.caption(plain(f"The server stopped while it worked on: {job.task.title}. {then}"), width="stretch")
        if runs.about_a_picture(job.task):
            st.button("Show", key=SCOPE.key(f"show {job.key}"), type="tertiary", on_click=_shown, args=(job,))
        elif job.task.kind in _DATA:
            st.page_link(shell.file("data"), label="Data", help="There it stands once it is done.")
        elif job.task.kind == "training":
            st.page_link(shell.file("training"), label="Training", help="There it can be watched.",
                         query_params=of_training(job.task.spec.spec))
        else:
            st.page_link(shell.file("runs"), label="Runs", help="There it is listed once it is done.")
        if job.state.over:
            st.button("Close", key=SCOPE.key(f"close {job.key}"), type="tertiary", on_click=jobs().noted, args=(job,))
        else:
            st.button("Stop", key=SCOPE.key(f"stop {job.key}"), type="tertiary", on_click=jobs().cancel, args=(job,))


def _shown(job: Job) -> None:
    travel(SCOPE, runs.address_of_task(job.task))
    jobs().noted(job)


def _lost(accepted: Accepted) -> None:
    with st.container(key=f"lost-{accepted.key[:16]}", horizontal=True, vertical_alignment="center"):
        st.warning(plain(f"The server stopped while it worked on: {accepted.title}."))
        st.button("Run it again", key=SCOPE.key(f"again {accepted.key}"), on_click=_again, args=(accepted,))
        st.button("Forget", key=SCOPE.key(f"forget {accepted.key}"), on_click=jobs().forget, args=(accepted,))


def _again(accepted: Accepted) -> None:
    try:
        task = Task.from_json(accepted.task)
        if runs.about_a_picture(task):
            travel(SCOPE, runs.address_of_task(task))
            # Everything on the page starts from an attack on its picture.
            wishes.wish(SCOPE, wishes.MAIN, accepted.key)
        else:
            jobs().submit(task, shell.owner())
    except EngineError as error:
        st.session_state[_KEPT] = f"This cannot be run again: {error}"
    jobs().forget(accepted)
