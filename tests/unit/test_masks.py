"""A mask drawn by hand: as text, from a file, in an attack, and what is said where it does not do."""

import base64
import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from engine.attacks.runner import run_attack
from engine.attacks.spec import make_spec
from engine.data import load
from engine.data.masks import DRAWN, cells_of, drawn, enlarged, read_mask
from engine.errors import EngineError
from engine.experiments.resources import resources_for
from tests.pictures import huge_png
from tests.tiny import small_net


def blob(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side] / side
    return (x - 0.4) ** 2 + (y - 0.6) ** 2 < 0.05


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("side", [56, 224])
def test_text_keeps_every_cell_and_is_short(side: int) -> None:
    mask = blob(side)
    np.testing.assert_array_equal(cells_of(drawn(mask)), mask)
    assert len(drawn(mask)) < 1000


def test_noise_survives_too() -> None:
    mask = np.random.default_rng(0).random((224, 224)) > 0.5
    np.testing.assert_array_equal(cells_of(drawn(mask)), mask)


def test_the_same_mask_has_the_same_name_however_fine_it_is() -> None:
    assert drawn(enlarged(blob(56), 224)) == drawn(blob(56))
    assert make_spec("pgd", eps=0.1, mask=drawn(enlarged(blob(56), 224))).mask == drawn(blob(56))
    assert drawn(blob(56)) != drawn(~blob(56))


@pytest.mark.parametrize(("name", "line"), [
    (DRAWN, "nothing is marked"),
    (drawn(np.zeros((56, 56), bool)), "nothing is marked"),
    ("drawn:", "nothing is marked"),
    ("drawn:xyz", "draw it again"),
    ("drawn:ä%", "draw it again"),
    # A little text from which 10 MB would come.
    ("drawn:" + base64.urlsafe_b64encode(zlib.compress(bytes(10**7))).decode(),
     "draw it again"),
    ("brain", "here are: cam, drawn, lesion, lung, nuclei"),
])
def test_a_mask_that_will_not_do_is_one_line(name: str, line: str) -> None:
    with pytest.raises(EngineError, match=line) as error:
        make_spec("pgd", eps=0.1, mask=name)
    assert "\n" not in str(error.value)


def test_a_picture_is_a_mask_where_it_is_not_black() -> None:
    pixels = np.zeros((448, 112), np.uint8)
    pixels[224:, :56] = 1  # the lower left quarter, nearly black
    mask = read_mask(png(pixels))
    expected = np.zeros((224, 224), bool)
    expected[112:, :112] = True
    np.testing.assert_array_equal(mask, expected)
    colour = np.zeros((224, 224, 4), np.uint8)
    colour[..., 3] = 255
    colour[:100, :, 2] = 9
    colour[50:, :, 3] = 0  # what is transparent is black
    assert read_mask(png(colour)).sum() == 50 * 224


@pytest.mark.parametrize(("data", "line"), [
    (png(np.zeros((9, 9), np.uint8)), "black everywhere"),
    (png(np.full((9, 9), 255, np.uint8), "JPEG"), "must be a PNG"),
    (b"", "must be a PNG"),
    (png(blob(224).astype(np.uint8))[:-40], "not a whole"),
    (huge_png(30_000, 30_000), "million"),
])
def test_a_file_that_is_no_mask_is_one_line(data: bytes, line: str) -> None:
    with pytest.raises(EngineError, match=line) as error:
        read_mask(data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["lung", drawn(blob(56))])
def test_nothing_changes_outside(name: str) -> None:
    data, model, spec = load("phantom-cxr", "test"), small_net(), make_spec("fgsm", eps=0.1, mask=name)
    images = torch.from_numpy(data.images([0, 1]))
    resources = resources_for(spec, data, [0, 1], images, model)
    assert resources.mask is not None and 0.02 < float(resources.mask.float().mean()) < 0.6
    result = run_attack(spec, model, images, torch.tensor([0, 1]), resources=resources, device="cpu")
    changed = (result.adversarial != result.clean).any(axis=1)
    assert changed.any() and not changed[~resources.mask[:, 0].numpy()].any()
    assert result.facts()["spec"]["mask"] == name


def test_lungs_are_where_the_phantom_has_them() -> None:
    data = load("phantom-cxr", "test")
    lungs, image = data.lungs(0), data.image(0)[0]
    assert lungs is not None and lungs.dtype == bool
    assert image[lungs].mean() < image[100:140, 100:124].mean(), "air is darker than the spine"
