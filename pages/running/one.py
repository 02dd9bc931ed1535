"""One run: what it is called, what it found, and what can be done with it."""

import io
import time
from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows
from engine.errors import EngineError
from engine.experiments.defended import behind
from engine.experiments.evaluation.evaluate import AFTER, BEFORE, SIDES, Matrix, matrix
from engine.experiments.reports.reporting import drawn
from engine.experiments.runs.archive import SUFFIX, export
from engine.experiments.runs.comparison import curves, overview, settings
from engine.experiments.runs.kept import Kept, device_of
from engine.experiments.runs.pictures import pictures_of, spec_of, table_of
from engine.experiments.runs.repeating import command
from engine.work.room import size_text
from engine.work.store import Store
from pages.running import again, plots, reports
from pages.running.links import called, way_back
from pages.running.scope import SCOPE
from pages.ui import figures, shell
from pages.ui.text import plain

TROUBLE = "trouble"  # what the last change did wrong


def show(store: Store, kept: Kept) -> None:
    """Its head, and what it found."""
    entry = kept.entry
    st.subheader(plain(entry.called), divider="gray")
    facts = [called(entry.kind), time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.created)), size_text(entry.bytes),
             f"{len(kept.runs)} run{'' if len(kept.runs) == 1 else 's'}", f"key {entry.key[:12]}"]
    if kept.imported:
        facts.insert(0, "IMPORTED: computed elsewhere, and nothing here has checked its numbers")
    st.caption(plain(" · ".join(facts)))
    _bar(store, kept)
    again.outcome(store, kept)
    found, asked, words = st.tabs(["What it found", "What was asked for", "Name and note"])
    with found:
        results(kept)
    with asked:
        _asked(kept)
    with words:
        _label(store, kept)


def _bar(store: Store, kept: Kept) -> None:
    """What can be done with it."""
    key = kept.entry.key
    with st.container(horizontal=True, vertical_alignment="center"):
        if (back := way_back(kept)) is not None:
            maker, texts = back
            st.page_link(shell.file(maker.page), label=f"Open in {maker.title}", query_params=texts,
                         help="The same settings on the page that makes such runs. What is kept here is there at once.")
        again.button(store, kept)
        st.button("Unstar" if kept.entry.starred else "Star", key=SCOPE.key(f"star {key}"), on_click=change,
                  args=(lambda: store.star(key, not kept.entry.starred),),
                  help="Starred runs never make room for others.")
        _export(store, kept)
        reports.offer(store, kept)
        st.button("Delete", key=SCOPE.key(f"delete {key}"), on_click=change, args=(lambda: discard(store, key),),
                  help="It can be had back for a quarter of an hour.")


def discard(store: Store, *keys: str) -> None:
    """In a callback: delete runs, so that it can be undone."""
    st.session_state[SCOPE.key("deleted")] = store.discard(*keys)
    st.session_state[SCOPE.control("runs")] = ()


def change(make: Callable[[], object]) -> None:
    """In a callback: make a change, or remember why it could not be made."""
    try:
        make()
    except EngineError as error:
        st.session_state[SCOPE.key(TROUBLE)] = str(error)


def _export(store: Store, kept: Kept) -> None:
    with st.popover("Export"):
        st.markdown("One file with what was asked for, every row, the figures and the versions: for `python -m engine "
                    "runs import`, for this page elsewhere, and the rows for pandas, R or Polars.")
        with_figures = st.toggle("With the figures", True, key=SCOPE.key(f"figures {kept.entry.key}"),
                                 help="As SVG and PNG; to draw them takes some seconds.")
        with_images = st.toggle("With the perturbed images that are kept", key=SCOPE.key(f"images {kept.entry.key}"))

        def made() -> bytes:
            file = io.BytesIO()
            export(store, kept, file, pictures_of(store, kept) if with_images else (),
                   drawn(store, kept) if with_figures else {})
            return file.getvalue()

        st.download_button("Download", made, file_name=f"{kept.entry.key[:12]}{SUFFIX}", on_click="ignore",
                           mime="application/zip",
                           key=SCOPE.key(f"export {kept.entry.key} {with_images} {with_figures}"))


