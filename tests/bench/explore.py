"""How long a visitor waits: first draw, click to picture, and a second visitor clicking meanwhile."""

import statistics
import tempfile
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from tests import serving
from tests.bench.timing import machine

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LIMITS = {"page first drawn, cold server": 3.0, "Run to picture and heatmaps, FGSM on ResNet-18": 1.5,
          "another visitor's click meanwhile": 1.0}


def in_browser(quick: bool) -> str | None:
    """A table of seconds seen in Chromium at 1366 x 768; None where Chromium is missing."""
    path = serving.chromium()
    if path is None:
        return None
    repeats = 1 if quick else 5
    with serving.launched(path) as browser:
        first = [_first_draw(browser) for _ in range(1 if quick else 3)]
        clicks, others = _clicks(browser, repeats)
    found = dict(zip(LIMITS, (first, clicks, others), strict=True))
    lines = [f"| {name} | {statistics.median(s):.2f} | {max(s):.2f} | {LIMITS[name]:g} |" for name, s in found.items()]
    return "\n".join(["## The Explore page", "",
                      f"{machine()}. Seconds in headless Chromium, which shares the cores.", "",
                      "| | median | longest | wanted |", "|---|---|---|---|", *lines])


def _first_draw(browser: "Browser") -> float:
    """From asking a server that nobody has visited yet to the picture and the controls on the screen."""
    with tempfile.TemporaryDirectory() as home, _served(home) as url:
        page = _window(browser)
        started = time.perf_counter()
        page.goto(url)
        page.get_by_role("button", name="Run").wait_for()
        page.locator(".thumb").first.wait_for()
        seconds = time.perf_counter() - started
        page.close()
        return seconds


def _clicks(browser: "Browser", repeats: int) -> tuple[list[float], list[float]]:
    with tempfile.TemporaryDirectory() as home, _served(home) as url:
        page, other = _window(browser), _window(browser)
        page.goto(url + "/?attack=fgsm&model=phantom-cxr/resnet18&follow=off")
        _drawn(page)
        other.goto(url + "/about")
        other.get_by_role("heading", name="Attacks").wait_for()
        clicks, others = [], []
        for number in range(repeats + 1):
            seconds = _run(page, 0.3 + 0.01 * number)
            if number:  # the first one meets the model for the first time
                clicks.append(seconds)
        for number in range(repeats):
            _start(page, 0.4 + 0.01 * number)
            started = time.perf_counter()
            link = ("Explore", "About")[number % 2]
            other.get_by_role("link", name=link).click()
            if link == "About":
                other.get_by_role("heading", name="Attacks").wait_for()
            else:
                other.locator(".thumb").first.wait_for()
            others.append(time.perf_counter() - started)
            _finished(page)
        return clicks, others


def _run(page: "Page", eps: float) -> float:
    started = _start(page, eps)
    _finished(page)
    return time.perf_counter() - started


def _start(page: "Page", eps: float) -> float:
    """Set an epsilon nobody asked for yet and press Run; the time of the press."""
    page.get_by_label("exact value").fill(f"{eps:g}")
    page.get_by_label("exact value").press("Enter")
    page.get_by_text("Settings changed").wait_for()
    started = time.perf_counter()
    page.keyboard.press("Control+Enter")
    return started


def _finished(page: "Page") -> None:
    page.get_by_text("Settings changed").wait_for(state="detached")
    _drawn(page)


def _drawn(page: "Page") -> None:
    page.get_by_test_id("canvas-difference").wait_for()
    page.locator(".ps-scale").nth(2).wait_for()
    page.locator("[data-testid=stStatusWidget]").wait_for(state="detached")


def _window(browser: "Browser") -> "Page":
    page = browser.new_page(viewport={"width": 1366, "height": 768}, color_scheme="dark")
    page.set_default_timeout(120_000)
    return page


def _served(home: str) -> AbstractContextManager[str]:
    return serving.serve(serving.ROOT / "app.py", {"PERTURBSCOPE_HOME": home})
