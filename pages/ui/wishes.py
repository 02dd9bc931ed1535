"""What was asked for again elsewhere on the page and has not been started yet."""

import streamlit as st

from pages.ui.scope import Scope

MAIN = "main"  # what the page itself is for, whatever that is; other work is known by its key
_AGAIN = "again"


def wish(scope: Scope, *what: str) -> None:
    """These shall be started as soon as the page comes to them."""
    st.session_state[scope.key(_AGAIN)] = set(what)


def wanted_again(scope: Scope, what: str) -> bool:
    """Whether MAIN, or the work of that key, is to be started as if its button had been pressed; asking takes the wish
    away."""
    wishes: set[str] = st.session_state.get(scope.key(_AGAIN), set())
    wanted = what in wishes
    wishes.discard(what)
    return wanted


def give_up(scope: Scope) -> None:
    """The page could not be set as it was: nothing is started by itself."""
    st.session_state.pop(scope.key(_AGAIN), None)
