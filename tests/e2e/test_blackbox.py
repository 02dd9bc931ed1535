"""The Black box page in a real browser: an example at once, and the pictures behind its numbers."""

from typing import TYPE_CHECKING

import pytest

from tests.serving import settled

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e
LINE = 35  # pixels that a line of a table is high, its head too


def test_it_opens_with_an_example_and_a_click_on_a_number_leads_to_its_pictures(page: "Page", url: str) -> None:
    page.goto(url + "/blackbox")
    page.get_by_text("A stored example that came with Perturbscope").wait_for()
    page.get_by_text("Click on a line of the table").wait_for()
    table = page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    box = settled(page, table.bounding_box)
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 3, box["y"] + 2.5 * LINE)  # the second line, anywhere
    page.get_by_text("fooled within 40 queries, as they were in the end").wait_for()
    # Made in their batch, which takes as long as PyTorch takes to load.
    page.get_by_role("link", name="Open in Explore").first.wait_for()
    page.get_by_alt_text("Perturbed: ").first.wait_for()


def test_what_was_started_can_be_cancelled(page: "Page", url: str) -> None:
    page.goto(url + "/blackbox?queries=20000")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Cancel").click()  # once there is something to be cancelled
    page.get_by_text("Cancelled. What was computed is kept").wait_for()
