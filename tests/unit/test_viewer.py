"""What the viewer sends to the browser, without a browser."""

import json

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from engine.data.base import StoredUnits
from pages.ui.viewer import (
    amplified,
    auto_gain,
    colour_table,
    describe,
    difference_colours,
    strongest_channel,
    viewer,
)

CLEAN = np.full((1, 4, 6), 0.5, np.float32)


def show(clean: np.ndarray, adversarial: np.ndarray) -> None:
    viewer(clean, adversarial, original_caption="a", perturbed_caption="b", key="k")


@pytest.mark.parametrize(
    ("clean", "adversarial", "message"),
    [
        (CLEAN, CLEAN[:, :3], "differ in shape"),
        (CLEAN[0], CLEAN[0], "expected images"),
        (np.zeros((2, 4, 6), np.float32), np.zeros((2, 4, 6), np.float32), "expected images"),
        (np.zeros((1, 0, 6), np.float32), np.zeros((1, 0, 6), np.float32), "expected images"),
        (CLEAN, CLEAN * 3, r"in \[0,1\]"),
        (CLEAN, CLEAN * np.float32("nan"), r"in \[0,1\]"),
    ],
)
def test_rejects_what_is_no_image(clean: np.ndarray, adversarial: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        show(clean, adversarial)


def test_auto_gain_fills_the_colours_with_the_strongest_changes() -> None:
    change = np.where(np.arange(10_000) % 2, 1, -1).astype(np.float32).reshape(100, 100) * np.float32(2 / 255)
    assert auto_gain(change) == pytest.approx(127.5, abs=0.5)
    change[0, 0] = 1  # one outlier in ten thousand must not darken the rest
    assert auto_gain(change) == pytest.approx(127.5, abs=0.5)


def test_auto_gain_of_few_pixels_tiny_and_no_changes() -> None:
    few = np.zeros((100, 100), np.float32)
    assert auto_gain(few) == 1
    few[0, 0] = -0.25
    assert auto_gain(few) == 4
    assert auto_gain(np.full((9, 9), 1e-6, np.float32)) == 1000


def test_beside_a_patch_what_was_added_to_the_rest_fills_the_colours() -> None:
    change = np.full((100, 100), 2 / 255, np.float32)
    change[:20, :20] = 0.5  # 4 % of the picture, as large as PwP's
    assert auto_gain(change) == pytest.approx(127.5, abs=0.5)
    assert amplified(change, 127) == "amplified ×127, 4.0 % of the pixels are beyond the scale"


def test_a_patch_alone_sets_its_own_scale_however_small_it_is() -> None:
    change = np.zeros((100, 100), np.float32)
    change[:10, :10] = np.arange(1, 101).reshape(10, 10) / 200  # hundredths of 1/2, all different
    assert auto_gain(change) == pytest.approx(1 / 0.49505, abs=0.01)  # the 99th percentile of 0.005 ... 0.5
    assert amplified(change, 2.02) == "amplified ×2.02"
    change[0, 0] = -1
    assert amplified(change, 2.02) == "amplified ×2.02, 1 pixel is beyond the scale"


def test_a_perturbation_of_all_sizes_is_cut_only_at_its_end() -> None:
    """As an L2 attack leaves it: many small changes, few large ones."""
    sizes = -np.log(1 - (np.arange(10_000) + 0.5) / 10_000) / 255  # exponential, mean 1/255
    assert auto_gain(sizes.reshape(100, 100)) == pytest.approx(255 / 4.605, rel=0.01)  # ln 100
    assert amplified(sizes.reshape(100, 100), 255 / 4.605).endswith("1.0 % of the pixels are beyond the scale")


def test_rounding_errors_everywhere_do_not_hide_a_few_changed_pixels() -> None:
    change = np.full((100, 100), 1e-7, np.float32)
    change[:4, :5] = 0.25
    assert auto_gain(change) == 4 and amplified(change, 4) == "amplified ×4"


@pytest.mark.parametrize("eps", [0.3, 1, 2, 7, 16])
def test_a_change_of_one_size_is_not_called_beyond_its_own_scale(eps: float) -> None:
    change = np.full((50, 50), eps / 255, np.float32)
    assert amplified(change, auto_gain(change)) == f"amplified ×{auto_gain(change):g}"


def test_channels_that_oppose_each_other_do_not_cancel() -> None:
    difference = np.array([0.01, -0.03, 0.02], np.float32).reshape(3, 1, 1)
    assert strongest_channel(difference).tolist() == [[np.float32(-0.03)]]


def test_colours_are_black_at_zero_and_full_where_the_gain_says() -> None:
    picture = difference_colours(np.array([[-1, -0.02, -0.01, 0, 0.01, 0.02, 1]], np.float32), gain=50)[0].astype(int)
    assert picture[3].tolist() == [0, 0, 0]
    assert picture[0].tolist() == picture[1].tolist() == colour_table()[0].tolist()
    assert picture[-1].tolist() == picture[-2].tolist() == colour_table()[-1].tolist()
    assert picture[2, 2] > picture[2, 0] and picture[4, 0] > picture[4, 2], "blue is darker, orange is brighter"
    assert np.all(np.abs(2 * picture[[2, 4]] - picture[[1, 5]]) <= 2), "colour grows in proportion"


def test_both_ends_of_the_scale_are_equally_bright() -> None:
    linear = (colour_table()[[0, -1]] / 255) ** 2.2
    darker, brighter = linear @ [0.2126, 0.7152, 0.0722]
    assert darker == pytest.approx(brighter, rel=0.05)


def test_description() -> None:
    change = np.zeros((10, 10), np.float32)
    assert describe(change) == "identical images"
    change[0, 0] = -1 / 255
    assert describe(change) == "largest 1.00/255, 1 % of pixels changed"
    change = np.pad(change, ((0, 90), (0, 90)))
    assert describe(change) == "largest 1.00/255, 1 pixel changed"
    assert describe(change, channels=3).endswith("strongest channel")


def test_the_message_carries_both_images_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, bytes] = {}
    monkeypatch.setattr("pages.ui.viewer._component", lambda *, key, data: sent.update({key: data}))
    adversarial = CLEAN + np.float32(1e-7)
    # Other layouts and precisions arrive as the same float32.
    show(np.asfortranarray(CLEAN).astype(np.float64), adversarial)
    message = sent["k"]
    length = int.from_bytes(message[:4], "little")
    header = json.loads(message[4 : 4 + length])
    floats = np.frombuffer(message, "<f4", count=2 * CLEAN.size, offset=4 + length)
    assert length % 4 == 0 and header["shape"] == [1, 4, 6] and header["panels"][0]["caption"] == "a"
    assert np.array_equal(floats, np.concatenate([CLEAN.ravel(), adversarial.ravel()]))
    assert message[4 + length + floats.nbytes :] == colour_table().tobytes()


