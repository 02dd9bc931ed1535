"""The Evaluate page in a real browser: from a matrix to the pictures behind it, and on to Explore."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import PATIENCE
from tests.e2e.test_explore import picture_file
from tests.serving import settled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e

SMALL = "/evaluate?images=each%202&attacks=fgsm&eps=1/255,4/255"


def rest(page: "Page") -> None:
    page.get_by_role("heading", name="To take away").wait_for()
    page.locator("[data-testid=stStatusWidget]").wait_for(state="detached")


def click_cell(page: "Page", number: int) -> None:
    """The cell of that number, from 0, row by row and matrix by matrix."""
    matrix = page.locator(".js-plotly-plot").first
    matrix.scroll_into_view_if_needed()
    label = matrix.locator("g.textpoint").nth(number)
    box = settled(page, label.bounding_box)
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_a_click_on_a_cell_leads_to_its_pictures_and_they_to_explore(page: "Page", url: str) -> None:
    page.goto(url + SMALL)
    rest(page)
    assert re.search(r"Of \d images? of Pneumonia found before", page.locator("[data-testid=stMain]").inner_text())
    assert page.locator(".js-plotly-plot").count() == 6
    click_cell(page, 0)  # before the attack, of normal ones those said to be normal
    page.get_by_text(re.compile(r"^\d images? shows? Normal and (is|are) said to show Normal before")).wait_for()
    page.get_by_role("link", name="Open in Explore").first.wait_for()
    page.wait_for_function("() => location.search.includes('when=clean') && location.search.includes('shows=0')")
    page.reload()
    page.get_by_text(re.compile(r"said to show Normal before the attack")).wait_for()
    page.get_by_role("link", name="Open in Explore").first.click()
    page.get_by_test_id("verdict").wait_for()
    assert "attack=fgsm" in page.url and "eps=4" in page.url


@pytest.mark.parametrize(("width", "height", "scheme"), [(1366, 768, "dark"), (1920, 1080, "light")])
def test_it_fits_the_screen(browser: "Browser", url: str, width: int, height: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(url + SMALL)
    rest(page)
    main = page.get_by_test_id("stMain")
    assert main.evaluate("area => area.scrollWidth <= area.clientWidth")
    main.locator(".js-plotly-plot").first.wait_for()  # figures come after the page's words
    wide = settled(page, lambda: main.locator(".js-plotly-plot").evaluate_all(
        "plots => plots.map(plot => plot.getBoundingClientRect().right)"))
    assert max(wide) <= width
    picture_file(page, f"evaluate-{width}")
    context.close()


def test_the_tables_and_rows_are_downloaded(page: "Page", url: str, tmp_path: Path) -> None:
    page.goto(url + SMALL)
    rest(page)
    for label, name in (("Rows, Parquet", "evaluation-rows.parquet"), ("sweep.toml", "sweep.toml")):
        with page.expect_download() as started:
            page.get_by_role("button", name=label, exact=True).click()
        assert started.value.suggested_filename == name
        started.value.save_as(tmp_path / name)
    import pandas as pd

    assert len(pd.read_parquet(tmp_path / "evaluation-rows.parquet")) == 12
