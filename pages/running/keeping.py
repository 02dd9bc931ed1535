"""What the sidebar has: runs taken in from files, what all results take of the disk, and deletions undone."""

import time

import pandas as pd
import streamlit as st

from engine.errors import EngineError
from engine.experiments.runs.archive import imported, open_archive
from engine.work.room import LIMIT, parse_size, size_text
from engine.work.store import Store
from pages.running.links import called
from pages.running.one import TROUBLE, change
from pages.running.scope import SCOPE
from pages.ui import own
from pages.ui.charts import counted
from pages.ui.text import plain

LARGEST = 400  # MiB of a run's file that a browser may send
_TURN = SCOPE.key("import turn")


def undo(store: Store) -> None:
    """One line above everything while the last deletion can be undone, or why the last change could not be made."""
    session = st.session_state
    if trouble := session.pop(SCOPE.key(TROUBLE), None):
        st.error(plain(trouble))
    if said := session.pop(SCOPE.key("said"), None):
        st.success(plain(said))
    known = own.keys()
    deletions = [one for one in store.deletions() if known is None or set(one.keys) <= set(known)]
    if not deletions:
        return
    last = deletions[0]
    with st.container(horizontal=True, vertical_alignment="center"):
        minutes = max(0, round((time.time() - last.when) / 60))
        ago = "just now" if minutes < 1 else f"{minutes} min ago"
        st.markdown(f"{counted(len(last.keys), 'run')} deleted {ago}.", width="content")
        st.button("Undo", key=SCOPE.key("undo"), on_click=change, args=(lambda: _restore(store, last.name),))


def _restore(store: Store, name: str) -> None:
    st.session_state[SCOPE.control("runs")] = tuple(store.restore(name))


def take_in(store: Store) -> None:
    """The control for files of runs."""
    turn = st.session_state.setdefault(_TURN, 0)
    key = SCOPE.key(f"import {turn}")
    st.file_uploader("Import a run", "zip", key=key, on_change=_taken, args=(store, key), max_upload_size=LARGEST,
                     help="A file that was exported here or elsewhere. It is checked, kept beside everything else, and "
                          "marked as imported; it never takes the place of what was computed here.")


def _taken(store: Store, key: str) -> None:
    """In a callback: keep the run in a file that was just uploaded, or say what is wrong with it."""
    session = st.session_state
    file = session[key]
    if file is None:
        return

    def take() -> None:
        try:
            new = imported(store, open_archive(file))
        except EngineError as error:
            raise EngineError(f"{file.name}: {error}") from None
        own.note(new)
        session[SCOPE.control("runs")] = (new,)
        session[SCOPE.key("said")] = f"{store.entry(new).called} was imported."

    change(take)
    session[_TURN] += 1  # a new uploader: this one would otherwise go on showing the file


def disk(store: Store) -> None:
    """What all kept results take, and how much they may; on a shared server that is for whoever runs it."""
    if own.shared():
        return
    try:
        usage, limit = store.usage(), store.limit
    except EngineError as error:
        st.error(plain(error))
        return
    lying = sum(deletion.bytes for deletion in store.deletions())
    free = "" if usage.free is None else f", {size_text(usage.free)} free"
    with st.expander(f"Disk: {size_text(usage.all.bytes)}{free}"):
        rows = sorted(usage.kinds.items(), key=lambda item: -item[1].bytes)
        st.dataframe(pd.DataFrame([{"what": called(kind), "results": share.results, "size": size_text(share.bytes)}
                                   for kind, share in rows]), hide_index=True, key=SCOPE.key("disk"))
        st.caption(f"{size_text(usage.starred.bytes)} of it starred. Runs are small; most is what they are put "
                   "together from: rows and images of every batch, kept so that nothing is computed twice.")
        if lying and st.button(f"Empty the trash ({size_text(lying)})", key=SCOPE.key("empty")):
            store.empty_trash()
            st.rerun()
        fixed = limit.said_by == LIMIT  # the operator says it
        text = st.text_input("Keep at most", "" if limit.bytes is None else size_text(limit.bytes), disabled=fixed,
                             placeholder="no limit", key=SCOPE.key(f"limit {limit.bytes}"),
                             help="Such as 20 GB. When a new result goes over it, those that nobody used for longest "
                                  "make room, never a starred one.")
        if st.button("Set", key=SCOPE.key("set limit"), disabled=fixed):
            change(lambda: store.set_limit(parse_size(text) if text.strip() else None))
            st.rerun()
