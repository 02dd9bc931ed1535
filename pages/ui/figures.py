"""Figures and tables with all that one may want to take away: SVG, PNG, CSV, LaTeX, and the rows behind them."""

import io
from collections.abc import Callable, Sequence

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from engine.attacks.rows import Rows
from engine.experiments import spreadsheets
from engine.experiments.frames import frame
from pages.ui import charts
from pages.ui.scope import Scope
from pages.ui.text import plain

Table = Callable[[], pd.DataFrame]  # one that is made when it is asked for


def figure(scope: Scope, drawn: go.Figure, name: str, table: Table | None = None, **options: object) -> object:
    """A plot called `name` in its keys and files; its cameras save it as SVG or PNG. `table` makes what it shows, to be
    taken away. Further `options` go to st.plotly_chart, whose answer is returned."""
    event = st.plotly_chart(drawn, width="stretch", key=scope.key(f"figure {name}"), config=charts.config(name),
                            **options)  # type: ignore[arg-type]
    if table is not None:
        downloads(scope, table, name)
    return event


def table(scope: Scope, shown: pd.DataFrame, name: str, **options: object) -> object:
    """A table that can be sorted, searched and enlarged, with its downloads; `options` go to st.dataframe, whose answer
    is returned."""
    event = st.dataframe(shown, hide_index=True, key=scope.key(f"table {name}"), **options)  # type: ignore[arg-type]
    downloads(scope, lambda: shown, name)
    return event


def grouped_table(scope: Scope, shown: pd.DataFrame, name: str, by: str) -> None:
    """The same as a table for each that the column `by` names, where there is one: long names stand above, and leave
    the numbers their room."""
    if by not in shown:
        table(scope, shown, name)
        return
    for number, (title, own) in enumerate(shown.groupby(by, sort=False)):
        st.markdown(f"**{plain(title)}**")
        st.dataframe(own.drop(columns=by), hide_index=True, key=scope.key(f"table {name} {number}"))
    downloads(scope, lambda: shown, name)


def downloads(scope: Scope, shown: Table, name: str) -> None:
    """A table as CSV and as LaTeX."""
    with st.container(horizontal=True):
        _button(scope, f"{name}.csv", "CSV", lambda: as_csv(shown()), "The numbers, with commas between them.")
        _button(scope, f"{name}.tex", "LaTeX", lambda: spreadsheets.as_latex(shown()),
                "For LaTeX with the package booktabs.")


def rows_downloads(scope: Scope, runs: Sequence[Rows], images: Callable[[], Sequence[str]], stem: str) -> None:
    """The rows behind everything: a row an image, attack and budget; `images` gives the images' names."""
    with st.container(horizontal=True):
        _button(scope, f"{stem}-rows.parquet", "Rows, Parquet", lambda: as_parquet(runs, images()),
                "Every image's row, for pandas, R or Polars.")
        _button(scope, f"{stem}-rows.csv", "Rows, CSV", lambda: as_csv(frame(runs, images())),
                "Every image's row, with commas between them.")


def as_csv(shown: pd.DataFrame) -> str:
    """With eight significant digits."""
    return spreadsheets.as_csv(shown, "%.8g")


def as_parquet(runs: Sequence[Rows], images: Sequence[str]) -> bytes:
    file = io.BytesIO()
    frame(runs, images).to_parquet(file, index=False)
    return file.getvalue()


def _button(scope: Scope, name: str, label: str, make: Callable[[], str | bytes], help: str) -> None:
    """The file is made when it is asked for."""
    st.download_button(label, make, file_name=name, help=help, on_click="ignore", key=scope.key(f"file {name}"),
                       type="tertiary")
