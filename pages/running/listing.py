"""The list of runs: searched, filtered, sorted, and chosen from."""

import hashlib
import time
from typing import Any

import pandas as pd
import streamlit as st

from engine.errors import EngineError
from engine.experiments.runs.kept import is_imported, run_kinds
from engine.work.entries import Entry, Order, Wanted
from engine.work.room import size_text
from engine.work.store import Store
from pages.running.links import called
from pages.running.scope import SCOPE
from pages.ui import controls, own, shell
from pages.ui.address import Address

MOST = 500  # runs in the list at a time
MOST_CHOSEN = 8
_ORDERS = {Order.NEWEST: "newest first", Order.OLDEST: "oldest first", Order.LARGEST: "largest first"}
_CHOSEN = "runs"


def wanted(address: Address) -> Wanted:
    """The controls above the list."""
    search, kinds, orders, stars = st.columns([4.2, 2, 2, 1.3], vertical_alignment="bottom", gap="small")
    with search:
        key = SCOPE.control("text")
        text = st.text_input("Search", address.seed("text", key, str, ""), key=key,
                             placeholder="name, note, data set, model, attack",
                             help="Runs with all these words in their name, note, title or settings.")
        address.note("text", text or None)
    with kinds:
        names = ("", *run_kinds())
        kind = controls.choice(address, "kind", "Kind", names, "", format_func=lambda name: called(name) or "all")
    with orders:
        order = controls.choice(address, "order", "Sort", [one.value for one in _ORDERS], Order.NEWEST.value,
                                format_func=lambda name: _ORDERS[Order(name)])
    with stars:
        key = SCOPE.control("starred")
        starred = st.toggle("Starred", address.seed("starred", key, lambda text: text == "yes", False), key=key)
        address.note("starred", "yes" if starred else None)
    return Wanted(kind or None, text, starred, Order(order), run_kinds(), own.keys())


def choose(address: Address, store: Store, which: Wanted) -> list[Entry]:
    """The runs that are chosen in the list; raises EngineError where it cannot be read."""
    page = store.search(which, MOST)
    asked: tuple[str, ...] = address.value("runs", SCOPE.control(_CHOSEN), _keys, ())
    entries = [*page.entries, *_besides(store, asked, page.entries)]
    if not entries:
        nothing(which)
        address.note("runs", None)
        return []
    places = [place for place, entry in enumerate(entries) if entry.key.startswith(asked) and asked]
    shown = table(entries)
    # Another list is another control, whose choice begins with what is chosen already.
    key = SCOPE.key("list " + hashlib.sha256(repr([entry.key for entry in entries]).encode()).hexdigest()[:12])
    event: Any = st.dataframe(
        shown, hide_index=True, key=key, on_select="rerun", selection_mode="multi-row", height=_height(len(entries)),
        selection_default={"selection": {"rows": places}}, row_height=34, column_config=_COLUMNS)
    chosen = [entries[place] for place in event.selection.rows if place < len(entries)][:MOST_CHOSEN]
    st.session_state[SCOPE.control(_CHOSEN)] = tuple(entry.key for entry in chosen)
    address.note("runs", ".".join(entry.key[:16] for entry in chosen) or None)
    more = "" if page.total <= len(page.entries) else f" The first {len(page.entries)} of {page.total} are shown."
    st.caption(f"{page.total:,} run{'' if page.total == 1 else 's'}.{more} Choose one to see it, or several (up to "
               f"{MOST_CHOSEN}) to compare them; a click on a column's head sorts by it.")
    return chosen


def _besides(store: Store, asked: tuple[str, ...], entries: list[Entry]) -> list[Entry]:
    """Chosen runs that are not among those listed, as a link asks for one that is filtered out."""
    missing = [key for key in asked if not any(entry.key.startswith(key) for entry in entries)]
    found = []
    for key in missing:
        try:
            entry = store.entry(key)
            own.check(entry.key)
        except EngineError:  # deleted meanwhile, or somebody else's
            continue
        if entry.kind in run_kinds():
            found.append(entry)
    return found


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(filter(None, text.split(".")))
    if len(keys) > MOST_CHOSEN or not all(key.isascii() and len(key) <= 100 for key in keys):
        raise EngineError(f"it must be the beginnings of at most {MOST_CHOSEN} runs' keys, with points between them")
    return keys


def nothing(which: Wanted) -> None:
    """Why the list is empty, and what to do."""
    if which.text or which.kind or which.starred:
        st.info("No run is like that. Search for fewer words, or show all kinds.")
    else:
        st.info("Nothing was run yet. What is run on Evaluate, Epsilon, Transfer or Black box, or by the command line, "
                "is kept and listed here; or import a run's file in the sidebar. Each of those pages opens with a "
                "stored example, which is none of your runs:")
        with st.container(horizontal=True):
            for name in ("Evaluate", "Epsilon", "Transfer", "Black box"):
                st.page_link(shell.file(name.lower().replace(" ", "")), label=name)


def table(entries: list[Entry]) -> pd.DataFrame:
    """A row a run."""
    return pd.DataFrame([_line(entry) for entry in entries])


def _line(entry: Entry) -> dict[str, Any]:
    spec = entry.spec.get("sweep", entry.spec)
    attacks = dict.fromkeys(str(one.get("attack", "")) for one in spec.get("attacks", ()) if isinstance(one, dict))
    models = spec.get("models") or [*spec.get("sources", ()), *spec.get("targets", ())]
    return {"": "★" if entry.starred else "", "Name": entry.called, "Kind": called(entry.kind),
            "From": "imported" if is_imported(entry.key) else "here", "Attacks": ", ".join(attacks),
            "Models": ", ".join(dict.fromkeys(map(str, models))), "Images": len(spec.get("indices", ())),
            "Data set": f"{spec.get('dataset', '')}/{spec.get('split', '')}".strip("/"),
            "Kept": pd.Timestamp(_within(entry.created), unit="s"), "Size": size_text(entry.bytes),
            "Note": entry.label.note}


def _within(seconds: float) -> float:
    """The time here, as a table without time zones shows it; one that no calendar has is the first."""
    return seconds - time.timezone if 0 <= seconds < 4e9 else 0.0


def _height(rows: int) -> int:
    return min(34 * (rows + 1) + 3, 380)


_COLUMNS = {"": st.column_config.TextColumn(width=30), "Name": st.column_config.TextColumn(width=300),
            "Kept": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
            "Images": st.column_config.NumberColumn(width=60), "Size": st.column_config.TextColumn(width=70),
            "From": st.column_config.TextColumn(width=70)}