def results(kept: Kept) -> None:
    """Tables and figures, each with its downloads."""
    key, runs = kept.entry.key[:12], kept.runs
    for line in dict.fromkeys(line for rows in runs for line in rows.warnings):
        st.caption(plain(f"Note: {line}."))
    figures.table(SCOPE, without_empty(overview(runs, kept.readings)), f"overview-{key}", column_config=COLUMNS)
    if lines := curves(runs, kept.readings):
        table = pd.DataFrame([{"attack": line.attack, "model": line.model, "settings": line.settings, "eps": point.eps,
                               "accuracy": point.accuracy, "low": point.low, "high": point.high, "n": point.n}
                              for line in lines for point in line.points])
        figures.figure(SCOPE, plots.curves([("", lines)]), f"curves-{key}", lambda: table)
    place = 0
    if len(runs) > 1:
        place = st.selectbox("Confusion matrix of", range(len(runs)), key=SCOPE.control(f"matrix {key}"),
                             format_func=lambda number: name_of(runs[number]))
    _matrices(runs[place], key)
    _rows(kept)


def without_empty(table: pd.DataFrame) -> pd.DataFrame:
    """The table without columns of which no row says anything."""
    return table.loc[:, [bool((table[name] != "").any()) for name in table.columns]]


def _matrices(rows: Rows, key: str) -> None:
    for column, side in zip(st.columns(2), (BEFORE, AFTER), strict=True):
        with column:
            found, name = matrix(rows, side), SIDES[side].title
            figures.figure(SCOPE, plots.matrix(found, f"{name.capitalize()} the attack"), f"matrix-{name}-{key}",
                           partial(_cells, found))


def _cells(found: Matrix) -> pd.DataFrame:
    table = pd.DataFrame(found.whole, columns=list(found.columns))
    table.insert(0, "true class", list(found.classes))
    return table


def _rows(kept: Kept) -> None:
    with st.container(horizontal=True):
        for form, make in (("parquet", lambda: _parquet(kept)), ("csv", lambda: figures.as_csv(table_of(kept)))):
            st.download_button(f"Rows, {form.upper() if form == 'csv' else 'Parquet'}", make, type="tertiary",
                               file_name=f"{kept.entry.key[:12]}-rows.{form}", on_click="ignore",
                               key=SCOPE.key(f"rows {form} {kept.entry.key}"))


def _parquet(kept: Kept) -> bytes:
    file = io.BytesIO()
    table_of(kept).to_parquet(file, index=False)
    return file.getvalue()


def name_of(rows: Rows) -> str:
    """What tells a run from the others."""
    spec = rows.spec
    eps = "" if spec.eps is None else f" at {NORMS[spec.norm].text(spec.eps)}"
    more = [f"{name} {value}" for name in ("surrogate", "mask") if (value := getattr(spec, name))]
    return ", ".join([f"{ATTACKS[spec.attack].info.title}{eps}{behind(spec)}", rows.provenance.model,
                      f"seed {spec.seed}", *more])


def _asked(kept: Kept) -> None:
    first = kept.runs[0]
    try:
        line = command(kept.entry.kind, spec_of(kept), first.classes, device_of(first))
    except EngineError:  # of another version
        line = ""
    if line:
        st.markdown("The command that repeats it:")
        st.code(line, language="bash", wrap_lines=True)
    st.dataframe(pd.DataFrame(settings(kept.entry.spec), columns=["setting", "value"]), hide_index=True,
                 key=SCOPE.key(f"settings {kept.entry.key}"))
    versions = {f"{name} {version}" for rows in kept.runs for name, version in rows.provenance.versions.items()}
    devices = {rows.provenance.device for rows in kept.runs}
    st.caption(plain(f"Computed on {', '.join(sorted(devices))} with {', '.join(sorted(versions))}."))


def _label(store: Store, kept: Kept) -> None:
    key, label = kept.entry.key, kept.entry.label
    with st.form(SCOPE.key(f"label {key}"), border=False):
        name = st.text_input("Name", label.name, max_chars=100, placeholder=kept.entry.title,
                             key=SCOPE.key(f"name {key} {label.name}"))
        note = st.text_area("Note", label.note, max_chars=5000, height=120, key=SCOPE.key(f"note {key} {label.note}"))
        if st.form_submit_button("Keep"):
            try:
                store.call(key, name, note)
            except EngineError as error:
                st.error(plain(error))
            else:
                st.rerun()


COLUMNS = dict.fromkeys(("accuracy_clean", "accuracy_adversarial", "low", "high", "accuracy_8bit", "success",
                         "success_low", "success_high"), st.column_config.NumberColumn(format="percent"))
