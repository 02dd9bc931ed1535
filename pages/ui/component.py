"""Parts of a page that are drawn in the browser by a script of their own."""

from pathlib import Path

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer


def component(folder: Path) -> ComponentRenderer:
    """The part whose HTML, style and script lie in `folder` under its name."""
    html, css, js = ((folder / f"{folder.name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return st.components.v2.component(f"perturbscope_{folder.name}", html=html, css=css, js=js)
