"""What was asked for again elsewhere on the page and has not been started yet."""

import streamlit as st

_AGAIN = "explore again"  # the attack of the page ("explore"), and keys of other work


def wish(*what: str) -> None:
    """These shall be started as soon as the page comes to them."""
    st.session_state[_AGAIN] = set(what)


def wanted_again(what: str) -> bool:
    """Whether the page's attack ("explore"), or the work of that key, is to be started as if its button had been
    pressed; asking takes the wish away."""
    wishes: set[str] = st.session_state.get(_AGAIN, set())
    wanted = what in wishes
    wishes.discard(what)
    return wanted


def give_up() -> None:
    """The page could not be set as it was: nothing is started by itself."""
    st.session_state.pop(_AGAIN, None)
