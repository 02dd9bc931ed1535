"""What went wrong while nobody looked: work that a stopped server lost, and damage that was mended."""

import streamlit as st

from engine.errors import EngineError
from engine.work.jobs import jobs
from engine.work.journal import Accepted
from pages.ui import runs
from pages.ui.address import travel

AGAIN = "explore again"  # what was asked for again and has not been started yet: the attack of the page, and a key
_KEPT = "explore again trouble"


def show() -> None:
    """One line for each, with what can be done about it; nothing where all is well."""
    if (trouble := st.session_state.get(_KEPT)) is not None:
        st.error(trouble)
    for job in jobs().lost():
        _line(f"The server stopped while it worked on: {job.title}.", job)
    for number, note in enumerate(jobs().store.notes):
        with st.container(key=f"note-{number}", horizontal=True, vertical_alignment="center"):
            st.warning(note[0].upper() + note[1:])
            st.button("Close", key=f"explore note {number}", on_click=jobs().store.noted, args=(note,))


def _line(text: str, job: Accepted) -> None:
    with st.container(key=f"lost-{job.key[:16]}", horizontal=True, vertical_alignment="center"):
        st.warning(text)
        st.button("Run it again", key=f"explore again {job.key}", on_click=_again, args=(job,))
        st.button("Forget", key=f"explore forget {job.key}", on_click=_forget, args=(job,))


def _again(job: Accepted) -> None:
    st.session_state.pop(_KEPT, None)
    try:
        travel("explore", runs.address_of_facts(job.asked))
    except EngineError as error:
        st.session_state[_KEPT] = f"This cannot be run again: {error}"
    else:
        # Everything on the page starts from an attack on its picture.
        st.session_state[AGAIN] = {"explore", job.key}
    jobs().forget(job)


def _forget(job: Accepted) -> None:
    st.session_state.pop(_KEPT, None)
    jobs().forget(job)


def wanted_again(what: str) -> bool:
    """Whether the page's attack ("explore"), or the work of that key, is to be started as if its button had been
    pressed; asking takes the wish away."""
    wishes: set[str] = st.session_state.get(AGAIN, set())
    wanted = what in wishes
    wishes.discard(what)
    return wanted


def give_up() -> None:
    """The page could not be set as it was: nothing is started by itself."""
    st.session_state.pop(AGAIN, None)
