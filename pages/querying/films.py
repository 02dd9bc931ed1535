"""Film strips: how the nearest image that fools the model came to look ever more like the attacked one."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from engine.attacks.norms import NORMS
from engine.data import Dataset
from engine.experiments.queries.curves import QueryCurve
from engine.experiments.queries.walks import Film, Walks
from engine.experiments.queries.words import names_of
from pages.querying.scope import SCOPE
from pages.ui import pictures
from pages.ui.charts import counted
from pages.ui.pictures import Figure
from pages.ui.text import in_archive, plain
from pages.ui.viewer import amplified, auto_gain, strongest_channel

COLUMNS = 5  # at least, so that short films are no larger


def show(walks: Sequence[Walks], curves: Sequence[QueryCurve], data: Dataset) -> None:
    """The films of one run, chosen where there are several."""
    filmed = [number for number, one in enumerate(walks) if one.films]
    if not filmed:
        st.caption("No image was classified correctly before, so there is no film.")
        return
    names = names_of(curves)
    chosen = filmed[0]
    if len(filmed) > 1:
        chosen = st.segmented_control("Film of", filmed, default=filmed[0], format_func=names.__getitem__,
                                      key=SCOPE.key("filmed")) or filmed[0]
    differences = st.toggle("Show the difference from the original", key=SCOPE.key("differences"),
                            help="Amplified as in Explore, each by a gain of its own.")
    for film in walks[chosen].films:
        name = data.item_name(film.index)
        st.caption(plain(f"{name}, true class {data.classes[data.labels[film.index]]}"),
                   help=in_archive(name, data.split))
        pictures.row(strip(film, data.image(film.index), walks[chosen], differences,
                           "SYNTHETIC" if data.info.synthetic else ""), columns=max(COLUMNS, 1 + len(film.queries)))


def strip(film: Film, clean: np.ndarray, walks: Walks, differences: bool, badge: str) -> list[Figure]:
    """The original, then every frame with the size of its change in the norm of the run."""
    norm = NORMS[walks.spec.norm]
    changes = [frame.astype(np.float32) - clean for frame in film.frames]
    key = f"{walks.provenance.model_digest} {walks.spec} {film.index}"
    figures = [Figure("Original", "", pictures.image_png(clean, f"{key} clean"), badge)]
    for queries, frame, change, far in zip(film.queries, film.frames, changes, film.sizes, strict=True):
        size = f"{'L2 ' if norm.name == 'l2' else ''}{norm.text(far, '.3g')}"
        if differences:
            gain = auto_gain(strongest_channel(change))
            figures.append(Figure(counted(queries, "query", "queries"),
                                  f"{size}, {amplified(strongest_channel(change), gain)}",
                                  pictures.difference_png(change, gain, f"{key} {queries} change"), exact=True))
        else:
            figures.append(Figure(counted(queries, "query", "queries"), size,
                                  pictures.image_png(frame.astype(np.float32), f"{key} {queries}"), badge))
    return figures
