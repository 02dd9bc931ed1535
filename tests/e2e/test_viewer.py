"""The viewer in a real browser: canvas pixels against the arrays, and everything a hand can do to it."""

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from pages.ui.viewer import amplified, auto_gain, difference_colours, strongest_channel
from tests.serving import settled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

pytestmark = pytest.mark.e2e

HEIGHT, WIDTH = 44, 60  # neither square nor a multiple of anything

APP = """
import os
import numpy as np
import streamlit as st
from engine.data.base import StoredUnits
from pages.ui.viewer import viewer

st.set_page_config(layout="wide")
images = np.load(os.environ["VIEWER_TEST_IMAGES"])
name = st.query_params.get("image", "one")
if st.button("Weaker"):
    name = "weak"
viewer(images["clean_" + name], images["adversarial_" + name], original_caption="Pneumonia 98.7 %",
       perturbed_caption="Normal 99.2 %", badge="SYNTHETIC", key="test",
       stored_units=StoredUnits("HU", offset=-1000, scale=2000) if name == "weak" else None)
st.write("words " * 4000)
"""


def _images() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(7)

    def signs(shape: tuple[int, ...]) -> np.ndarray:
        return rng.choice([-1, 0, 1], shape).astype(np.float32)

    eighths = rng.integers(8, 248, (1, HEIGHT, WIDTH)).astype(np.float32) / 255
    colour = rng.random((3, HEIGHT, WIDTH), np.float32)
    halves = (rng.integers(0, 255, (1, HEIGHT, WIDTH)).astype(np.float32) + np.float32(0.5)) / np.float32(255)
    return {
        "one": (eighths, eighths + signs(eighths.shape) / np.float32(255)),
        "weak": (eighths, eighths + signs(eighths.shape) * np.float32(0.3 / 255)),
        "colour": (colour, np.clip(colour + signs(colour.shape) * np.float32(2 / 255), 0, 1)),
        "halves": (halves, halves),
    }


IMAGES = _images()