def test_the_message_carries_the_stored_units_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, bytes] = {}
    monkeypatch.setattr("pages.ui.viewer._component", lambda *, key, data: sent.update({key: data}))
    viewer(CLEAN, CLEAN, original_caption="", perturbed_caption="", stored_units=StoredUnits("HU", -1000, 2000),
           key="k")  # fmt: skip
    header = json.loads(sent["k"][4 : 4 + int.from_bytes(sent["k"][:4], "little")])
    assert header["units"] == {"name": "HU", "offset": -1000, "scale": 2000}, "0 is -1000 HU, 1 is 1000 HU"


def test_without_an_attacked_image_the_frames_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, bytes] = {}
    monkeypatch.setattr("pages.ui.viewer._component", lambda *, key, data: sent.update({key: data}))
    viewer(CLEAN, None, original_caption="a", perturbed_caption="b", waiting="after the attack", key="k")
    header = json.loads(sent["k"][4 : 4 + int.from_bytes(sent["k"][:4], "little")])
    assert header["waiting"] == "after the attack"
    show(CLEAN, CLEAN)
    assert json.loads(sent["k"][4 : 4 + int.from_bytes(sent["k"][:4], "little")])["waiting"] is None


def test_mounts_in_a_page() -> None:
    def page() -> None:
        import numpy as np

        from engine.data.base import StoredUnits
        from pages.ui.viewer import viewer

        image = np.zeros((3, 8, 8), np.float32)
        viewer(image, image, original_caption="", perturbed_caption="", badge="SYNTHETIC",
               stored_units=StoredUnits("HU", offset=-1000, scale=2000), key="k")  # fmt: skip

    assert not AppTest.from_function(page).run().exception
