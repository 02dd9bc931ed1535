"""The dashboard in a real browser, served as a user serves it: app.py on a fresh home."""

import base64
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engine.data.masks import drawn
from engine.experiments.onepicture.explored import Explored
from engine.experiments.openings import OPENINGS
from engine.work.examples import Examples
from engine.work.store import Payload, Store
from engine.zoo.registry import BUNDLED
from pages.ui.viewer import auto_gain, difference_colours, strongest_channel
from tests.dicoms import dicom, gradient
from tests.pictures import huge_png
from tests.serving import settled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

pytestmark = pytest.mark.e2e

APP = Path(__file__).resolve().parents[2] / "app.py"
SECONDS = 120_000  # a cold start imports PyTorch, and other tests may run beside this one
KERMANY = BUNDLED / "kermany" / "densenet121.safetensors"
LONG = "/?attack=pgd&set.steps=1000&eps=0.5/255"

Server = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def url(start_streamlit: Server, home: Path) -> Iterator[str]:
    with start_streamlit(APP, {"PERTURBSCOPE_HOME": str(home)}) as url:
        yield url


@pytest.fixture
def context(browser: "Browser", url: str) -> "Iterator[BrowserContext]":
    """A browser window. Whatever a page in it asks for must come from the server itself."""
    context = browser.new_context(viewport={"width": 1366, "height": 768}, color_scheme="dark")
    elsewhere: list[str] = []
    own = re.compile(re.escape(url) + r"|data:|blob:" + url.replace("http", "|ws", 1).replace(".", r"\."))

    def note(address: str) -> None:
        if not own.match(address):
            elsewhere.append(address)

    def watch(page: "Page") -> None:
        page.on("websocket", lambda socket: note(socket.url))

    context.on("request", lambda request: note(request.url))
    context.on("page", watch)
    context.set_default_timeout(SECONDS)
    yield context
    context.close()
    assert elsewhere == [], "requests left the machine"


@pytest.fixture
def page(context: "BrowserContext") -> "Page":
    return context.new_page()


def at(page: "Page", testid: str) -> "Locator":
    return page.get_by_test_id(testid)


def verdict(page: "Page") -> str:
    return at(page, "verdict").inner_text()


def rest(page: "Page") -> None:
    """Until nothing runs any more and everything is drawn."""
    at(page, "verdict").wait_for()
    at(page, "canvas-difference").wait_for()
    page.locator(".ps-scale").nth(2).wait_for()
    page.locator("[data-testid=stStatusWidget]").wait_for(state="detached")


def pixels(canvas: "Locator") -> np.ndarray:
    width, height, data = canvas.evaluate(
        """canvas => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.width, canvas.height, btoa(Array.from(data, byte => String.fromCharCode(byte)).join(""))];
        }"""
    )
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)[..., :3]


def newest(home: Path) -> Payload:
    store = Store(home / "runs")
    payload = store.get(store.recent("explore")[0].key)
    assert payload is not None
    return payload


def upload(page: "Page", name: str, data: bytes) -> None:
    field = page.locator("[data-testid=stFileUploaderDropzoneInput]")
    # The one that took the file before goes when the page has been drawn anew.
    page.wait_for_function("() => document.querySelectorAll('[data-testid=stFileUploaderDropzoneInput]').length < 2")
    if not field.count():
        page.get_by_role("button", name="Use your own picture").click()
    field.set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": data})


def picture_file(page: "Page", name: str) -> None:
    """Keep a screenshot where the README's pictures are asked for, in the test's own folder otherwise."""
    if folder := os.environ.get("PERTURBSCOPE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_a_cold_deep_link_opens_the_whole_dashboard(
        start_streamlit: Server, browser: "Browser", tmp_path: Path) -> None:
    """The very first request to a server is for a page of its own, not for app.py."""
    for path in ("/about", "/explore?attack=bim"):
        with start_streamlit(APP, {"PERTURBSCOPE_HOME": str(tmp_path)}) as url:
            page = browser.new_page()
            page.set_default_timeout(SECONDS)
            page.goto(url + path)
            page.get_by_role("link", name="Explore").wait_for()
            page.get_by_role("link", name="About").wait_for()
            page.get_by_text("not for diagnosis").first.wait_for()
            assert not page.get_by_text("Page not found").count()
            page.close()


def test_the_first_visit_shows_an_attacked_x_ray_pixel_by_pixel(page: "Page", url: str) -> None:
    page.goto(url)
    rest(page)
    assert "The attack worked" in verdict(page)
    example = Examples.shipped().find(OPENINGS["explore"]()[0])
    assert example is not None
    explored = Explored.of(example.payload)
    clean, adversarial = explored.clean, explored.adversarial
    change = strongest_channel(adversarial - clean)
    for name, expected in (("original", np.rint(clean[0] * 255)[..., None]),
                           ("perturbed", np.rint(adversarial[0] * 255)[..., None]),
                           ("difference", difference_colours(change, auto_gain(change)))):
        found = pixels(at(page, f"exact-{name}"))
        np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape), name)
    assert np.abs(change).max() * 255 < 8


