"""Parts of a page that are drawn in the browser by a script of their own."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image
from streamlit.components.v2.types import ComponentRenderer

TILES = Path(__file__).with_name("tiles.css")  # the style of pictures to be clicked, and of the buttons below them


def component(folder: Path, *styles: Path) -> ComponentRenderer:
    """The part whose HTML, style and script lie in `folder` under its name; `styles` come before its own."""
    html, css, js = ((folder / f"{folder.name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    css = "".join([*(style.read_text(encoding="utf-8") for style in styles), css])
    return st.components.v2.component(f"perturbscope_{folder.name}", html=html, css=css, js=js)


def jpeg_url(pixels: np.ndarray, quality: int) -> str:
    """A picture uint8 [H, W] or [H, W, 3] as a data URL."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def trigger(key: str, name: str, tell: Callable[[int], None]) -> Callable[[], None]:
    """The callback that tells the number which the script of the part at `key` has sent under `name`, if it has."""
    def told() -> None:
        if (value := st.session_state[key].get(name)) is not None:
            tell(int(value))

    return told
