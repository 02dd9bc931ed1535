"""The mask that a visitor draws by hand: kept in the session and in the address, drawn in the sidebar."""

import numpy as np
import streamlit as st

from engine import digest
from engine.data.base import SIZE
from engine.data.masks import DRAWN, GRIDS, cells_of, drawn, enlarged
from engine.experiments.sources import Picture
from pages.ui import pictures
from pages.ui.address import Address
from pages.ui.brush import brush

# The drawing's name; what the tool in the browser shows; and how often that was replaced by something else.
DRAWING, SHOWN, VERSION = "explore.drawing", "explore drawing shown", "explore drawing version"


def drawing(address: Address, chosen: Picture) -> str:
    """The tool to draw with on a picture; returns the mask's name, "drawn" alone while nothing is marked."""
    name = address.value("drawing", DRAWING, lambda text: drawn(cells_of(f"{DRAWN}:{text}")), DRAWN)
    if name != st.session_state.get(SHOWN):
        st.session_state[SHOWN] = name
        st.session_state[VERSION] = st.session_state.get(VERSION, 0) + 1
    cells = _cells(name)
    brush(pictures.image_png(chosen.image, digest.of_arrays(chosen.image)), cells,
          version=st.session_state[VERSION], on_draw=_take, key="explore brush")
    if name == DRAWN:
        st.caption("Draw on the picture where the attack may change it, then press Run.")
    else:
        st.download_button("Mask (.png)", lambda: pictures.encode(enlarged(cells, SIZE).astype(np.uint8) * 255),
                           file_name="mask.png", on_click="ignore", key="explore file mask",
                           help="White where the picture may change; for the command line: --mask mask.png")
    address.note("drawing", name.partition(":")[2] or None)
    return name


def _cells(name: str) -> np.ndarray:
    return np.zeros((GRIDS[0], GRIDS[0]), bool) if name == DRAWN else cells_of(name)


def _take(cells: np.ndarray) -> None:
    """A stroke was drawn."""
    st.session_state[DRAWING] = st.session_state[SHOWN] = drawn(cells) if cells.any() else DRAWN
