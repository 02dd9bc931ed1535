"""Sizes of perturbations, visibility, saving and classification scores, against numbers worked out by other means."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.data import phantom
from engine.errors import EngineError
from engine.metrics.classification import auc, classification
from engine.metrics.perturbation import measure, ssim
from engine.metrics.survival import as_8bit, as_jpeg
from engine.metrics.visibility import noticeable_difference, visibility


def pictures(channels: int, height: int = 40, width: int = 52) -> tuple[np.ndarray, np.ndarray]:
    """Two smooth pictures that any program can rebuild."""
    channel, y, x = np.indices((channels, height, width))
    clean = 0.5 + 0.4 * np.sin(0.31 * x + 0.7 * channel) * np.cos(0.17 * y)
    other = 0.9 * clean + 0.04 + 0.06 * np.sin(1.9 * x + 2.3 * y + channel)
    return clean.astype(np.float32), other.astype(np.float32)


def sign_noise(image: np.ndarray, level: float) -> np.ndarray:
    signs = np.sign(np.random.default_rng(0).standard_normal(image.shape)).astype(np.float32)
    return np.clip(image + signs * np.float32(level / 255), 0, 1)


# Perturbation size

def test_sizes_by_hand() -> None:
    clean = np.full((3, 4, 5), 0.5, np.float32)
    adversarial = clean.copy()
    adversarial[0, 1, 2] = 0.75
    adversarial[2, 1, 2] = 0.0
    adversarial[1, 3, 4] = 0.625
    size = measure(clean, adversarial)
    assert size.l0 == 2, "a pixel that changes in two channels is one pixel"
    assert size.l0_share == pytest.approx(2 / 20)
    assert size.linf == 0.5
    assert size.l2 == pytest.approx(np.sqrt(0.25 ** 2 + 0.5 ** 2 + 0.125 ** 2))
    assert size.psnr == pytest.approx(10 * np.log10(60 / (0.25 ** 2 + 0.5 ** 2 + 0.125 ** 2)))


def test_equal_images_have_no_size() -> None:
    clean, _ = pictures(1)
    size = measure(clean, clean.copy())
    assert (size.l0, size.l0_share, size.l2, size.linf, size.psnr) == (0, 0, 0, 0, float("inf"))
    assert size.ssim == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("channels", "expected"), [(1, 0.8773619287166966), (3, 0.8780017265772475)])
def test_ssim_is_the_mean_over_the_channels(channels: int, expected: float) -> None:
    assert ssim(*pictures(channels)) == pytest.approx(expected, abs=1e-9)


# Published runs must stay comparable: these were measured by the definition written out over filtered planes.
@pytest.mark.parametrize(("channels", "level", "expected"), [
    (1, 1, 0.9903722384655403), (1, 8, 0.6360351541287457), (3, 1, 0.991289803884504), (3, 8, 0.6619174315842165),
])
def test_ssim_of_phantoms(channels: int, level: float, expected: float) -> None:
    clean = np.stack([phantom.render("test", i).image for i in range(channels)]).astype(np.float32) / 255
    assert ssim(clean, sign_noise(clean, level)) == pytest.approx(expected, abs=1e-6)


def test_ssim_by_its_definition() -> None:
    a, b = (picture[0].astype(np.float64) for picture in pictures(1, 13, 12))
    axis = np.arange(-5, 6)
    window = np.exp(-(axis[:, None] ** 2 + axis ** 2) / (2 * 1.5 ** 2))
    window /= window.sum()
    values = []
    for row in range(3):
        for column in range(2):
            p, q = a[row:row + 11, column:column + 11], b[row:row + 11, column:column + 11]
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            covariance = (window * (p - mean_p) * (q - mean_q)).sum()
            spread = (window * (p - mean_p) ** 2).sum() + (window * (q - mean_q) ** 2).sum()
            values.append((2 * mean_p * mean_q + 1e-4) * (2 * covariance + 9e-4)
                          / ((mean_p ** 2 + mean_q ** 2 + 1e-4) * (spread + 9e-4)))
    assert ssim(a[None], b[None]) == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize(("shape", "expected"), [
    ((1, 6, 6), 0.8745503701354596), ((3, 6, 6), 0.8134355471882188), ((3, 3, 9), 0.8533807576066854),
    ((1, 10, 40), 0.8601389507872099), ((1, 11, 11), 0.8595151991037622), ((1, 1, 1), 0.9997960020249721),
])
def test_ssim_of_tiny_pictures_mirrors_their_borders(shape: tuple[int, int, int], expected: float) -> None:
    assert ssim(*pictures(*shape)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("compare", [measure, ssim, visibility])
def test_pictures_of_different_size_are_refused(compare) -> None:
    with pytest.raises(EngineError, match="one size"):
        compare(np.zeros((1, 8, 8), np.float32), np.zeros((3, 8, 8), np.float32))


# Visibility

@pytest.mark.parametrize(("grey", "expected"), [(0, 20), (127, 3), (255, 6), (127 / 4, 3 + 17 / 2)])
def test_the_noticeable_difference_of_a_flat_picture(grey: float, expected: float) -> None:
    threshold = noticeable_difference(np.full((9, 9), grey / 255))
    np.testing.assert_allclose(threshold, expected, atol=1e-9)


def test_an_edge_hides_more_than_a_flat_area() -> None:
    picture = np.full((20, 20), 0.5)
    picture[:, 10:] = 0.7
    threshold = noticeable_difference(picture)
    step = 0.2 * 255
    assert threshold[10, 2] == pytest.approx(3 + 0.5 * 3 / 128, abs=1e-9)
    # At the first bright column one operator sees the whole step; 13 of the background's 32 weights lie in the dark.
    background = 255 * (0.5 * 13 + 0.7 * 19) / 32
    assert threshold[10, 10] == pytest.approx(step * (0.0001 * background + 0.115) + 0.5 - 0.01 * background)


@pytest.mark.parametrize(("level", "expected"), [
    (0, "invisible"), (1, "invisible"), (2, "hardly visible"), (4, "hardly visible"), (8, "visible"), (16, "obvious"),
])
def test_sign_noise_on_a_smooth_picture(level: int, expected: str) -> None:
    clean = np.linspace(0.1, 0.8, 64 * 64, dtype=np.float32).reshape(1, 64, 64)
    seen = visibility(clean, sign_noise(clean, level))
    assert seen.level == expected
    assert seen.score == pytest.approx(level / 3, rel=0.1)


@pytest.mark.parametrize(("level", "expected"), [
    (1, "invisible"), (2, "hardly visible"), (4, "hardly visible"), (8, "visible"), (16, "obvious"),
])
def test_sign_noise_on_real_radiographs(level: int, expected: str, data_home: Path) -> None:
    files = sorted(data_home.glob("kermany*/test/*/*.*"))[::150]
    if not files:
        pytest.skip("needs the Kermany test images in PERTURBSCOPE_DATA")
    for file in files:
        clean = np.asarray(Image.open(file).convert("L").resize((224, 224)), np.float32)[None] / 255
        assert visibility(clean, sign_noise(clean, level)).level == expected, file.name


def test_an_opaque_patch_is_obvious_and_small() -> None:
    clean = pictures(1, 100, 100)[0]
    adversarial = clean.copy()
    adversarial[:, 40:50, 40:50] = 1 - np.round(adversarial[:, 40:50, 40:50])
    seen = visibility(clean, adversarial)
    assert seen.level == "obvious"
    assert 0.01 <= seen.share < 0.08
    assert "% of the picture" in seen.reason


def test_a_change_of_hue_is_seen() -> None:
    clean = np.full((3, 32, 32), 0.5, np.float32)
    adversarial = clean + np.array([16, 0, -16], np.float32)[:, None, None] / 255
    assert visibility(clean, adversarial).level == "obvious"


def test_the_same_picture_says_so() -> None:
    clean, _ = pictures(1)
    seen = visibility(clean, clean.copy())
    assert (seen.level, seen.score, seen.share) == ("invisible", 0, 0)
    assert "the same" in seen.reason


# Saving

def test_eight_bits_round_and_do_not_cut_off() -> None:
    images = torch.tensor([0.0, 0.6, 1.4, 2.51, 254.6, 255.0]) / 255
    assert (as_8bit(images) * 255).round().tolist() == [0, 1, 1, 3, 255, 255]
    assert images[1] == pytest.approx(0.6 / 255), "the input stays as it is"


def test_every_8bit_level_stays_and_equals_a_png() -> None:
    levels = torch.arange(256, dtype=torch.float32) / 255
    assert torch.equal(as_8bit(levels), levels)
    images = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    file = io.BytesIO()
    Image.fromarray((images[0, 0] * 255).round().to(torch.uint8).numpy()).save(file, "PNG")
    assert np.array_equal((as_8bit(images)[0, 0] * 255).round().numpy(), np.asarray(Image.open(file)))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_close_and_keeps_the_form(channels: int) -> None:
    images = torch.from_numpy(np.stack(pictures(channels, 32, 48)))
    before = images.clone()
    saved = as_jpeg(images)
    assert saved.shape == images.shape and saved.dtype == images.dtype and torch.equal(images, before)
    assert 0 < (saved - images).abs().mean() < 0.02
    assert torch.equal(as_8bit(saved), saved)
    assert (as_jpeg(images, quality=10) - images).abs().mean() > (saved - images).abs().mean()


def test_grey_as_colour_stays_grey_and_colour_keeps_its_resolution() -> None:
    grey = torch.from_numpy(pictures(1, 32, 32)[0])[None]
    as_colour = as_jpeg(grey.expand(-1, 3, -1, -1))
    assert (as_colour - as_jpeg(grey)).abs().max() <= 1.01 / 255
    # Red and blue columns one pixel wide: halved chroma would mix them.
    stripes = torch.zeros(1, 3, 16, 16)
    stripes[:, 0, :, ::2] = 1
    stripes[:, 2, :, 1::2] = 1
    assert (as_jpeg(stripes, quality=95) - stripes).abs().mean() < 0.05


def test_jpeg_refuses_other_shapes() -> None:
    with pytest.raises(EngineError, match="1 or 3"):
        as_jpeg(torch.zeros(1, 2, 8, 8))


# Classification

def test_large_logits_overflow_nowhere() -> None:
    logits = np.array([[1000.0, 1000.0 + np.log(3)], [1000.0, -1000.0], [-1000.0, 1000.0]])
    assert classification(logits, np.array([0, 0, 1]), ("normal", "ill"))["auc"] == 1


def test_classification_by_hand() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0], [0.0, 5.0]])
    labels = np.array([0, 0, 1, 1])
    score = classification(logits, labels, ("normal", "ill"))
    assert score["n"] == 4 and score["accuracy"] == 0.5
    assert score["recall"] == {"normal": 0.5, "ill": 0.5}
    assert score["confusion_matrix"] == [[1, 1], [1, 1]]
    # Of the four pairs (normal, ill), ranked by the logit margins -2, 1 and -2, 5: one tie, one lost, two won.
    assert score["auc"] == pytest.approx((0.5 + 0 + 1 + 1) / 4)


def test_auc_where_a_class_is_missing() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]])
    assert auc(probabilities, np.array([0, 1, 0])) == 1
    assert auc(probabilities, np.array([1, 1, 1])) is None
