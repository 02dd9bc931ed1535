"""The Black box page in a real browser: its start, and an end put to it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240_000  # a cold start imports PyTorch, and other tests may run beside this one

Server = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="module")
def url(start_streamlit: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = {"PERTURBSCOPE_HOME": str(tmp_path_factory.mktemp("home"))}
    with start_streamlit(ROOT / "app.py", home) as url:
        yield url


@pytest.fixture
def page(browser: "Browser", url: str) -> "Iterator[Page]":
    context = browser.new_context(viewport={"width": 1366, "height": 768}, color_scheme="dark")
    yield context.new_page()
    context.close()


def test_without_a_word_in_the_address_the_page_begins_by_itself(page: "Page", url: str) -> None:
    page.goto(url + "/blackbox")
    page.get_by_text("How many questions does it take").wait_for(timeout=SECONDS)
    page.get_by_role("progressbar").or_(page.get_by_text("Norm against queries")).first.wait_for(timeout=SECONDS)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled. What was computed is kept").wait_for(timeout=SECONDS)
