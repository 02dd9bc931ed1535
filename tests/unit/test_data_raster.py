"""Plain pictures: every mode comes out upright, grey or RGB, and nothing hostile gets far."""

import io
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.data import raster
from engine.data.files import read_picture
from engine.data.raster import open_raster, to_array
from engine.errors import EngineError
from tests.pictures import black_png, huge_png, saved

GREY = np.linspace(0, 255, 40 * 30).reshape(30, 40).astype(np.uint8)


def pixels(data: bytes) -> np.ndarray:
    return to_array(open_raster(data))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_grey_comes_back_exactly(kind: str) -> None:
    assert np.array_equal(pixels(saved(Image.fromarray(GREY), kind)), (GREY / np.float32(255))[None])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_keeps_its_brightness(mode: str) -> None:
    picture = Image.fromarray(np.where(GREY > 127, 255, 0).astype(np.uint8)).convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert np.array_equal(pixels(saved(picture, kind)).mean(0), (GREY > 127).astype(np.float32))


def test_jpegs_in_cmyk_are_read() -> None:
    white = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    assert pixels(saved(white, "JPEG")).min() > 0.98


def test_transparency_lies_over_black() -> None:
    half = Image.new("RGBA", (4, 4), (200, 200, 200, 128))
    assert np.allclose(pixels(saved(half)), 200 * 128 / 255 / 255, atol=1 / 255)


def test_16_bits_are_scaled_not_clipped() -> None:
    values = (np.arange(1200, dtype=np.uint32).reshape(30, 40) * 54).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        assert np.allclose(pixels(saved(Image.fromarray(values), kind)), values[None] / 65535, atol=1e-7)


def test_12_bits_in_a_16_bit_file_are_scaled_up() -> None:
    values = np.linspace(0, 4095, 1200).reshape(30, 40).astype(np.uint16)
    assert np.allclose(pixels(saved(Image.fromarray(values))), values[None] / 4095, atol=1e-3)


def test_float_tiffs_are_stretched_and_survive_nan() -> None:
    values = np.linspace(-3, 9, 1200, dtype=np.float32).reshape(30, 40)
    values[0, 1] = np.nan
    read = pixels(saved(Image.fromarray(values), "TIFF"))
    assert read.min() == 0 and read.max() == 1 and np.isfinite(read).all()


def test_cameras_held_sideways_are_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    read = pixels(saved(Image.fromarray(GREY), "PNG", exif=exif))
    assert np.array_equal(read, np.rot90(GREY, -1)[None] / np.float32(255))


@pytest.mark.parametrize("side", [(30_000, 30_000), (10_000, 9_000), (6_400, 6_300)])
def test_a_pixel_bomb_is_refused_from_its_header(side: tuple[int, int]) -> None:
    start = time.process_time()
    with pytest.raises(EngineError, match=r"million.*smaller"):
        open_raster(huge_png(*side))
    assert time.process_time() - start < 0.5
    assert Image.MAX_IMAGE_PIXELS == 89478485


@pytest.mark.parametrize("made", [
    lambda: black_png(6290, 6296, 16, 6),  # 39.6 million pixels in 300 kB
    lambda: saved(Image.new("CMYK", (6000, 6000)), "JPEG", quality=1),
    lambda: saved(Image.new("RGBA", (6000, 6000)), "TIFF", compression="tiff_adobe_deflate"),
], ids=["png", "jpeg", "tiff"])
def test_what_would_take_too_much_memory_is_refused_from_its_header(made: Callable[[], bytes]) -> None:
    picture = made()
    start = time.process_time()
    with pytest.raises(EngineError, match="MiB unpacked"):
        open_raster(picture)
    assert time.process_time() - start < 0.5


def test_text_that_unpacks_to_too_much_is_refused() -> None:
    bomb = black_png(8, 8, 8, 0, text=b"Comment\0\0" + zlib.compress(b"a" * 50_000_000, 9))
    start = time.process_time()
    with pytest.raises(EngineError, match="not a whole"):
        open_raster(bomb)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_only_the_first_of_many_pages_is_unpacked(kind: str) -> None:
    pages = [Image.new("L", (5000, 5000), shade) for shade in (1, 2, 3)]
    data = saved(Image.fromarray(GREY), kind, save_all=True, append_images=pages if kind == "TIFF" else [],
                 **({"compression": "tiff_adobe_deflate"} if kind == "TIFF" else {}))
    assert np.array_equal(pixels(data), (GREY / np.float32(255))[None])


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA", "CMYK", "I", "F", "I;16"])
def test_pictures_of_many_strips_are_converted_as_those_of_one(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    if mode in ("I", "F", "I;16"):
        values = random.integers(0, 60000, (37, 9))
        picture = Image.fromarray(values.astype({"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]))
    else:
        picture = Image.fromarray(random.integers(0, 256, (37, 9, 4), np.uint8), "RGBA").convert(mode)
    data = saved(picture, "TIFF" if mode in ("CMYK", "I", "F") else "PNG")
    whole = pixels(data)
    monkeypatch.setattr(raster, "STRIP", 5)
    assert np.array_equal(pixels(data), whole)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_picture_cut_off_is_refused(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    data = saved(Image.fromarray(noise), kind)
    with pytest.raises(EngineError, match="not a whole"):
        open_raster(data[: int(len(data) * share)])


def test_formats_beyond_the_list_are_not_tried() -> None:
    with pytest.raises(EngineError, match="not a whole"):
        open_raster(saved(Image.fromarray(GREY), "GIF"))


def test_errors_name_the_file_but_not_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"no picture")
    with pytest.raises(EngineError, match=r"^broken\.png is not a whole"):
        open_raster(path)
    with pytest.raises(EngineError, match="not there any more"):
        open_raster(tmp_path / "gone.png")


def test_pictures_are_stretched_as_pillow_stretches_them(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    rgb = np.stack([GREY, GREY // 2, 255 - GREY], -1)
    Image.fromarray(rgb).save(path)
    stretched = Image.fromarray(rgb).convert("L").resize((224, 224), Image.Resampling.BILINEAR)
    assert np.array_equal(read_picture(path)[0], np.asarray(stretched) / np.float32(255))
    assert read_picture(path, colour=True).shape == (3, 224, 224)


SAMPLES = [saved(Image.fromarray(GREY), kind) for kind in ("PNG", "JPEG", "BMP", "TIFF")]


CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8)


@given(st.sampled_from(SAMPLES), CHANGES, st.binary(max_size=40))
@settings(max_examples=150, deadline=None)
def test_damaged_pictures_are_pictures_or_one_plain_line(
    sample: bytes, changes: list[tuple[float, int]], tail: bytes
) -> None:
    data = bytearray(sample)
    for share, value in changes:
        data[int(share * (len(data) - 1))] = value
    start = time.process_time()
    try:
        read = pixels(bytes(data) + tail)
        assert np.isfinite(read).all() and read.min() >= 0 and read.max() <= 1
    except EngineError as error:
        assert "\n" not in str(error)
    assert time.process_time() - start < 5


def test_a_png_that_says_it_is_far_larger_than_its_bytes_can_be_is_refused() -> None:
    """Pillow makes the rows that are missing black: millions of them."""
    file = io.BytesIO()
    Image.new("RGB", (64, 1000)).save(file, "PNG")
    data = file.getvalue()
    open_raster(data)
    header = b"IHDR" + data[16:20] + (500_000).to_bytes(4) + data[24:29]
    with pytest.raises(EngineError, match="not a whole"):
        open_raster(data[:12] + header + zlib.crc32(header).to_bytes(4) + data[33:])
