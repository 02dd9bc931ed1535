"""What is known of walks: sentences, figures, films, numbers, and the pictures behind them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import streamlit as st

from engine.experiments.config import config_text
from engine.experiments.queries.curves import WITHIN, QueryCurve, drawn, query_curve, table, verified_table
from engine.experiments.queries.walks import QUERIES, Walks, plan
from engine.experiments.queries.words import names_of, readable, sentences, verified_readable
from engine.experiments.sources import opened
from engine.experiments.sweeps import Sweep
from pages.querying import films, words
from pages.querying.asking import Asked
from pages.querying.scope import SCOPE
from pages.ui import figures, thumbs
from pages.ui import walking as plots
from pages.ui.charts import counted
from pages.ui.options import settings_of_sweep
from pages.ui.sweeping import Known
from pages.ui.text import plain
from pages.ui.thumbs import Cell, Cells


@dataclass(frozen=True, eq=False)
class Shown:
    """Walks as far as there are any, their curves at the counts that are asked for, and the sweep they are of."""

    known: Known
    walks: list[Walks]
    curves: list[QueryCurve]

    @property
    def sweep(self) -> Sweep:
        return cast(Sweep, self.known.task.spec)


def shown_of(known: Known, asked: Asked | None) -> Shown:
    """Read as it is asked for, as far as that fits what was walked."""
    walks = cast(list[Walks], known.runs)
    own, limit = walks[0].spec.norm, min(one.limit for one in walks)
    norm = asked.norm if asked is not None and asked.measured else own
    sizes = asked.sizes if asked is not None and asked.norm == norm else WITHIN[norm]
    counts = [count for count in (asked.counts if asked is not None else ()) if count < limit] + [limit]
    return Shown(known, walks, [query_curve(one, counts, sizes, norm) for one in walks])


def show(known: Known, asked: Asked | None) -> None:
    """All of it."""
    if not known.runs:
        st.caption("The first images are on their way.")
        return
    it = shown_of(known, asked)
    data = opened(it.sweep.dataset, it.sweep.split)
    if growing := words.so_far(it.curves, len(it.sweep.indices), known.share):
        st.caption(growing)
    for line in sentences(it.curves, data.image(it.sweep.indices[0]).size):
        st.markdown(plain(line))
    _figures(it)
    st.markdown("###### On the way")
    films.show(it.walks, it.curves, data)
    _numbers(it)


def _figures(it: Shown) -> None:
    asked = [point.queries for point in it.curves[0].points]
    lines = [drawn(one, curve) for one, curve in zip(it.walks, it.curves, strict=True)]
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("###### Norm against queries")
        st.caption("Median of the images that were read correctly, those not fooled yet counted as infinite; band: the "
                   "quartiles; dotted: the mean of those fooled so far.")
        figures.figure(SCOPE, plots.norm_against_queries(lines, asked), "norm-against-queries",
                       lambda: table(lines))
    with right:
        st.markdown("###### Success against queries")
        st.caption("Share of these images fooled by a change of at most the size named; bars: 95 % intervals (Wilson).")
        figures.figure(SCOPE, plots.success_against_queries(lines, asked), "success-against-queries",
                       lambda: table(it.curves))
    _verified(it)


def _verified(it: Shown) -> None:
    """Which of the lines can be believed, where an attacker asked a random defense."""
    if not any(curve.doubtful for curve in it.curves):
        return
    known = [curve for curve in it.curves if curve.verified is not None]
    st.caption(plain(words.doubts(it.curves)))
    if known:
        with st.expander("Asked again: distances that hold"):
            st.dataframe(verified_readable(known), hide_index=True, key=SCOPE.key("table verified"))
            figures.downloads(SCOPE, lambda: verified_table(known), "verified")


def _numbers(it: Shown) -> None:
    """The points as a table, of which a line opens its pictures; and what must be known besides."""
    st.markdown("###### Numbers")
    numbers = readable(it.curves)
    if not it.known.complete:
        figures.table(SCOPE, numbers, "points so far")
        return
    # Cells and not rows: those are chosen in a narrow column before the first alone, and the click may go anywhere.
    event = figures.table(SCOPE, numbers, "points", on_select="rerun", selection_mode="single-cell")
    line = next((row for row, _ in event.selection.cells if row < len(numbers)), None)  # type: ignore[attr-defined]
    if line is None:
        st.caption("Click on a line of the table to see the pictures behind it.")
    else:
        _pictures(it, line)
    figures.rows_downloads(SCOPE, it.walks, lambda: it.sweep.images, "black-box")
    st.download_button("sweep.toml", lambda: repeats(it), file_name="sweep.toml", on_click="ignore", type="tertiary",
                       key=SCOPE.key("sweep file"), help="Repeats this from the command line: python -m engine "
                                                         "query-curve --config sweep.toml --out black-box")
    for name, curve in zip(names_of(it.curves), it.curves, strict=True):
        for warning in curve.warnings:
            st.caption(plain(f"{name}: {warning}"))


def _pictures(it: Shown, line: int) -> None:
    """The images that were fooled by then, as they were in the end."""
    run, point = [(run, point) for run, curve in enumerate(it.curves) for point in curve.points][line]
    walks = it.walks[run]
    found = np.flatnonzero(np.isfinite(walks.distances(walks.spec.norm, [point.queries])[0]))
    st.markdown(plain(f"{counted(len(found), 'picture')} fooled within {counted(point.queries, 'query', 'queries')}, "
                      "as they were in the end:"))
    thumbs.show(SCOPE, _cells(it, run, found.tolist()), f"fooled {line}", it.known.task.device)


def _cells(it: Shown, run: int, chosen: Sequence[int]) -> Cells:
    """The pictures of those rows of a run, each with those that it was attacked together with."""
    def make(some: Sequence[int]) -> list[Cell]:
        units = plan(it.sweep, it.known.task.device)[run]
        places = [(unit, place) for unit in units for place in range(len(unit.indices))]
        return [Cell(*places[row], it.walks[run], row) for row in some]

    return Cells(chosen, make)


def repeats(it: Shown) -> str:
    """The file that repeats it from the command line."""
    settings = settings_of_sweep(it.sweep)
    changed = [line for line in settings.pop("set", ()) if f".{QUERIES}=" not in line]  # type: ignore[union-attr]
    first = it.curves[0]
    asked = {"queries": [point.queries for point in first.points], "measure": first.norm,
             "norms": [f"{success.within:.10g}" for success in first.points[0].success]}
    return config_text("query-curve", {**settings, **({"set": changed} if changed else {}), **asked})
