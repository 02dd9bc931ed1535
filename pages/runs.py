"""Runs: everything that was evaluated, found again, compared, given away and taken in."""

import streamlit as st

from engine.errors import EngineError
from engine.experiments.runs.kept import Kept, read
from engine.work.entries import Entry
from engine.work.jobs import jobs
from engine.work.store import Store
from pages.running import keeping, listing, one, several
from pages.running.scope import SCOPE
from pages.ui import shell
from pages.ui.address import Address
from pages.ui.text import plain


def page() -> None:
    """The list, and below it the run that is chosen in it, or several beside each other."""
    address, store = Address(SCOPE, "text"), jobs().store
    with st.sidebar:
        keeping.take_in(store)
        keeping.disk(store)
    keeping.undo(store)
    try:
        chosen = listing.choose(address, store, listing.wanted(address))
    except EngineError as error:
        st.error(plain(error))
        return
    address.check_names()
    for line in address.problems:
        st.error(plain(line))
    address.write()
    opened = [kept for entry in chosen if (kept := _read(store, entry)) is not None]
    if len(opened) == 1:
        one.show(store, opened[0])
    elif opened:
        several.show(store, opened)


def _read(store: Store, entry: Entry) -> Kept | None:
    try:
        return read(store, entry.key)
    except EngineError as error:
        st.error(plain(error))
        return None


shell.run(page)