def test_another_epsilon_changes_the_verdict_and_a_second_visit_is_instant(page: "Page", url: str, home: Path) -> None:
    page.goto(url)
    rest(page)
    worked = verdict(page)
    page.goto(url + "/?eps=0/255")
    page.get_by_text("The model held").wait_for()
    rest(page)
    kept = len(Store(home / "runs").recent("explore"))
    page.goto(url)
    rest(page)
    assert verdict(page) == worked
    assert len(Store(home / "runs").recent("explore")) == kept


def test_ctrl_enter_runs_and_the_address_follows(page: "Page", url: str) -> None:
    page.goto(url + "/?follow=off")
    rest(page)
    page.get_by_label("exact value").fill("0.4")
    page.get_by_label("exact value").press("Enter")
    page.get_by_text("Settings changed").wait_for()
    page.keyboard.press("Control+Enter")
    page.get_by_text("Largest pixel change 0.4/255").wait_for()
    rest(page)
    assert "eps=0.4%2F255" in page.url or "eps=0.4/255" in page.url


def test_a_thumbnail_is_one_click(page: "Page", url: str) -> None:
    page.goto(url)
    rest(page)
    thumb = page.locator(".thumb[aria-pressed=false]").first
    number = thumb.get_attribute("data-number")
    thumb.click()
    page.wait_for_url(re.compile(f"index={number}(&|$)"))
    page.get_by_text("Settings changed").wait_for()


def test_reload_in_the_middle_loses_nothing_and_cancel_stops(page: "Page", url: str, home: Path) -> None:
    before = len(Store(home / "runs").recent("explore"))
    page.goto(url + LONG)
    page.get_by_role("button", name="Run").click()
    bar = at(page, "stProgress").filter(has_text="step").or_(at(page, "stProgress").filter(has_text="image 1"))
    bar.wait_for()
    page.reload()
    bar.wait_for()
    page.get_by_role("link", name="About").click()
    page.get_by_role("heading", name="Attacks").wait_for()
    page.get_by_role("link", name="Explore").click()
    bar.wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled.").wait_for()
    assert len(Store(home / "runs").recent("explore")) == before


def test_a_mask_is_drawn_with_the_mouse_and_the_keyboard_and_attacked(page: "Page", url: str, home: Path) -> None:
    page.goto(url + "/?attack=fgsm&eps=16/255&mask=drawn")
    page.get_by_text("Advanced settings").click()
    canvas, share = at(page, "brush-canvas"), at(page, "brush-share")
    page.get_by_text("Nothing is marked on the mask").wait_for()
    page.locator(".thumb").first.wait_for()

    def lead(*cells: tuple[float, float]) -> None:
        canvas.evaluate("canvas => canvas.scrollIntoView({ block: 'center' })")
        box = settled(page, canvas.bounding_box)
        assert box is not None
        cell = box["width"] / 56
        page.mouse.move(box["x"] + cells[0][0] * cell, box["y"] + cells[0][1] * cell)
        page.mouse.down()
        for x, y in cells[1:]:
            page.mouse.move(box["x"] + x * cell, box["y"] + y * cell)
        page.mouse.up()

    page.get_by_role("button", name="Box").click()
    lead((10.5, 10.5), (19.5, 14.5))  # 10 x 5 cells
    assert share.inner_text() == "1.6 % may change"
    page.get_by_text("Nothing is marked on the mask").wait_for(state="detached")
    lead((40.5, 2.5), (42.5, 3.5))
    canvas.press("Control+z")
    assert share.inner_text() == "1.6 % may change"
    canvas.press("d")
    canvas.press("[")
    canvas.press("[")  # a brush of one cell
    for key in ("ArrowRight", "ArrowDown", "Space"):
        canvas.press(key)
    expected = np.zeros((56, 56), bool)
    expected[10:15, 10:20] = True
    expected[4, 43] = True
    page.wait_for_url(re.compile(re.escape(drawn(expected).removeprefix("drawn:")) + "(&|$)"))
    page.reload()
    page.get_by_text("Advanced settings").click()
    page.get_by_text("1.6 % may change").wait_for()
    page.keyboard.press("Control+Enter")
    rest(page)
    arrays = newest(home).arrays
    changed = (arrays["adversarial"] != arrays["clean"])[0]
    assert changed.any() and not changed[~expected.repeat(4, axis=0).repeat(4, axis=1)].any()
    assert changed[16:20, 172:176].any(), "the cell marked with the keyboard"


def test_bad_uploads_are_one_line_and_leave_everything_else(page: "Page", url: str) -> None:
    page.goto(url)
    rest(page)
    shown = verdict(page)
    for name, data, line in (("notes.txt", b"no picture", "no picture that is read here"),
                             ("huge.png", huge_png(30_000, 30_000), "million"),
                             ("other.json", b'{"a": 1}', "not a run saved by Perturbscope")):
        upload(page, name, data)
        alert = at(page, "stAlert").filter(has_text=line)
        alert.wait_for()
        assert name in alert.inner_text() and "\n" not in alert.inner_text().strip()
        assert verdict(page) == shown


