"""The Black box page in a real browser: what a command has walked, and its start."""

import os
import subprocess
import sys
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
# Needs no further images, and fools some soon.
SMALL = "/blackbox?images=4&queries=5,20&attacks=square&eps=8/255"
COMMAND = ("query-curve --dataset phantom-cxr --model phantom-cxr/resnet18 --attack square --eps 8/255 --limit 4 "
           "--queries 5,20")

Server = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="module")
def url(start_streamlit: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = {"PERTURBSCOPE_HOME": str(tmp_path_factory.mktemp("home"))}
    subprocess.run([sys.executable, "-m", "engine", *COMMAND.split()], cwd=ROOT, env={**os.environ, **home}, check=True)
    with start_streamlit(ROOT / "app.py", home) as url:
        yield url


@pytest.fixture
def page(browser: "Browser", url: str) -> "Iterator[Page]":
    context = browser.new_context(viewport={"width": 1366, "height": 768}, color_scheme="dark")
    yield context.new_page()
    context.close()


def test_what_a_command_walked_is_there_at_once(page: "Page", url: str) -> None:
    page.goto(url + SMALL)
    page.get_by_text("After at most 20 questions an image, Square attack").wait_for(timeout=SECONDS)
    page.get_by_text("Choose a line of the table").wait_for(timeout=SECONDS)
    assert page.locator(".js-plotly-plot").count() == 2
    assert page.get_by_text("Original", exact=True).count(), "there is no film"
    for label in ("Rows, Parquet", "CSV", "LaTeX"):
        assert page.get_by_role("button", name=label).count()
    assert "queries=5" in page.url and "images=" in page.url


def test_without_a_word_in_the_address_the_page_begins_by_itself(page: "Page", url: str) -> None:
    page.goto(url + "/blackbox")
    page.get_by_text("How many questions does it take").wait_for(timeout=SECONDS)
    page.get_by_role("progressbar").or_(page.get_by_text("Norm against queries")).first.wait_for(timeout=SECONDS)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled. What was computed is kept").wait_for(timeout=SECONDS)