@pytest.fixture(scope="module")
def url(
    start_streamlit: Callable[..., AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("viewer")
    arrays: dict[str, np.ndarray] = {}
    for name, (clean, adversarial) in IMAGES.items():
        arrays |= {f"clean_{name}": clean, f"adversarial_{name}": adversarial}
    np.savez(folder / "images.npz", **arrays)  # type: ignore[arg-type]
    (script := folder / "viewer_app.py").write_text(APP)
    with start_streamlit(script, {"VIEWER_TEST_IMAGES": str(folder / "images.npz")}) as url:
        yield url


@pytest.fixture(scope="module")
def context(browser: "Browser") -> "Iterator[BrowserContext]":
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    yield context
    context.close()


@pytest.fixture
def page(context: "BrowserContext", url: str) -> "Iterator[Page]":
    """A fresh tab, and so a fresh viewer: settings are kept by tab."""
    page = context.new_page()
    open_viewer(page, url)
    yield page
    page.close()


def open_viewer(page: "Page", url: str, image: str = "one") -> None:
    page.goto(f"{url}/?image={image}")
    at(page, "canvas-difference").wait_for(timeout=30_000)
    page.wait_for_function("document.querySelector('[data-testid=stBidiComponentIsolated]')"
                           ".shadowRoot.querySelector('.viewer').dataset.zoom")  # fmt: skip
    # The words below it reach the browser later: until then there is nothing to scroll, and the wheel turns in vain.
    page.wait_for_function("""() => (main => main.scrollHeight > main.clientHeight)(
        document.querySelector("[data-testid=stMain]"))""")


def at(page: "Page", testid: str) -> "Locator":
    return page.get_by_test_id(testid)


def state(page: "Page", name: str) -> str:
    """A setting once the frame in which it is drawn has passed."""
    return str(at(page, "viewer").evaluate(
        "(root, name) => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => "
        "done(root.dataset[name]))))", name))  # fmt: skip


def pixels(canvas: "Locator") -> np.ndarray:
    """A canvas as uint8 [H,W,3]; every pixel must be opaque where the image is."""
    width, height, data = canvas.evaluate(
        """canvas => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.width, canvas.height, btoa(Array.from(data, byte => String.fromCharCode(byte)).join(""))];
        }"""
    )
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)[..., :3]


def eight_bit(image: np.ndarray) -> np.ndarray:
    rounded = np.rint(image * np.float32(255)).astype(np.uint8).transpose(1, 2, 0)
    return np.broadcast_to(rounded, (*rounded.shape[:2], 3))


def focus(page: "Page") -> None:
    at(page, "panes").focus()


def middle(canvas: "Locator") -> tuple[float, float]:
    box = canvas.bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize("name", IMAGES)
def test_exact_canvases_hold_the_arrays(page: "Page", url: str, name: str) -> None:
    if name != "one":
        open_viewer(page, url, name)
    clean, adversarial = IMAGES[name]
    change = strongest_channel(adversarial - clean)
    assert np.array_equal(pixels(at(page, "exact-original")), eight_bit(clean))
    assert np.array_equal(pixels(at(page, "exact-perturbed")), eight_bit(adversarial))
    assert np.array_equal(pixels(at(page, "exact-difference")), difference_colours(change, auto_gain(change)))


def test_a_change_too_small_for_8_bits_is_seen_in_the_difference(page: "Page", url: str) -> None:
    open_viewer(page, url, "weak")
    assert np.array_equal(pixels(at(page, "exact-original")), pixels(at(page, "exact-perturbed")))
    clean, adversarial = IMAGES["weak"]
    difference = pixels(at(page, "exact-difference"))
    assert np.array_equal(difference.any(axis=2), (adversarial != clean)[0])
    assert difference.max() > 200


@pytest.mark.parametrize("ratio", [1, 1.5, 2])
def test_at_one_to_one_the_screen_shows_exactly_the_image(browser: "Browser", url: str, ratio: float) -> None:
    context = browser.new_context(viewport={"width": 1366, "height": 768}, device_scale_factor=ratio)
    page = context.new_page()
    open_viewer(page, url)
    page.get_by_role("button", name="1:1").click()
    state(page, "zoom")
    for name in ("original", "perturbed", "difference"):
        canvas, exact = at(page, f"canvas-{name}"), pixels(at(page, f"exact-{name}"))
        box = canvas.bounding_box()
        assert box
        drawn = pixels(canvas)
        top, left = (drawn.shape[0] - HEIGHT) // 2, (drawn.shape[1] - WIDTH) // 2
        # Rounding may put the corner one pixel on; the image must be there as a whole.
        assert contains(drawn[top - 1 : top + HEIGHT + 2, left - 1 : left + WIDTH + 2], exact)
        screen = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB"))
        assert contains(screen[top - 2 : top + HEIGHT + 3, left - 2 : left + WIDTH + 3], exact)
    context.close()


def contains(field: np.ndarray, image: np.ndarray) -> bool:
    rows, columns = field.shape[0] - image.shape[0] + 1, field.shape[1] - image.shape[1] + 1
    return any(
        np.array_equal(field[y : y + image.shape[0], x : x + image.shape[1]], image)
        for y in range(rows)
        for x in range(columns)
    )


def test_enlarged_pixels_stay_sharp_and_true(page: "Page") -> None:
    drawn = pixels(at(page, "canvas-original")).reshape(-1, 3)
    assert set(map(tuple, drawn)) <= {*map(tuple, eight_bit(IMAGES["one"][0]).reshape(-1, 3)), (0, 0, 0)}


def test_gain_by_keys_slider_and_auto(page: "Page") -> None:
    clean, adversarial = IMAGES["one"]
    change = (adversarial - clean)[0]
    label = page.locator(".difference .tag")
    assert state(page, "gain") == "255" and label.inner_text() == "×255  (full colour = 1/255)"

    at(page, "gain").fill("170")
    assert state(page, "gain") == "50.1" and "5.09/255" in label.inner_text()
    assert np.array_equal(pixels(at(page, "exact-difference")), difference_colours(change, 50.1))
    focus(page)
    page.keyboard.press("]")
    assert float(state(page, "gain")) > 60
    page.keyboard.press("[")
    page.keyboard.press("[")
    assert float(state(page, "gain")) < 40
    at(page, "gain").fill("0")
    assert state(page, "gain") == "1" and "255/255" in label.inner_text()
    assert "−255/255" in at(page, "scale").inner_text()
    at(page, "gain-auto").click()
    assert state(page, "gain") == "255"
    focus(page)
    page.keyboard.press("]")
    assert "beyond the scale" in (words := amplified(change, float(state(page, "gain"))))
    assert words.endswith(label.inner_text().split("\n")[1]), "the same words in the browser and beside kept pictures"


def test_modes_by_buttons_and_keys(page: "Page") -> None:
    original, perturbed, difference = (at(page, f"canvas-{name}") for name in ("original", "perturbed", "difference"))
    assert state(page, "mode") == "side"
    lefts = [canvas.bounding_box()["x"] for canvas in (original, perturbed, difference)]  # type: ignore[index]
    assert lefts == sorted(set(lefts))

    page.get_by_role("button", name="Swipe").click()
    assert state(page, "mode") == "swipe"
    assert original.bounding_box() == perturbed.bounding_box() and difference.is_visible()
    split = page.get_by_role("slider", name="Divider between original and perturbed")
    x, y = middle(split)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 100, y)
    page.mouse.up()
    assert int(split.get_attribute("aria-valuenow") or 0) > 60
    split.press("Home")
    state(page, "mode")
    assert split.get_attribute("aria-valuenow") == "0"

    focus(page)
    page.keyboard.press("3")
    assert state(page, "mode") == "blink" and difference.is_visible()
    page.keyboard.press("1")
    assert state(page, "mode") == "side"


