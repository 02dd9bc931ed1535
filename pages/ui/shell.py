"""What surrounds every page: configuration, navigation, styles and the standing line."""

import gc
import sys
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

import streamlit as st

_ROOT = Path(__file__).resolve().parents[2]
_CSS = Path(__file__).with_name("shell.css").read_text(encoding="utf-8")
STANDING_LINE = "For research and teaching, not for diagnosis."

_inside: ContextVar[bool] = ContextVar("inside the shell", default=False)


def main() -> None:
    """Configure the page, draw the navigation and run the page the visitor asked for."""
    st.set_page_config(page_title="Perturbscope", page_icon=str(_ROOT / "assets" / "favicon.png"), layout="wide",
                       initial_sidebar_state=352)
    page = st.navigation([
        st.Page(file("explore"), title="Explore", default=True),
        st.Page(file("evaluate"), title="Evaluate"),
        st.Page(file("epsilon"), title="Epsilon"),
        st.Page(file("transfer"), title="Transfer"),
        st.Page(file("blackbox"), title="Black box"),
        st.Page(file("defend"), title="Defend"),
        st.Page(file("training"), title="Training"),
        st.Page(file("data"), title="Data"),
        st.Page(file("runs"), title="Runs"),
        st.Page(file("about"), title="About"),
    ], position="top")
    st.html(f"<style>{_CSS}</style>")
    st.html(f'<div class="ps-standing">{STANDING_LINE}</div>')
    token, known = _inside.set(True), len(sys.modules)
    try:
        page.run()
    finally:
        _inside.reset(token)
        if len(sys.modules) > known:
            # Nobody else gets through while Python goes through hundred thousands of objects for garbage. What modules
            # are made of is none, and is left out (`engine.device.load_libraries` does the same).
            gc.freeze()


def file(page: str) -> Path:
    """The file of the page of that name, for links to it."""
    return _ROOT / "pages" / f"{page}.py"


def run(page: Callable[[], None]) -> None:
    """Last line of every page's file. Where the server runs that file on its own, because this page was the first thing
    anyone asked for, the whole dashboard runs instead."""
    if _inside.get():
        page()
    else:
        main()


def owner() -> str:
    """This visitor, as far as jobs are concerned."""
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    context = get_script_run_ctx()
    return context.session_id if context else ""
