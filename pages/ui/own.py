"""Whose runs a visitor sees: everybody's on one's own machine, on a shared server those that were asked for here."""

import os

import streamlit as st

from engine.errors import EngineError

SHARED = "PERTURBSCOPE_SHARED"  # whoever runs the dashboard for several people sets it to 1
KEEPING = "PERTURBSCOPE_SHARED_KEEPING"  # and this to 1 where they may change what all of them share
_KEYS = "own runs"


def shared() -> bool:
    """Whether the server is for several people, who are not to see each other's runs."""
    return os.environ.get(SHARED, "") not in ("", "0")


def keeps() -> bool:
    """Whether visitors may download data sets, and bring, delete and rename models."""
    return not shared() or os.environ.get(KEEPING, "") not in ("", "0")


def note(key: str) -> None:
    """This visitor asked for the run of that key, or brought it along."""
    st.session_state.setdefault(_KEYS, set()).add(key)


def keys() -> tuple[str, ...] | None:
    """The runs that this visitor may see; None: all."""
    return tuple(sorted(st.session_state.get(_KEYS, ()))) if shared() else None


def check(key: str) -> None:
    """Raises EngineError for a run that is another visitor's."""
    known = keys()
    if known is not None and key not in known:
        raise EngineError("this run is not known here; ask whoever made it for its file, and import that")