def test_blink_alternates_pauses_and_stops_in_a_hidden_tab(page: "Page") -> None:
    focus(page)
    page.keyboard.press("b")
    page.locator(".speed").fill("5")

    def seen() -> set[str]:
        """What is shown in the course of 0.7 s; at five swaps a second that is both."""
        return set(at(page, "viewer").evaluate(
            """async root => {
                const seen = [];
                for (let i = 0; i < 14; i++) {
                    await new Promise(done => setTimeout(done, 50));
                    seen.push(root.dataset.shown);
                }
                return seen;
            }"""))  # fmt: skip

    assert seen() == {"original", "perturbed"}
    page.evaluate("""Object.defineProperty(document, "hidden", { value: true, configurable: true });
                     document.dispatchEvent(new Event("visibilitychange"))""")
    assert len(seen()) == 1
    page.evaluate('delete document.hidden; document.dispatchEvent(new Event("visibilitychange"))')
    page.get_by_role("button", name="Pause").click()
    state(page, "mode")
    assert len(seen()) == 1
    focus(page)
    before = state(page, "shown")
    page.keyboard.press(" ")
    assert state(page, "shown") != before
    stage = page.locator(".perturbed .stage")
    assert stage.is_visible() == (state(page, "shown") == "perturbed")


def test_blink_waits_for_those_who_want_no_motion(browser: "Browser", url: str) -> None:
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    open_viewer(page, url)
    focus(page)
    page.keyboard.press("3")
    state(page, "mode")
    assert page.get_by_role("button", name="Play").is_visible()
    page.wait_for_timeout(900)
    assert state(page, "shown") == "original"
    context.close()


def test_wheel_scrolls_the_page_until_the_viewer_is_clicked_then_zooms_at_the_cursor(page: "Page") -> None:
    box = at(page, "canvas-perturbed").bounding_box()
    assert box
    x, y = box["x"] + box["width"] * 40.5 / WIDTH, box["y"] + box["height"] * 15.5 / HEIGHT
    page.mouse.move(x, y)
    page.mouse.wheel(0, 120)
    page.wait_for_function("""() => document.querySelector("[data-testid=stMain]").scrollTop > 0""")
    scrolled = settled(page, lambda: page.get_by_test_id("stMain").evaluate("main => main.scrollTop"))
    assert float(state(page, "zoom")) == 1
    assert "scroll to zoom" in page.locator(".perturbed .hint").inner_text()

    page.mouse.click(x, y - scrolled)
    before = position(page)
    for _ in range(4):
        page.mouse.wheel(0, -120)
    assert float(state(page, "zoom")) > 2
    assert position(page) == before, "the pixel under the cursor stays"
    assert page.get_by_test_id("stMain").evaluate("main => main.scrollTop") == scrolled
    for _ in range(12):
        page.mouse.wheel(0, 120)
    assert float(state(page, "zoom")) < 1.01, "zooming out ends at the whole picture or its own size"


def position(page: "Page") -> str:
    return page.locator(".readout [data-name='x, y']").inner_text()


