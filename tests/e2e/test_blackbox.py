"""The Black box page in a real browser: an example by itself, figures, a film, and the pictures behind a line."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e

APP = Path(__file__).resolve().parents[2] / "app.py"
SECONDS = 240_000  # a cold start imports PyTorch, and other tests may run beside this one
SMALL = "/blackbox?images=%23160+%239&queries=5,20&attacks=hopskipjump&norm=l2"

Server = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="module")
def url(start_streamlit: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start_streamlit(APP, {"PERTURBSCOPE_HOME": str(tmp_path_factory.mktemp("home"))}) as url:
        yield url


@pytest.fixture
def page(browser: "Browser", url: str) -> "Iterator[Page]":
    context = browser.new_context(viewport={"width": 1366, "height": 768}, color_scheme="dark")
    yield context.new_page()
    context.close()


def test_an_example_is_walked_by_itself_and_its_pictures_open(page: "Page", url: str) -> None:
    page.goto(url + SMALL)
    page.get_by_text("After at most 20 questions an image, HopSkipJump").wait_for(timeout=SECONDS)
    page.get_by_text("Choose a line of the table").wait_for(timeout=SECONDS)
    assert page.locator(".js-plotly-plot").count() == 2
    assert page.get_by_text("10 queries").count(), "there is no film"
    for label in ("Rows, Parquet", "CSV", "LaTeX"):
        assert page.get_by_role("button", name=label).count()
    # The first column of a table that is drawn on a canvas selects its lines.
    table = page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    table.click(position={"x": 16, "y": 90})
    page.get_by_text("fooled within 20 queries, as they were in the end").wait_for(timeout=SECONDS)
    page.get_by_role("link", name="Open in Explore").first.wait_for(timeout=SECONDS)
    assert "queries=5" in page.url and "images=" in page.url


def test_without_a_word_in_the_address_the_page_begins_by_itself(page: "Page", url: str) -> None:
    page.goto(url + "/blackbox")
    page.get_by_text("How many questions does it take").wait_for(timeout=SECONDS)
    page.get_by_role("progressbar").or_(page.get_by_text("Norm against queries")).first.wait_for(timeout=SECONDS)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled. What was computed is kept").wait_for(timeout=SECONDS)
