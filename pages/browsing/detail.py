"""One picture: through a window, its histogram, what its file says, what is known of it, and the way to Explore."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from engine import digest
from engine.data import Dataset
from engine.data.base import StoredUnits
from engine.data.marks import MARKS, marked
from engine.data.scan import Frame
from engine.data.upload import Choices
from engine.data.windows import Meaning, Window
from engine.errors import EngineError
from pages.browsing.scope import SCOPE
from pages.ui import controls, pictures, shell, views
from pages.ui.address import Address
from pages.ui.charts import config
from pages.ui.text import capital, plain

SETTINGS = ("level", "width", "window", "mark")
BINS = 64
_LEVEL, _WIDTH = 0.5, 1.0  # the window that shows everything
_GREY = "#9aa7b4"


@dataclass(frozen=True, eq=False)
class _View:
    """A picture as it is looked at: intensities [C, H, W] in [0,1], what is said of it, and its histogram."""

    pixels: np.ndarray
    caption: str
    histogram: go.Figure


def show(address: Address, data: Dataset, index: int, said: str) -> None:
    """Everything about picture `index`; `said` is what a model says of it."""
    name = data.item_name(index)
    st.markdown(f"**{plain(_short(name))}**")
    try:
        image, frame = data.image(index), data.frame(index)
    except EngineError as error:
        st.error(plain(capital(error)))
        st.caption("It is left out once the whole set has been checked (Data sets, Check every picture).")
        address.carry(*SETTINGS)
        return
    truth = data.classes[data.labels[index]]
    st.caption(plain(f"Picture {index:,} of {data.info.name}/{data.split}, true class {truth}"
                     + (f"; the model says {said}" if said else "")))
    _open(data, index)
    picture = st.container()
    view = (_by_level(address, image, data.stored_units(index)) if frame is None or frame.meaning is None else
            _by_window(address, data, index, frame, frame.meaning))
    mark = _mark(address, data, index)
    with picture:
        _picture(data, view, mark)
    st.plotly_chart(view.histogram, width="stretch", key=SCOPE.key("histogram"), config=config("histogram"))
    _known(data, index)
    _head(data, index)


def _short(name: str, most: int = 80) -> str:
    return name if len(name) <= most else f"{name[:most // 2]}…{name[-most // 2:]}"


def _open(data: Dataset, index: int) -> None:
    st.page_link(shell.file("explore"), label="Open in Explore", help="Attack this very picture.",
                 query_params={"dataset": data.info.name, "split": data.split, "index": str(index)})


def _by_window(address: Address, data: Dataset, index: int, frame: Frame, meaning: Meaning) -> _View:
    """What is stored, through the windows that Explore offers for uploads."""
    address.carry("level", "width")
    choices, key = Choices(shown=frame), SCOPE.control(f"window {data.info.name} {data.split} {index}")
    try:
        name = views.window(address, key, choices, "models see it as the file says")
    except EngineError as error:  # as it was typed
        st.error(plain(capital(error)))
        name = views.AS_STORED
    shown, by = frame.shown(name), choices.look(name).by
    caption = "as the model sees it" if name == views.AS_STORED else "through the window below"
    for note in shown.notes:
        st.caption(plain(capital(note)))
    return _View(shown.seen, caption, _stored_histogram(frame, meaning, by.ends if isinstance(by, Window) else None))


def _by_level(address: Address, image: np.ndarray, units: StoredUnits | None) -> _View:
    """What models see, through a window of its intensities."""
    level, width = _window(address, units)
    address.carry("window")
    caption = "as the model sees it" if (level, width) == (_LEVEL, _WIDTH) else "through the window below"
    shown = np.clip((image - (level - width / 2)) / width, 0, 1).astype(np.float32)
    return _View(shown, caption, _histogram(image, level, width, units))


def _window(address: Address, units: StoredUnits | None) -> tuple[float, float]:
    """Which intensities are black and white; in the file's own units, too, where those are known."""
    one, other = st.columns(2)
    with one:
        level = _slider(address, "level", "Level", 0.0, 1.0, _LEVEL, "The intensity that is shown as middle grey.")
    with other:
        width = _slider(address, "width", "Width", 0.02, 1.0, _WIDTH, "From black to white: narrow is more contrast.")
    low, high = level - width / 2, level + width / 2
    if units is not None:
        st.caption(plain(f"Black at {units.offset + low * units.scale:,.0f} {units.name}, white at "
                         f"{units.offset + high * units.scale:,.0f} {units.name}"))
    return level, width