def test_one_zoom_and_pan_for_all_panes(page: "Page") -> None:
    focus(page)
    for _ in range(6):
        page.keyboard.press("+")
    assert float(state(page, "zoom")) > 3
    x, y = middle(at(page, "canvas-original"))
    page.mouse.move(x, y)
    before = position(page)
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=3)
    page.mouse.up()
    assert position(page) == before, "the pixel goes with the hand"
    page.mouse.move(*middle(at(page, "canvas-difference")))
    moved = position(page)
    assert moved != before, "every pane shows the same part"
    focus(page)
    page.keyboard.press("ArrowRight")
    state(page, "zoom")
    page.mouse.move(x, y)
    assert position(page) != moved
    page.mouse.dblclick(x, y)
    assert float(state(page, "zoom")) == 1
    page.keyboard.press("-")
    page.keyboard.press("+")
    page.keyboard.press("0")
    assert float(state(page, "zoom")) == 1


def test_readout_names_the_values_under_the_pointer(page: "Page", url: str) -> None:
    clean, adversarial = IMAGES["one"]
    canvas = at(page, "canvas-difference")
    box = canvas.bounding_box()
    assert box
    scale = box["width"] / WIDTH
    x, y = 17, 23
    page.mouse.move(box["x"] + (x + 0.5) * scale, box["y"] + box["height"] / 2 + (y + 0.5 - HEIGHT / 2) * scale)
    n, change = round(float(clean[0, y, x]) * 255), round(float(adversarial[0, y, x] - clean[0, y, x]) * 255)
    words = at(page, "readout").inner_text()
    assert f"{x}, {y}" in words and f"original {n}/255" in words and f"perturbed {n + change}/255" in words
    assert f"difference {['0.00', '+1.00', '−1.00'][change]}/255" in words
    assert page.locator(".stage.aimed").count() == 3, "the crosshair is in every pane"

    open_viewer(page, url, "weak")
    page.mouse.move(box["x"] + 90, box["y"] + 90)
    page.mouse.move(box["x"] + 91, box["y"] + 91)
    words = at(page, "readout").inner_text()
    assert "HU)" in words and any(part in words for part in ("+0.30/255", "−0.30/255", " 0.00/255"))


def test_settings_outlive_new_images_and_a_reload(page: "Page", url: str) -> None:
    focus(page)
    for key in ("2", "+", "+"):
        page.keyboard.press(key)
    at(page, "gain").fill("100")
    before = [state(page, name) for name in ("mode", "zoom", "gain")]
    at(page, "viewer").evaluate("root => { root.mark = true; }")
    page.get_by_role("button", name="Weaker").click()
    page.wait_for_function("document.querySelector('[data-testid=stBidiComponentIsolated]')"
                           ".shadowRoot.querySelector('.difference p').textContent.includes('0.30')")  # fmt: skip
    assert at(page, "viewer").evaluate("root => root.mark"), "new images reach the same viewer: nothing flashes"
    assert [state(page, name) for name in ("mode", "zoom", "gain")] == before
    change = strongest_channel(np.subtract(*IMAGES["weak"][::-1]))
    assert np.array_equal(pixels(at(page, "exact-difference")), difference_colours(change, 10))
    open_viewer(page, url)
    assert [state(page, name) for name in ("mode", "zoom", "gain")] == before


def test_every_picture_can_be_saved(page: "Page", tmp_path: Path) -> None:
    for name, file in (("original", "original.png"), ("difference", "difference-x255.png")):
        with page.expect_download() as download:
            page.locator(f".{name} .download").click()
        assert download.value.suggested_filename == file
        download.value.save_as(tmp_path / file)
        saved = np.asarray(Image.open(tmp_path / file).convert("RGB"))
        assert np.array_equal(saved, pixels(at(page, f"exact-{name}")))


def test_everything_has_a_name_and_the_badge_is_not_in_the_pixels(page: "Page") -> None:
    assert page.locator(".badge").all_inner_texts() == ["SYNTHETIC"] * 3
    assert at(page, "canvas-original").get_attribute("aria-label") == "Original, Pneumonia 98.7 %, SYNTHETIC"
    nameless = at(page, "viewer").evaluate(
        """root => [...root.querySelectorAll("button, input")]
            .filter(e => !(e.title || e.closest("label")?.title)
                || !(e.getAttribute("aria-label") || e.textContent.trim()))
            .map(e => e.outerHTML)"""
    )
    assert nameless == []
