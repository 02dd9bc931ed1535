"""The picture chooser: a page of thumbnails with their true classes, sent as one sprite."""

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

from pages.ui.component import component

_component = component(Path(__file__).parent)


def sprite(thumbnails: np.ndarray) -> str:
    """Thumbnails uint8 [N, S, S] or [N, S, S, 3] side by side in one picture, as a data URL."""
    strip = np.concatenate(list(thumbnails), axis=1)
    file = io.BytesIO()
    Image.fromarray(strip).save(file, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def picker(picture: str, captions: Sequence[str], *, first: int, total: int, chosen: int | None, badge: str = "",
           on_pick: Callable[[int], None], on_page: Callable[[int], None], key: str) -> None:
    """Show thumbnails number `first` and following of `total`. `picture` is their sprite.

    `on_pick` gets the number of the picture that was clicked, or -1 for a random one; `on_page` a step of -1 or 1.
    """
    def picked() -> None:
        if (value := st.session_state[key].get("picked")) is not None:
            on_pick(int(value))

    def paged() -> None:
        if (value := st.session_state[key].get("paged")) is not None:
            on_page(int(value))

    data = {"sprite": picture, "captions": list(captions), "first": first, "total": total, "chosen": chosen,
            "badge": badge}
    _component(key=key, data=data, on_picked_change=picked, on_paged_change=paged)
