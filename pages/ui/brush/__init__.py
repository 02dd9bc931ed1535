"""A small drawing tool: where a picture may change, marked by hand on a grid of cells."""

import base64
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import streamlit as st

from pages.ui.component import component

_component = component(Path(__file__).parent)


def brush(picture: bytes, mask: np.ndarray, *, version: int, on_draw: Callable[[np.ndarray], None], key: str) -> None:
    """Draw a mask, bool [S, S], over a picture (PNG); `on_draw` gets the new one after every stroke.

    What is being drawn in the browser goes before `mask`, which may be a stroke behind, until `version` changes.
    """
    def drawn() -> None:
        if (value := st.session_state[key].get("drawn")) is not None:
            on_draw(_mask(value))

    data = {"picture": "data:image/png;base64," + base64.b64encode(picture).decode(), "side": len(mask),
            "version": version, "cells": base64.b64encode(np.packbits(mask).tobytes()).decode()}
    _component(key=key, data=data, on_drawn_change=drawn)


def _mask(text: str) -> np.ndarray:
    """What the browser sends: the cells as bits, row by row, in base64."""
    cells = np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8)).astype(bool)
    side = math.isqrt(len(cells))
    return cells.reshape(side, side)
