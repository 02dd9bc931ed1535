"""The Transfer page in a real browser: an example by itself, a click on a cell, and on to Explore."""

import re
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
PAIR = "made on {}, shown to {}"

Server = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def page(browser: "Browser", start_streamlit: Server, tmp_path: Path) -> "Iterator[Page]":
    with start_streamlit(APP, {"PERTURBSCOPE_HOME": str(tmp_path)}) as url:
        context = browser.new_context(viewport={"width": 1366, "height": 768}, color_scheme="dark", base_url=url)
        context.set_default_timeout(SECONDS)
        yield context.new_page()
        context.close()


def test_who_fools_whom_is_seen_clicked_and_opened(page: "Page") -> None:
    from playwright.sync_api import expect

    page.goto("/transfer?images=%238+%2318+%2393")
    words = page.get_by_text(re.compile("An attacker who has resnet18|An attacker who has densenet121"))
    words.first.wait_for()
    page.get_by_text("An attack follows the source's gradient").wait_for()
    pair = page.get_by_role("combobox", name="Pair")
    expect(pair).to_have_value(PAIR.format("resnet18", "densenet121"), timeout=SECONDS)
    # The last mark of the matrix: made on DenseNet-121, shown to itself.
    marks = page.locator(".js-plotly-plot").first.locator(".scatterlayer .point")
    assert marks.count() == 4
    box = marks.nth(3).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(pair).to_have_value(PAIR.format("densenet121", "densenet121"), timeout=SECONDS)
    page.get_by_text("Open in Explore").first.click()
    page.get_by_test_id("verdict").wait_for()
    assert "model=phantom-cxr%2Fdensenet121" in page.url and "company=" in page.url
    assert "The attack worked" in page.get_by_test_id("verdict").inner_text()