def _slider(address: Address, name: str, label: str, low: float, high: float, default: float, help: str) -> float:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise EngineError("it must be a number") from None
        if not low <= value <= high:
            raise EngineError(f"it must lie between {low:g} and {high:g}")
        return value

    key = SCOPE.control(name)
    seed = address.seed(name, key, read, default)
    value = float(st.slider(label, low, high, seed, step=0.01, key=key, help=help))
    address.note(name, None if value == default else f"{value:g}")
    return value


def _mark(address: Address, data: Dataset, index: int) -> np.ndarray | None:
    """What is outlined, among what is marked on the picture."""
    known = {name: mask for name in MARKS if (mask := marked(name, data, index)) is not None and mask.any()}
    if not known:
        address.carry("mark")
        return None
    name = controls.choice(address, "mark", "Outline", ["", *MARKS], "", read=controls.one_of("mark", ["", *MARKS]),
                           format_func=lambda name: (name + ("" if name in known else " (not on this one)"))
                           if name else "nothing")
    return known.get(name)


def _picture(data: Dataset, view: _View, mark: np.ndarray | None) -> None:
    known, (height, width) = digest.of_arrays(view.pixels), view.pixels.shape[1:]
    png = pictures.image_png(view.pixels, known) if mark is None else pictures.outlined_png(
        view.pixels, mark, f"{known} {digest.of_arrays(mark)}")
    pictures.row([pictures.Figure(f"{width} x {height} pixels", view.caption, png,
                                  "SYNTHETIC" if data.info.synthetic else "", exact=min(height, width) < 100)])


def _histogram(image: np.ndarray, level: float, width: float, units: StoredUnits | None) -> go.Figure:
    """How many pixels have which intensity; the window is the bright part."""
    scale, offset = (units.scale, units.offset) if units else (1.0, 0.0)
    colours = (_GREY,) if len(image) == 1 else ("#d55e00", "#009e73", "#0072b2")
    ends = offset + (level - width / 2) * scale, offset + (level + width / 2) * scale
    return _counted(zip(offset + image * scale, colours, strict=True), (offset, offset + scale), ends,
                    units.name if units else "intensity")


def _stored_histogram(frame: Frame, meaning: Meaning, ends: tuple[float, float] | None) -> go.Figure:
    """How many pixels have which value, of those that are no padding; the window is the bright part."""
    inside = ~meaning.padded(frame.stored)
    values = meaning.values(frame.stored[inside] if inside.any() else frame.stored)
    low, high = float(values.min()), float(values.max())
    return _counted([(values, _GREY)], (low, max(high, low + 1)), ends, meaning.unit)


def _counted(channels: Iterable[tuple[np.ndarray, str]], within: tuple[float, float], ends: tuple[float, float] | None,
             unit: str) -> go.Figure:
    figure, edges = go.Figure(), np.linspace(*sorted(within), BINS + 1)
    for values, colour in channels:
        figure.add_scatter(x=(edges[:-1] + edges[1:]) / 2, y=np.histogram(values, edges)[0], mode="lines",
                           line={"color": colour, "shape": "hvh"}, fill="tozeroy" if colour == _GREY else "none",
                           showlegend=False, hovertemplate="%{x:.4g}: %{y:,} pixels<extra></extra>")
    if ends is not None:
        low, high = np.clip(sorted(ends), edges[0], edges[-1])
        figure.add_vrect(x0=low, x1=high, fillcolor="#56b4e9", opacity=0.13, line_width=0)
    figure.update_layout(height=150, margin={"l": 0, "r": 8, "t": 6, "b": 0},
                         xaxis={"title": unit, "range": list(within), "showspikes": False},
                         yaxis={"title": "pixels", "rangemode": "tozero"})
    return figure


def _known(data: Dataset, index: int) -> None:
    """Labels and subgroups; the way to the patient's other pictures is the filter above the grid."""
    if data.info.findings:
        st.markdown(plain(f"Findings: {', '.join(data.findings(index)) or 'none'}"))
    for name, group in data.groups(index).items():
        st.markdown(plain(f"{name}: {group}"))


def _head(data: Dataset, index: int) -> None:
    with st.expander("What the file says", expanded=True):
        try:
            head = data.header(index)
        except EngineError as error:
            st.error(plain(capital(error)))
            return
        facts = [("pixels", head.stored.size), ("stored as", head.stored.depth), *head.facts]
        st.dataframe(pd.DataFrame(facts, columns=["what", "value"]), hide_index=True, key=SCOPE.key("header"),
                     column_config={"what": st.column_config.TextColumn(width=150)})
        if head.hidden:
            st.caption(f"{head.hidden} further entries of the file are not shown: they may name a person. Only numbers "
                       "and words that the standard defines are read.")
