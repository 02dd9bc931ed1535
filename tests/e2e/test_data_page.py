"""The Data page's grid in a real browser: paged, walked with the keyboard, a picture chosen."""

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e


def test_the_grid_is_paged_and_a_picture_chosen(page: "Page", url: str) -> None:
    page.goto(f"{url}/data?view=pictures&dataset=phantom-histology&split=test")
    tiles = page.get_by_test_id("mosaic").locator(".tile")
    page.get_by_text("1–24 of 450 · page 1 of 19").wait_for()
    assert tiles.count() == 24 and page.get_by_label("Page before").is_disabled()
    page.get_by_label("Next page").click()
    page.get_by_text("25–48 of 450 · page 2 of 19").wait_for()
    tiles.nth(2).click()
    page.get_by_text("Picture 26 of phantom-histology/test").wait_for()
    page.wait_for_url(re.compile("sheet=2.*index=26"))  # written last
    page.keyboard.press("ArrowRight")
    assert page.evaluate("""() => { let one = document.activeElement;
        while (one.shadowRoot) one = one.shadowRoot.activeElement; return one.dataset.number }""") == "27"
    page.keyboard.press("Enter")
    page.get_by_text("Picture 27 of phantom-histology/test").wait_for()
