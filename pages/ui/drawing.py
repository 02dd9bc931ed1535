"""The mask that a visitor draws by hand: kept in the session and in the address, drawn in the sidebar."""

from functools import partial

import numpy as np
import streamlit as st

from engine import digest
from engine.data.base import SIZE
from engine.data.masks import DRAWN, GRIDS, cells_of, drawn, enlarged
from engine.experiments.sources import Picture
from pages.ui import pictures
from pages.ui.address import Address
from pages.ui.brush import brush
from pages.ui.scope import Scope


def _drawing(scope: Scope) -> str:
    """The key of the drawing's name."""
    return scope.control("drawing")


def _shown(scope: Scope) -> str:
    """The key of what the tool in the browser shows."""
    return scope.key("drawing shown")


def _version(scope: Scope) -> str:
    """The key of how often that was replaced by something else."""
    return scope.key("drawing version")


def drawing(address: Address, chosen: Picture) -> str:
    """The tool to draw with on a picture; returns the mask's name, "drawn" alone while nothing is marked."""
    session, scope = st.session_state, address.scope
    name = address.value("drawing", _drawing(scope), lambda text: drawn(cells_of(f"{DRAWN}:{text}")), DRAWN)
    if name != session.get(_shown(scope)):
        session[_shown(scope)] = name
        session[_version(scope)] = session.get(_version(scope), 0) + 1
    cells = _cells(name)
    brush(pictures.image_png(chosen.image, digest.of_arrays(chosen.image)), cells,
          version=session[_version(scope)], on_draw=partial(_take, scope), key=scope.key("brush"))
    if name == DRAWN:
        st.caption("Draw on the picture where the attack may change it, then press Run.")
    else:
        st.download_button("Mask (.png)", lambda: pictures.encode(enlarged(cells, SIZE).astype(np.uint8) * 255),
                           file_name="mask.png", on_click="ignore", key=scope.key("file mask"),
                           help="White where the picture may change; for the command line: --mask mask.png")
    address.note("drawing", name.partition(":")[2] or None)
    return name


def _cells(name: str) -> np.ndarray:
    return np.zeros((GRIDS[0], GRIDS[0]), bool) if name == DRAWN else cells_of(name)


def _take(scope: Scope, cells: np.ndarray) -> None:
    """A stroke was drawn."""
    st.session_state[_drawing(scope)] = st.session_state[_shown(scope)] = drawn(cells) if cells.any() else DRAWN
