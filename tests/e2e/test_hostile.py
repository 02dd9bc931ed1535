"""Whatever a link, a file or a folder says: the browser asks nobody but the dashboard, and draws nothing but text."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from engine.attacks.spec import make_spec
from engine.zoo.registry import BUNDLED
from tests.hostile import BEACON, TEXTS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e

APP = Path(__file__).resolve().parents[2] / "app.py"
SECONDS = 120_000
PARAMETERS = ("dataset", "split", "index", "model", "attack", "norm", "eps", "radius", "target", "seed", "numerics",
              "device", "surrogate", "mask", "drawing", "cam", "layer", "upload", "set.steps", "set.restarts", "x")
# Names that a file system takes, as classes of a data set.
CLASSES = (f"![x](www.{BEACON}) $x^2$", f"<a href=www.{BEACON}>z <img src=x onerror=alert(1)>",
           "[x](javascript:y) :red[z] `c`")
MODEL = "hostile"
# One of a result's tabs explains the attack, with formulas that are meant.
FORBIDDEN = f"[href*='{BEACON}'], [src*='{BEACON}'], [href^='javascript'], .stMarkdownColoredText, iframe, " \
            ".katex:not([data-testid=stTabs] *), main img[src='x'], .main-svg a"

Server = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose classes have hostile names."""
    root = tmp_path_factory.mktemp("named") / f"www.{BEACON} $x^2$"
    random = np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(random.integers(0, 255, (64, 64), np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a model that has a hostile card."""
    home = tmp_path_factory.mktemp("home")
    bundled = BUNDLED / "phantom-cxr" / "resnet18.safetensors"
    card = json.loads(bundled.with_suffix(".json").read_text())
    del card["evaluations"]
    card |= {"name": MODEL, "classes": sorted(CLASSES), "limits": " ".join(TEXTS), "dataset": TEXTS[0],
             "split": TEXTS[8], "command": " ".join(TEXTS)}
    kept = home / "models" / f"{MODEL}.safetensors"
    kept.parent.mkdir()
    kept.write_bytes(bundled.read_bytes())
    kept.with_suffix(".json").write_text(json.dumps(card))
    return home


@pytest.fixture(scope="module")
def url(start_streamlit: Server, home: Path, folder: Path) -> Iterator[str]:
    with start_streamlit(APP, {"PERTURBSCOPE_HOME": str(home), "PERTURBSCOPE_FOLDERS": str(folder.parent)}) as url:
        yield url


@pytest.fixture
def page(browser: "Browser", url: str) -> "Iterator[Page]":
    context = browser.new_context(viewport={"width": 1366, "height": 900})
    context.set_default_timeout(SECONDS)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.on("dialog", lambda dialog: asked.append(f"dialog: {dialog.message}"))
    yield page
    assert page.locator(FORBIDDEN).count() == 0
    context.close()
    assert [address for address in asked if not address.startswith((f"{url}/", "data:", f"blob:{url}/"))] == []


def alerts(page: "Page") -> list[str]:
    page.get_by_test_id("stAlert").first.wait_for()
    return page.get_by_test_id("stAlert").all_inner_texts()


def some(parts: int = 6) -> Iterator[list[str]]:
    """The texts, in parts: an address that says each of them for every parameter has room for a sixth."""
    for start in range(parts):
        yield list(TEXTS[start::parts])


def test_no_parameter_of_the_address_does_anything(page: "Page", url: str) -> None:
    for texts in some():
        value = " ".join(texts)
        page.goto(f"{url}/?" + "&".join(f"{name}={quote(value)}" for name in PARAMETERS))
        page.get_by_test_id("stAlert").filter(has_text="The address asks for seed").wait_for()
        said = " ".join(alerts(page))
        assert sum(f"The address asks for {name} = " in said for name in PARAMETERS) >= 12, said
        assert page.locator(FORBIDDEN).count() == 0
    page.goto(f"{url}/?" + "&".join(f"{quote(text)}=1" for text in TEXTS))
    page.get_by_test_id("stAlert").filter(has_text="The address asks for something else").first.wait_for()
    assert page.locator(FORBIDDEN).count() == 0


def test_no_path_in_the_address_does_anything(page: "Page", url: str) -> None:
    for texts in some(2):
        value = " ".join(texts)
        page.goto(f"{url}/?dataset={quote('folder:' + value)}&model={quote('/' + value + '.pt')}")
        buttons = page.get_by_role("button", name="Open it")
        buttons.nth(1).wait_for()
        assert page.locator(FORBIDDEN).count() == 0
        buttons.first.click()
        buttons.nth(1).wait_for(state="detached")
        buttons.click()
        page.get_by_test_id("stAlert").filter(has_text="there is no folder").wait_for()
        page.get_by_test_id("stAlert").filter(has_text="there is no checkpoint").wait_for()
        assert page.locator(FORBIDDEN).count() == 0


def upload(page: "Page", name: str, data: bytes) -> None:
    field = page.locator("[data-testid=stFileUploaderDropzoneInput]")
    # The one that took the file before goes when the page has been drawn anew.
    page.wait_for_function("() => document.querySelectorAll('[data-testid=stFileUploaderDropzoneInput]').length < 2")
    if not field.count():
        page.get_by_role("button", name="Use your own picture").click()
    field.set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": data})


def test_no_name_of_a_file_and_no_imported_run_does_anything(page: "Page", url: str) -> None:
    page.goto(url)
    for text in (TEXTS[0], TEXTS[4], TEXTS[8], "$x^2$ :red[z] **b**.png"):
        name = text.replace("/", "%").replace('"', "'")  # what is left of a path, and what browsers rename themselves
        upload(page, name, b"no picture")
        page.get_by_test_id("stAlert").filter(has_text=name[:20]).wait_for()
        assert page.locator(FORBIDDEN).count() == 0
    for text in (" ".join(texts) for texts in some()):
        short = text[:200]  # a saved run's names are no longer
        facts = {"source": {"dataset": text, "split": short, "index": 0, "upload": ""}, "model": text, "device": short,
                 "run": {"classes": [short, short], "spec": asdict(make_spec("fgsm", eps=0.01, target=1))}}
        upload(page, f"{text[:30]}.json".replace("/", "%"), json.dumps(facts).encode())
        page.get_by_test_id("stAlert").filter(has_text=f"The address asks for device = {text[:3]}").wait_for()
        assert page.locator(FORBIDDEN).count() == 0


def test_no_name_of_a_class_or_a_model_does_anything(page: "Page", url: str, folder: Path) -> None:
    page.goto(f"{url}/?dataset={quote(f'folder:{folder}')}&split=all&attack=fgsm&eps=8/255&model={quote(MODEL)}")
    page.get_by_test_id("verdict").wait_for()
    page.locator(".ps-scale").nth(2).wait_for()
    page.locator(".js-plotly-plot .ytick").first.wait_for()
    names = page.locator(".js-plotly-plot").first.locator(".ytick").all_text_contents()
    assert sorted(name.replace("\u2060", "") for name in names) == sorted(CLASSES)
    assert any(name in page.get_by_test_id("verdict").inner_text() for name in CLASSES)
    for label in ("Data set", "Model", "Goal"):
        box = page.get_by_test_id("stSelectbox").filter(has_text=label).first
        box.get_by_test_id("stTooltipHoverTarget").first.hover()
        page.get_by_test_id("stTooltipContent").first.wait_for()
        assert page.locator(FORBIDDEN).count() == 0
    for tab in page.get_by_role("tab").all():
        tab.click()
        assert "works" in tab.inner_text() or page.locator("[data-testid=stTabs] .katex:visible").count() == 0
    page.get_by_role("tab", name="Step by step").click()
    page.locator("[data-testid=stTabs] .js-plotly-plot .legendtext").first.wait_for()
    page.locator("[data-testid=stTabs] .js-plotly-plot .nsewdrag").first.hover()
    page.goto(f"{url}/about")
    for text in (TEXTS[0], TEXTS[8]):  # in the cards, folded away as they are
        page.get_by_text(text).first.wait_for(state="attached")
    assert page.locator(f"a[href*='{BEACON}'], img[src*='{BEACON}'], .stMarkdownColoredText").count() == 0
    page.goto(f"{url}/?eps=0/255")  # formulas are drawn on the page before, as they should be


def test_a_folder_is_opened_when_it_is_typed(page: "Page", url: str, tmp_path: Path) -> None:
    for name in ("Left", "Right"):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / name / f"{number}.png")
    page.goto(f"{url}/?dataset={quote(f'folder:{tmp_path}')}")
    page.get_by_role("button", name="Open it").wait_for()
    box = page.get_by_test_id("stSelectbox").filter(has_text="Data set").first.locator("input")
    box.fill(f"folder:{tmp_path}")
    box.press("Enter")
    page.get_by_test_id("stAlert").filter(has_text="no class of it is called Left, Right").wait_for()
    page.get_by_role("button", name="Open it").wait_for(state="detached")


@contextmanager
def beacon() -> Iterator[tuple[str, list[str]]]:
    """A foreign server, and what it was asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


# Every way in which something in the page could ask a foreign server, each for an address of its own.
ASK = """async (there) => {
  const made = (tag, values) => document.body.append(Object.assign(document.createElement(tag), values));
  made("img", { src: `http://${there}/img` });
  made("script", { src: `http://${there}/script` });
  made("iframe", { src: `http://${there}/iframe` });
  made("link", { rel: "stylesheet", href: `http://${there}/stylesheet` });
  made("link", { rel: "preload", as: "image", href: `http://${there}/preload` });
  made("link", { rel: "icon", href: `http://${there}/icon` });
  made("video", { src: `http://${there}/video`, preload: "auto" });
  made("object", { data: `http://${there}/object` });
  made("div", { style: `width: 9px; height: 9px; background: url(http://${there}/background)` });
  made("style", { textContent: `@import url(http://${there}/import);
    @font-face { font-family: far; src: url(http://${there}/font) } .far { font-family: far }` });
  made("p", { className: "far", textContent: "far" });
  made("form", { action: `http://${there}/form`, id: "far" });
  navigator.sendBeacon(`http://${there}/beacon`);
  try { new WebSocket(`ws://${there}/socket`); } catch (error) { /* forbidden */ }
  try { new EventSource(`http://${there}/events`); } catch (error) { /* forbidden */ }
  const own = document.createElement("img");
  const drawn = new Promise((resolve) => { own.onload = own.onerror = resolve; });
  own.src = "/favicon.png";
  await Promise.allSettled([fetch(`http://${there}/fetch`), drawn]);
  await new Promise((resolve) => { requestAnimationFrame(() => requestAnimationFrame(resolve)); });
  await fetch("/_stcore/health");
  return own.naturalWidth;
}"""


def test_the_browser_itself_asks_nobody_else(browser: "Browser", url: str) -> None:
    for off in (True, False):
        with beacon() as (there, asked):
            context = browser.new_context(bypass_csp=off)
            page = context.new_page()
            page.goto(f"{url}/about")
            page.get_by_role("heading", name="Attacks").wait_for(timeout=SECONDS)
            assert page.evaluate(ASK, there) > 0, "its own pictures are drawn"
            page.wait_for_load_state("networkidle")
            context.close()
            if off:
                assert {"/img", "/script", "/iframe", "/stylesheet", "/font", "/fetch"} <= set(asked)
            else:
                assert asked == []
