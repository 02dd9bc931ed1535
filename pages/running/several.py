"""Several runs beside each other."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from engine.errors import EngineError
from engine.experiments.runs.comparison import curves, differences, overview, pairs, subtracted
from engine.experiments.runs.kept import Kept
from engine.work.store import Store
from pages.running import one, plots
from pages.running.scope import SCOPE
from pages.ui import figures
from pages.ui.text import plain


def show(store: Store, runs: Sequence[Kept]) -> None:
    """What differs, the curves over each other, and of two the matrices subtracted."""
    st.subheader(f"{len(runs)} runs compared", divider="gray")
    names = names_of(runs)
    key = "-".join(kept.entry.key[:6] for kept in runs)
    for number, kept in enumerate(runs):
        mark = " · IMPORTED" if kept.imported else ""
        st.markdown(f"{plain(names[number])}: {plain(kept.entry.title)}{mark}")
    keys = [kept.entry.key for kept in runs]
    st.button(f"Delete these {len(runs)}", key=SCOPE.key(f"delete {key}"), on_click=one.change,
              args=(lambda: one.discard(store, *keys),), help="They can be had back for a quarter of an hour.")
    asked(runs, names, key)
    found = [overview(kept.runs, kept.readings).assign(run=name) for kept, name in zip(runs, names, strict=True)]
    table = pd.concat(found, ignore_index=True)
    st.markdown("**What came of it**")
    figures.table(SCOPE, one.without_empty(table[["run", *table.columns.drop("run")]]), f"compared-{key}",
                  column_config=one.COLUMNS)
    lines = [(name, curves(kept.runs, kept.readings)) for kept, name in zip(runs, names, strict=True)]
    if sum(bool(own) for _, own in lines) > 1:
        st.markdown("**Accuracy against epsilon**")
        figures.figure(SCOPE, plots.curves(lines), f"curves-{key}", lambda: _points(lines))
    if len(runs) == 2:
        moved(runs[0], runs[1], names, key)


def names_of(runs: Sequence[Kept]) -> list[str]:
    """Letters, and what people called the runs."""
    return [f"{chr(ord('A') + number)}{f' ({kept.entry.label.name})' if kept.entry.label.name else ''}"
            for number, kept in enumerate(runs)]


def asked(runs: Sequence[Kept], names: Sequence[str], key: str) -> None:
    """A table of the settings that differ."""
    rows = differences([kept.entry.spec for kept in runs])
    st.markdown("**What was asked for differently**" if rows else "The same was asked for.")
    if rows:
        table = pd.DataFrame([[_TITLES.get(row.setting, row.setting), *row.values] for row in rows],
                             columns=["setting", *names])
        figures.table(SCOPE, table, f"differences-{key}")


_TITLES = {"contents": "digest of images, weights and settings"}


def _points(groups: Sequence[tuple[str, list]]) -> pd.DataFrame:
    return pd.DataFrame([{"run": name, "attack": line.attack, "model": line.model, "settings": line.settings,
                          "eps": point.eps, "accuracy": point.accuracy, "low": point.low, "high": point.high,
                          "n": point.n} for name, lines in groups for line in lines for point in line.points])


def moved(first: Kept, second: Kept, names: Sequence[str], key: str) -> None:
    """The second run's matrix of the attacked images less the first's."""
    both = [(one_, other) for one_, other in pairs(first.runs, second.runs) if one_.classes == other.classes]
    if not both:
        st.caption("No two of their attacks belong together, or their classes differ: no matrices are subtracted.")
        return
    st.markdown(f"**What {plain(names[1])} predicts more or less than {plain(names[0])}**")
    place = 0
    if len(both) > 1:
        place = st.selectbox("Of", range(len(both)), key=SCOPE.control(f"pair {key}"),
                             format_func=lambda number: f"{one.name_of(both[number][0])} / "
                                                        f"{one.name_of(both[number][1])}")
    try:
        change = subtracted(*both[place])
    except EngineError as error:
        st.caption(plain(error))
        return
    table = pd.DataFrame(change.values, columns=list(change.columns))
    table.insert(0, "true class", list(change.classes))
    figures.figure(SCOPE, plots.change(change, "Attacked images, B less A, " + (
        "in images" if change.same else "in shares of the true class, as they saw other images")), f"change-{key}",
        lambda: table)
