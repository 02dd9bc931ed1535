"""The Epsilon page in a real browser: curves that grow, the slider along them, and a point's pictures."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.serving import settled

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e

SMALL = "/epsilon?images=4&attacks=fgsm&eps=0/255,1/255,4/255,16/255"


def test_a_cold_link_draws_both_readings_and_the_slider_moves_the_pictures(page: "Page", url: str) -> None:
    page.goto(url + SMALL)
    page.get_by_role("heading", name="To take away").wait_for()
    page.locator("[data-testid=stStatusWidget]").wait_for(state="detached")
    page.locator(".js-plotly-plot").nth(3).wait_for()
    assert page.locator(".js-plotly-plot").count() == 4, "two readings, the danger zone, the histogram"
    said = page.get_by_text("images that the model read correctly").first.inner_text()
    assert re.search(r"\d+ are flipped within 16/255", said) and "flip before the eye would see anything" in said
    assert page.get_by_text("FGSM: spent 4 gradients instead of the 16").count() == 1
    pictures = page.locator(".ps-row img")
    before = pictures.first.get_attribute("src")
    slider = page.get_by_role("slider", name="Along the curve")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.get_by_text("exact, scaled to 16/255").first.wait_for()
    assert settled(page, lambda: pictures.first.get_attribute("src")) != before


def test_a_download_holds_the_rows(page: "Page", url: str) -> None:
    page.goto(url + SMALL)
    button = page.get_by_role("button", name="Rows, CSV")
    button.wait_for()
    with page.expect_download() as download:
        button.click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert "eps" in lines[0] and len(lines) == 1 + 4 * 4 * 2
