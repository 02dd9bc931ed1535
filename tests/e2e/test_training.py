"""The Training page in a real browser: a network is seen to learn, is stopped, and can go on."""

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.e2e
# A few small phantoms, and more epochs than anybody waits for.
LINK = ("training?dataset=phantom-cxr%4064&arch=mobilenet_v3_small&limit=12&epochs=500&full_size_epochs=500&batch=4"
        "&precision=float32&name=my/seen")


def test_a_training_is_watched_stopped_and_can_go_on(page: "Page", url: str) -> None:
    page.goto(f"{url}/{LINK}")
    page.get_by_role("button", name="Run").click()
    page.get_by_text(re.compile(r"learns from .* images a second")).wait_for()
    page.locator(".js-plotly-plot .legendtext", has_text="validation").first.wait_for()
    page.get_by_role("button", name="Cancel").click()
    left = page.get_by_text(re.compile(r"my/seen: \d+ of 500 epochs"))
    left.wait_for()
    assert int(re.findall(r"\d+", left.inner_text())[0]) >= 1
    assert page.get_by_role("button", name="Cancel").is_disabled()
