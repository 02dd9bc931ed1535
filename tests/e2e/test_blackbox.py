"""The Black box page in a real browser: its start, and an end put to it."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e


def test_without_a_word_in_the_address_the_page_begins_by_itself(page: "Page", url: str) -> None:
    page.goto(url + "/blackbox")
    page.get_by_text("How many questions does it take").wait_for()
    page.get_by_role("progressbar").or_(page.get_by_text("Norm against queries")).first.wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled. What was computed is kept").wait_for()