def test_a_folder_of_slices_is_one_series(page: "Page", url: str, tmp_path: Path) -> None:
    for height in (20, 0, 10):
        slice_ = dicom(gradient() // 2 + height, bits=12, Modality="CT", RescaleSlope=1, RescaleIntercept=-1024,
                       ImagePositionPatient=[0, 0, height], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
        (tmp_path / f"IM{height}").write_bytes(slice_)  # as on a CD: their names have no ending
    (tmp_path / "README.TXT").write_text("a viewer")
    page.goto(url + "/?attack=hopskipjump")  # which does not run by itself
    page.get_by_role("button", name="Use your own picture").click()
    page.get_by_text("A folder", exact=True).click()
    page.locator("input[type=file][webkitdirectory]").set_input_files(tmp_path)
    page.wait_for_url(re.compile("upload="))
    page.get_by_text("2 of 3", exact=True).wait_for()
    page.get_by_text("1 files that are no DICOM slices left out").wait_for()
    assert page.get_by_role("combobox", name="Window").count() == 1


@pytest.mark.data
@pytest.mark.skipif(not KERMANY.exists(), reason="the model trained on real X-rays is not bundled")
def test_a_real_dicom_is_attacked(page: "Page", url: str, data_home: Path, home: Path) -> None:
    file = next(iter(sorted(data_home.rglob("*.dcm"))), None)
    if file is None:
        pytest.skip("no DICOM file in PERTURBSCOPE_DATA")
    page.goto(url + "/?dataset=kermany&model=kermany/densenet121&attack=pgd&eps=1/255")
    rest(page)
    upload(page, file.name, file.read_bytes())
    page.wait_for_url(re.compile("upload="))
    page.get_by_text("Settings changed").wait_for()
    page.keyboard.press("Control+Enter")
    page.get_by_text(re.compile(r"Largest pixel change .*/255 = .* stored value")).wait_for()
    rest(page)
    assert at(page, "stAlert").count() == 0
    assert np.abs(newest(home).arrays["adversarial"] - newest(home).arrays["clean"]).max() * 255 <= 1.001


def controls(page: "Page") -> "dict[str, Locator]":
    """What is turned all the time."""
    return {"attack": page.get_by_role("combobox", name="Attack"),
            "epsilon": page.get_by_role("slider", name="Epsilon"),
            "run": page.get_by_role("button", name="Run"), "cancel": page.get_by_role("button", name="Cancel")}


def wait_for_preview(page: "Page") -> None:
    page.get_by_text("Largest pixel change so far").wait_for()


def test_a_running_attack_is_watched(page: "Page", url: str) -> None:
    page.goto(url + LONG + "&seed=11")
    page.get_by_role("button", name="Run").click()
    wait_for_preview(page)
    seen = set()
    for _ in range(4):  # the words may come a moment before the picture
        words = at(page, "unfinished").inner_text()
        page.wait_for_function("words => document.querySelector('[data-testid=unfinished]').innerText !== words",
                               arg=words)
        seen.add(pixels(at(page, "exact-difference")).tobytes())
    assert len(seen) >= 3, "it changes at least twice"
    bar = at(page, "stProgress")
    bar.filter(has_text=re.compile(r"step \d+ of 1000 · about .* left")).wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled.").wait_for()


def test_the_result_takes_the_place_of_what_was_watched(page: "Page", url: str) -> None:
    page.goto(url + "/?attack=pgd&set.steps=60&eps=0.5/255&seed=12")
    page.get_by_role("button", name="Run").click()
    wait_for_preview(page)
    at(page, "viewer").evaluate("root => { root.mark = true; }")
    before = at(page, "canvas-perturbed").bounding_box()
    at(page, "verdict").wait_for()
    assert at(page, "viewer").evaluate("root => root.mark"), "the same viewer: nothing flashes"
    assert settled(page, at(page, "canvas-perturbed").bounding_box) == before, "nothing moves"


@pytest.mark.parametrize(("width", "height", "theme"), [(1366, 768, "dark"), (1920, 1080, "light")])
def test_it_fits_the_screen(browser: "Browser", url: str, width: int, height: int, theme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
    page.set_default_timeout(SECONDS)
    page.goto(url)
    rest(page)
    for name in ("original", "perturbed", "difference"):
        box = at(page, f"canvas-{name}").bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width and box["y"] + box["height"] <= height, f"{name} is below the fold"
        assert box["width"] >= width / 5
    top = box["y"]
    for name, control in controls(page).items():
        box = control.bounding_box()
        assert box is not None and box["y"] >= 0, f"{name} is out of sight"
        assert box["y"] + box["height"] <= top, f"{name} is not above the pictures"
    page.mouse.move(width * 0.7, height / 2)
    page.mouse.wheel(0, 2000)
    settled(page, lambda: at(page, "stMain").evaluate("main => main.scrollTop"))
    for name, control in controls(page).items():
        box = control.bounding_box()
        assert box is not None and 0 < box["y"] < height / 4, f"{name} is out of sight below"
    page.mouse.wheel(0, -4000)
    settled(page, lambda: at(page, "stMain").evaluate("main => main.scrollTop"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    picture_file(page, f"explore-{width}x{height}-{theme}")
    page.close()
