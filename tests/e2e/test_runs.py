"""The Runs page in a real browser: found, compared, deleted and had back; a report that opens offline."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.work.store import Store
from tests.e2e.conftest import StartStreamlit
from tests.made import keep, ladder
from tests.serving import ROOT, settled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e
PATIENCE = 90_000


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A home with two runs, and their keys."""
    home = tmp_path_factory.mktemp("home")
    store = Store(home / "runs")
    keys = [keep(store), keep(store, ladder(attack="fgsm", model="phantom-cxr/densenet121"), contents="b" * 64)]
    store.call(keys[0], "Figure 3", "for the reviewer")
    return home, keys


@pytest.fixture(scope="module")
def url(start_streamlit: StartStreamlit, kept: tuple[Path, list[str]]) -> Iterator[str]:
    with start_streamlit(ROOT / "app.py", {"PERTURBSCOPE_HOME": str(kept[0])}) as url:
        yield url


@pytest.fixture
def page(browser: "Browser", url: str) -> "Iterator[Page]":
    with browser.new_context(viewport={"width": 1366, "height": 768}, accept_downloads=True) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        yield page


def test_two_runs_are_compared_deleted_and_had_back(page: "Page", url: str, kept: tuple[Path, list[str]]) -> None:
    store = Store(kept[0] / "runs")
    page.goto(f"{url}/runs?runs=" + ".".join(key[:16] for key in kept[1]))
    page.get_by_text("2 runs compared").wait_for()
    page.get_by_text("What was asked for differently").wait_for()
    page.get_by_role("button", name="Delete these 2").click()
    page.get_by_text("2 runs deleted just now").wait_for()
    page.get_by_text("Nothing was run yet").wait_for()
    assert store.search().total == 0
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("2 runs compared").wait_for()
    assert store.search().total == 2 and store.entry(kept[1][0]).called == "Figure 3"


def test_what_is_searched_is_in_the_address_and_a_link_brings_it_back(page: "Page", url: str) -> None:
    page.goto(f"{url}/runs")
    search = page.get_by_role("textbox", name="Search")
    search.fill("reviewer")
    search.press("Enter")
    page.get_by_text("1 run. Choose one").wait_for()
    page.wait_for_url("**/runs?*text=reviewer*")
    page.reload()
    page.get_by_text("1 run. Choose one").wait_for()
    assert settled(page, page.get_by_role("textbox", name="Search").input_value) == "reviewer"


def test_a_report_is_one_click_and_opens_offline(browser: "Browser", page: "Page", url: str, tmp_path: Path,
                                                 kept: tuple[Path, list[str]]) -> None:
    page.goto(f"{url}/runs?runs={kept[1][0][:16]}")
    page.get_by_role("heading", name="Figure 3").wait_for()
    page.get_by_role("button", name="Report").click()
    page.get_by_role("button", name="Make the HTML").click()
    button = page.get_by_role("button", name="Download the HTML")
    with page.expect_download() as download:
        button.click()
    file = tmp_path / "report.html"
    download.value.save_as(file)
    with browser.new_context(offline=True) as context:
        report = context.new_page()
        asked: list[str] = []
        report.on("request", lambda request: asked.append(request.url))
        report.goto(file.as_uri())
        report.get_by_text("not for diagnosis").first.wait_for()
        assert report.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert report.evaluate("document.images.length") == 8 and report.get_by_role("heading", name="Figure 3").count()
        assert [address for address in asked if not address.startswith("data:")] == [file.as_uri()]
