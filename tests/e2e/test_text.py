"""Hostile texts in every place where Streamlit would read them as Markdown, in a real browser."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import plotly.graph_objects as go
import pytest
import streamlit as st

from pages.ui import charts
from pages.ui.text import literal, plain
from tests.hostile import BEACON, TEXTS, UNSEEN

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.e2e

Server = Callable[..., AbstractContextManager[str]]
EXPECTED = [*(re.sub(r"\s+", " ", text).strip() for text in TEXTS), *UNSEEN.values()]
NOTHING_BUT_TEXT = {"P", "DIV", "SPAN", "LABEL", "TD", "TR", "TH", "TABLE", "TBODY", "THEAD", "svg", "path"}


def one_by_one() -> None:
    """Every text in every kind of element that the pages use; served to the browser as a script of its own."""
    for text in (*TEXTS, *UNSEEN):
        with st.container(key=f"shown {len(st.session_state)}"):
            st.session_state[f"n{len(st.session_state)}"] = 0
            st.error(plain(text))
            st.caption(plain(text))
            st.markdown(plain(text))
            st.markdown(f"| {plain(text)} | **{plain(text)}** |\n|:--|:--|\n| {plain(text)} | `x` |")
            st.progress(0.5, text=f"{plain(text)}")
            st.expander(plain(text)).write()
            st.button(plain(text), key=f"b {text}")
            st.selectbox(plain(text), [text], key=f"s {text}")


def plotted() -> None:
    for place in range(0, len(TEXTS), 4):
        some = TEXTS[place:place + 4]
        charts.show(charts.probabilities(some, [0.5] * len(some), [0.5] * len(some)), key=f"bars {place}")
    figure = go.Figure([go.Scatter(x=[0], y=[0], name=literal(text)) for text in TEXTS])
    figure.update_layout(height=4000)
    charts.show(figure, key="legend")
    st.write("the end")


if __name__ == "__main__":
    plotted() if st.query_params.get("plots") else one_by_one()


@pytest.fixture(scope="module")
def url(start_streamlit: Server) -> Iterator[str]:
    with start_streamlit(Path(__file__)) as url:
        yield url


@pytest.fixture
def page(browser: "Browser", url: str) -> "Iterator[Page]":
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    yield page
    page.close()
    assert not [address for address in asked if not address.startswith((url, "data:", "blob:"))]


def shown(element: "Locator") -> str:
    return re.sub(r"\s+", " ", (element.text_content() or "").replace("\u2060", "")).strip()


def test_no_text_becomes_anything_else(page: "Page", url: str) -> None:
    page.goto(url)
    blocks = page.locator("[class*=st-key-shown]")
    blocks.nth(len(EXPECTED) - 1).get_by_test_id("stSelectbox").wait_for()
    page.wait_for_function("() => !document.querySelector('[data-testid=stSkeleton]')")
    wrong = []
    for place, text in enumerate(EXPECTED):
        block = blocks.nth(place)
        found = {name: [shown(part) for part in block.locator(place_).all()] for name, place_ in {
            "error": "[data-testid=stAlertContentError]", "caption": "[data-testid=stCaptionContainer]",
            "markdown": "[data-testid=stMarkdown] > div > p, [data-testid=stMarkdownContainer] > p:only-child",
            "cells": "th, td:first-child", "expander": "summary p", "button": "button[kind=secondary]",
            "label": "[data-testid=stWidgetLabel]"}.items()}
        for name, texts in found.items():
            if not texts or set(texts) != {text}:
                wrong.append((text, name, texts))
        made = block.locator("[data-testid=stMarkdownContainer] *").evaluate_all("all => all.map(e => e.tagName)")
        allowed = NOTHING_BUT_TEXT | {"STRONG", "CODE"}  # the table has one of each by itself
        if not set(made) <= allowed or made.count("STRONG") + made.count("CODE") > 2:
            wrong.append((text, "elements", sorted(set(made))))
    assert not wrong, "\n".join(map(str, wrong))
    assert page.locator(f"[href*='{BEACON}'], [src*='{BEACON}'], .katex, .stMarkdownColoredText").count() == 0


def test_no_name_becomes_anything_else_in_a_plot(page: "Page", url: str) -> None:
    page.goto(f"{url}/?plots=1")
    page.get_by_text("the end").wait_for()
    names = page.locator(".st-key-legend .legendtext")
    names.nth(len(TEXTS) - 1).wait_for()
    written = [shown(part) for part in names.all()]
    expected = [re.sub(r"\s+", " ", text).strip() for text in TEXTS]
    assert written == expected
    ticks = {shown(part) for part in page.locator(".ytick text, .yaxislayer-above text").all()}
    assert set(expected) <= ticks
    assert page.locator(".js-plotly-plot .main-svg a").count() == 0
