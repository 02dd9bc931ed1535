"""Uploads: recognised by content, kept without identifiers, found again by digest only."""

import os
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset

from engine import digest
from engine.data import dicom as dicom_reader
from engine.data import raster, upload
from engine.data.dicom import read_dicom, scan_in
from engine.data.dicom_pixels import Decoders
from engine.data.files import read_picture
from engine.data.masks import read_mask
from engine.data.scan import Frame
from engine.data.upload import load_upload, read_upload, save_upload, take_upload
from engine.errors import EngineError
from tests.dicoms import SECRETS, dicom, gradient
from tests.pictures import black_png, huge_png, saved


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_png_gives_what_a_data_set_would(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.stack([gradient(8)] * 2 + [gradient(8) // 2], -1)).save(path)
    read = read_upload(path.read_bytes())
    assert np.array_equal(read.image, read_picture(path)) and read.full.shape == (3, 48, 64)
    assert np.array_equal(np.rint(read.image * 255) / np.float32(255), read.image)
    assert read.stored_units is None


def test_content_decides_not_the_name() -> None:
    file = dicom(gradient(8))
    assert read_upload(file, ".png").modality == "CR"
    assert read_upload(b"II*\0" + file[4:], ".tif").modality == "CR"  # a TIFF header in the preamble is allowed
    assert read_upload(saved(Image.fromarray(gradient(8))), ".dcm").modality == ""


def test_12_bit_dicom_keeps_more_than_8_bits() -> None:
    read = read_upload(dicom(gradient(12), bits=12, WindowCenter=2048, WindowWidth=4096))
    assert read.steps == 65535 and len(np.unique(np.rint(read.full * 255) / 255)) < len(np.unique(read.full))
    assert read.image.shape == (1, 224, 224) and read.image.dtype == np.float32
    assert read.image.min() >= 0 and read.image.max() <= 1


def test_inverted_8_bit_dicom_stays_in_whole_steps() -> None:
    read = read_upload(dicom(gradient(8), PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(read.full[0], (255 - gradient(8)) / np.float32(255))


def test_notes_speak_of_distortion_size_and_emptiness() -> None:
    notes = " ".join(read_upload(saved(Image.new("L", (300, 200), 7))).notes)
    assert "300 x 200" in notes and "stretched" in notes and "same value" in notes
    assert read_upload(saved(Image.fromarray(gradient(8, (300, 320))))).notes == ()


@pytest.mark.parametrize(("data", "words"), [
    (b"", "empty"),
    (b"Dear colleague, the picture is attached", "no picture that is read here"),
    (b"\x93NUMPY\x01\0" + b"\0" * 200, "no picture that is read here"),
    (b"PK\x03\x04" + b"\0" * 200, "no picture that is read here"),
    (b"\x89PNG\r\n\x1a\n and nothing more", "not a whole"),
    (huge_png(30_000, 30_000), "million pixels"),
    (dicom(gradient(8), PixelData=None), "no picture"),
    (dicom(gradient(8))[:900], "cut off"),
    (dicom(gradient(8), Rows=40000, Columns=40000), "40,000 x 40,000"),
], ids=["empty", "text", "numpy", "zip", "torn png", "bomb", "dicom without pixels", "torn dicom", "absurd dicom"])
def test_bad_files_get_one_line(data: bytes, words: str) -> None:
    with pytest.raises(EngineError, match=words) as caught:
        read_upload(data, ".dcm" if data[128:132] == b"DICM" else "")
    assert "\n" not in str(caught.value) and not any(secret in str(caught.value) for secret in SECRETS)


PEAK = """
import resource, sys
import engine.data.dicom
from engine.data.upload import read_upload
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_upload(sys.stdin.buffer.read()).digest
except ValueError:
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory in kilobytes")
@pytest.mark.parametrize(("depth", "colour", "most"), [(16, 6, 20), (8, 2, 400)],
                         ids=["refused", "the largest that is read"])
def test_large_pictures_take_little_memory(depth: int, colour: int, most: int) -> None:
    data = black_png(6290, 6296, depth, colour)
    run = subprocess.run([sys.executable, "-c", PEAK], input=data, capture_output=True, check=True)
    assert float(run.stdout) < most  # MiB beyond those of the imports


def none_left(*_: object, **__: object) -> None:
    raise MemoryError


@pytest.mark.parametrize(("read", "broken"), [
    (lambda path: read_upload(path.read_bytes()), (raster, "open_raster")),
    (lambda path: read_upload(path.read_bytes()), (upload, "to_levels")),
    (read_picture, (raster.Image.Image, "resize")),
    (lambda path: raster.open_raster(path), (raster.Image.Image, "crop")),
    (lambda path: read_mask(path.read_bytes()), (raster.Image.Image, "crop")),
    (lambda path: read_dicom(dicom(gradient(8))), (np, "nan_to_num")),
], ids=["upload", "levels", "picture", "raster", "mask", "dicom"])
def test_too_little_memory_is_one_line(read: Callable[[Path], object], broken: tuple[object, str], tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(gradient(8)).convert("RGBA").save(tmp_path / "a.png")
    monkeypatch.setattr(*broken, none_left)
    monkeypatch.setattr(upload, "open_raster", raster.open_raster)
    with pytest.raises(EngineError, match=r"more memory than is free.*smaller"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("shape", [(600, 40), (600, 40, 3)])
def test_the_digest_is_that_of_the_whole_picture(shape: tuple[int, ...]) -> None:
    read = read_upload(saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))))
    assert read.digest == digest.of_spec({**read.facts, "pixels": digest.of_arrays(read.image, read.full)})


def test_too_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "MAX_BYTES", 1000)
    with pytest.raises(EngineError, match="MiB"):
        read_upload(b"\0" * 1001)


@pytest.mark.parametrize("file", [
    dicom(np.stack([gradient(12)] * 3), bits=12, Modality="CT", RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40,
          WindowWidth=400),
    dicom(gradient(8)), saved(Image.fromarray(gradient(8))),
], ids=["ct", "cr", "png"])
def test_what_is_kept_comes_back_bit_for_bit(file: bytes, own_home: Path) -> None:
    read = read_upload(file)
    name = save_upload(read)
    back = load_upload(name)
    assert back.digest == name == save_upload(back)
    assert np.array_equal(back.image, read.image) and np.array_equal(back.full, read.full)
    assert back.facts == read.facts and back.stored_units == read.stored_units
    kept = list((own_home / "uploads").iterdir())
    assert [p.name for p in kept] == [f"{name}.npz"]
    assert not any(secret.encode() in kept[0].read_bytes() for secret in SECRETS)
    if os.name == "posix":
        assert stat.S_IMODE((own_home / "uploads").stat().st_mode) == 0o700


def test_pixels_that_are_no_squares_are_told_and_made_square() -> None:
    square = read_upload(dicom(gradient(8, (120, 240)), PixelSpacing=[2, 1]))
    assert square.aspect == 2 and square.upright.shape == (1, 240, 240) and not square.notes
    flat = read_upload(dicom(gradient(8, (240, 240)), PixelAspectRatio=[1, 2]))
    assert flat.aspect == 0.5 and flat.upright.shape == (1, 120, 240)
    assert "of pixels 0.5 times higher than wide, and is stretched to a square" in flat.notes[0]
    odd = read_upload(dicom(gradient(8, (240, 240)), PixelAspectRatio=[1, 10_000]))
    assert odd.aspect == 1 and odd.upright.shape == (1, 240, 240)


def test_all_frames_are_kept_as_far_as_there_is_room(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.stack([np.full((10, 10), 10 * i, np.uint8) for i in range(20)])
    scan = scan_in(dicom(frames))
    assert [scan.frame(number).stored.max() for number in (1, 20, 0)] == [0, 190, 90]
    monkeypatch.setattr(dicom_reader, "MAX_DECODED", 1000)
    scan = scan_in(dicom(frames))
    assert len(scan) == 10 and scan.frame(10).stored.max() == 190 and "of its 20 frames 10 are kept" in scan.notes[0]


def test_a_file_that_says_it_has_millions_of_frames_takes_a_moment_only() -> None:
    start = time.process_time()
    with pytest.raises(EngineError, match="damaged"):
        scan_in(dicom(np.zeros((2, 1, 1), np.uint8), NumberOfFrames=2**31 - 1))
    assert time.process_time() - start < 5


def test_a_kept_dicom_says_how_it_is_shown_as_one_that_is_read_does(own_home: Path) -> None:
    file = dicom(gradient(12), bits=12)
    kept = load_upload(take_upload([(file, ".dcm")]))
    assert kept.notes == read_upload(file).notes and "no window" in kept.notes[0]
    assert np.array_equal(kept.levels, read_upload(file).levels)
    wide = dicom(gradient(12).astype(np.uint32) * 2**20, bits=32)
    assert load_upload(take_upload([(wide, ".dcm")])).stored is None


@pytest.mark.parametrize("elements", [{"BitsStored": 0}, {"BitsStored": 60_000}, {"RescaleSlope": 1e300}])
def test_odd_numbers_in_a_dicom_are_one_line_when_it_is_read_or_do_no_harm(elements: dict[str, float], own_home: Path
                                                                           ) -> None:
    try:
        assert np.isfinite(load_upload(take_upload([(dicom(gradient(12), **elements), ".dcm")])).image).all()
    except EngineError as error:
        assert "damaged" in str(error)


def test_a_broken_frame_is_left_out_and_tables_have_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    read, file = dicom_reader.frame_of, dicom(np.stack([gradient(8)] * 3))

    def odd(source: Dataset, index: int, decoders: Decoders) -> Frame:
        if index == 1:
            raise ValueError("Doe")
        return read(source, index, decoders)

    monkeypatch.setattr(dicom_reader, "frame_of", odd)
    scan = scan_in(file)
    assert len(scan) == 2 and "1 of its frames cannot be read" in scan.notes[0]
    monkeypatch.setattr(Frame, "room", 2**29)
    with pytest.raises(EngineError, match="too much room"):
        scan_in(file)


def test_digests_tell_pixels_and_units_apart() -> None:
    window = {"bits": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    one = gradient(12)
    other = one.copy()
    other[0, 0] ^= 1
    files = [dicom(one, **window), dicom(other, **window), dicom(one, Modality="CT", RescaleIntercept=0, **window)]
    assert len({read_upload(file).digest for file in files}) == 3


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n", f"../{'0' * 61}"])
def test_only_digests_are_looked_up(name: str, own_home: Path) -> None:
    with pytest.raises(EngineError, match="no upload's digest"):
        load_upload(name)


def test_a_missing_or_damaged_upload_says_so(own_home: Path) -> None:
    with pytest.raises(EngineError, match="not kept here"):
        load_upload("0" * 64)
    name = save_upload(read_upload(saved(Image.fromarray(gradient(8)))))
    other = save_upload(read_upload(saved(Image.fromarray(gradient(8) // 2))))
    folder = own_home / "uploads"
    (folder / f"{name}.npz").write_bytes((folder / f"{other}.npz").read_bytes())
    with pytest.raises(EngineError, match="damaged"):
        load_upload(name)
    (folder / f"{name}.npz").write_bytes(b"torn")
    with pytest.raises(EngineError, match="damaged"):
        load_upload(name)


@pytest.mark.parametrize("member", ["full.npy", "frame0.npy"])
def test_so_does_one_whose_pixels_are_no_array(member: str, own_home: Path) -> None:
    name = (save_upload(read_upload(saved(Image.fromarray(gradient(8))))) if member == "full.npy" else
            take_upload([(dicom(gradient(8)), ".dcm")]))
    path = own_home / "uploads" / f"{name}.npz"
    with zipfile.ZipFile(path) as kept:
        members = {known: kept.read(known) for known in kept.namelist()}
    with zipfile.ZipFile(path, "w") as kept:
        for known, content in members.items():
            kept.writestr(known, b"no array" if known == member else content)
    with pytest.raises(EngineError, match="damaged"):
        load_upload(name)


def test_a_damaged_upload_is_whole_again_once_it_is_uploaded_again(own_home: Path) -> None:
    picture = read_upload(saved(Image.fromarray(gradient(8))))
    name = save_upload(picture)
    (own_home / "uploads" / f"{name}.npz").write_bytes(b"torn")
    assert save_upload(picture) == name
    np.testing.assert_array_equal(load_upload(name).image, picture.image)


def test_a_home_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("a file where a folder is needed")
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "file"))
    with pytest.raises(EngineError, match="PERTURBSCOPE_HOME"):
        save_upload(read_upload(saved(Image.fromarray(gradient(8)))))


def test_a_full_disk_leaves_nothing_behind(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(upload.np, "savez", full)
    with pytest.raises(EngineError, match="No space left"):
        save_upload(read_upload(saved(Image.fromarray(gradient(8)))))
    assert not list((own_home / "uploads").iterdir())


def test_the_real_radiograph(data_home: Path) -> None:
    read = read_upload(next((data_home / "dicom").glob("*.dcm")).read_bytes())
    assert read.full.shape == (1, 1024, 1024) and read.notes == () and read.modality == "CR"


STARTS = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"\x08\0\x05\0"]


@given(st.binary(max_size=400), st.sampled_from(STARTS), st.sampled_from(["", ".dcm"]))
@settings(max_examples=150, deadline=None)
def test_random_bytes_get_one_line(data: bytes, start: bytes, suffix: str) -> None:
    began = time.process_time()
    try:
        read_upload(start + data, suffix)
    except EngineError as error:
        assert "\n" not in str(error)
    assert time.process_time() - began < 5
