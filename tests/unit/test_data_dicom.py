"""DICOM: what is shown is what a viewer shows, and nothing but the picture comes out."""

import io
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from engine.data.base import StoredUnits
from engine.data.dicom import read_dicom
from engine.errors import EngineError
from tests.dicoms import SECRETS, dicom, gradient, recompressed


def units_of(shown_units: StoredUnits | None) -> StoredUnits:
    assert shown_units is not None
    return shown_units


def fails(file: bytes, words: str, frame: int | None = None) -> str:
    with pytest.raises(EngineError, match=words) as caught:
        read_dicom(file, frame)
    message = str(caught.value)
    assert "\n" not in message
    assert not any(secret in message for secret in SECRETS)
    return message


def test_8_bits_without_a_window_are_shown_as_they_are() -> None:
    image = read_dicom(dicom(gradient(8)))
    assert np.array_equal(image.pixels, gradient(8).astype(np.float32) / np.float32(255))
    assert image.steps == 255 and image.stored_units == StoredUnits("stored value", 0.0, 255.0)
    assert image.modality == "CR" and image.notes == ()


def test_monochrome1_is_shown_inverted_and_its_units_follow() -> None:
    stored = gradient(8)
    image = read_dicom(dicom(stored, PhotometricInterpretation="MONOCHROME1"))
    assert np.allclose(image.pixels, 1 - stored / 255, atol=1e-6)
    units = units_of(image.stored_units)
    assert np.allclose(units.offset + units.scale * image.pixels, stored, atol=1e-3)


def test_the_first_window_is_the_one_shown_by_the_standards_formula() -> None:
    stored = gradient(12)
    image = read_dicom(dicom(stored, bits=12, WindowCenter=[2048, 100], WindowWidth=[1024, 50]))
    x = stored.astype(float)
    expected = np.clip((x - (2048 - 0.5)) / (1024 - 1) + 0.5, 0, 1)
    assert np.abs(image.pixels - expected).max() < 1e-5
    assert not image.notes


def test_linear_exact_and_sigmoid_windows() -> None:
    x = gradient(12).astype(float)
    common = {"bits": 12, "WindowCenter": 2000, "WindowWidth": 1000}
    exact = read_dicom(dicom(gradient(12), VOILUTFunction="LINEAR_EXACT", **common))
    assert np.abs(exact.pixels - np.clip((x - 2000) / 1000 + 0.5, 0, 1)).max() < 1e-5
    sigmoid = read_dicom(dicom(gradient(12), VOILUTFunction="SIGMOID", **common))
    assert np.abs(sigmoid.pixels - 1 / (1 + np.exp(-4 * (x - 2000) / 1000))).max() < 1e-5
    assert sigmoid.stored_units is None


def test_signed_ct_is_shown_in_its_window_and_speaks_hounsfield() -> None:
    stored = gradient(12).astype(np.int16) - 1024
    file = dicom(stored, Modality="CT", RescaleSlope=2, RescaleIntercept=-10, WindowCenter=40, WindowWidth=401)
    image = read_dicom(file)
    hu = stored * 2.0 - 10
    units = units_of(image.stored_units)
    assert units == StoredUnits("HU", -160.5, 400.0)
    inside = (image.pixels > 0) & (image.pixels < 1)
    assert inside.any() and np.allclose((units.offset + units.scale * image.pixels)[inside], hu[inside], atol=1e-2)


def test_rescaled_radiographs_speak_stored_values() -> None:
    stored = gradient(12)
    file = dicom(stored, bits=12, RescaleSlope=0.5, RescaleIntercept=100, WindowCenter=1000.5, WindowWidth=1001)
    image = read_dicom(file)
    units = units_of(image.stored_units)
    inside = (image.pixels > 0) & (image.pixels < 1)
    assert units.name == "stored value"
    assert np.allclose((units.offset + units.scale * image.pixels)[inside], stored[inside], atol=1e-2)


def test_without_a_window_percentiles_are_shown_and_said_and_padding_is_left_out() -> None:
    stored = gradient(12) // 4 + 1000
    stored[:20] = 0
    image = read_dicom(dicom(stored, bits=12, PixelPaddingValue=0))
    assert units_of(image.stored_units).offset > 990
    assert "no window" in image.notes[0]


def test_a_voi_table_is_applied_where_there_is_no_window() -> None:
    table = Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.LUTData = [int(65535 * (i / 255) ** 2) for i in range(256)]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    image = read_dicom(dicom(gradient(8), VOILUTSequence=Sequence([table])))
    assert np.abs(image.pixels - (gradient(8) / 255.0) ** 2).max() < 1e-4
    assert image.stored_units is None


def test_bits_above_those_stored_are_ignored() -> None:
    stored = gradient(12)
    window = {"bits": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    overlaid = dicom(stored | 0xF000, **window)
    assert np.array_equal(read_dicom(overlaid).pixels, read_dicom(dicom(stored, **window)).pixels)


def test_16_bits_and_big_endian() -> None:
    stored = gradient(16)
    window = {"WindowCenter": 32768, "WindowWidth": 65536}
    image = read_dicom(dicom(stored, **window))
    assert np.allclose(image.pixels, stored / 65535, atol=1e-6)
    big_endian = dicom(stored.byteswap(), syntax="1.2.840.10008.1.2.2", **window)
    assert np.array_equal(read_dicom(big_endian).pixels, image.pixels)


def test_colour_is_kept_and_has_no_units() -> None:
    rgb = np.stack([gradient(8), 255 - gradient(8), gradient(8) // 2], -1)
    image = read_dicom(dicom(rgb, Modality="US"))
    assert np.allclose(image.pixels, rgb.transpose(2, 0, 1) / 255, atol=1e-6) and image.stored_units is None


@pytest.mark.parametrize("name", ["RLELossless", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"])
@pytest.mark.parametrize("bits", [8, 12])
def test_lossless_compression_changes_nothing(name: str, bits: int, tmp_path: Path) -> None:
    gdcm = pytest.importorskip("gdcm")
    plain = dicom(gradient(bits), bits=bits, WindowCenter=2 ** (bits - 1), WindowWidth=2**bits)
    packed = recompressed(plain, getattr(gdcm.TransferSyntax, name), tmp_path)
    assert pydicom.dcmread(io.BytesIO(packed)).file_meta.TransferSyntaxUID.is_compressed
    assert np.array_equal(read_dicom(packed).pixels, read_dicom(plain).pixels)


def test_jpeg_baseline_is_close(tmp_path: Path) -> None:
    gdcm = pytest.importorskip("gdcm")
    packed = recompressed(dicom(gradient(8)), gdcm.TransferSyntax.JPEGBaselineProcess1, tmp_path)
    assert np.abs(read_dicom(packed).pixels - gradient(8) / 255).max() < 0.05


def test_damage_that_crashes_the_decoder_is_a_plain_error(tmp_path: Path) -> None:
    gdcm = pytest.importorskip("gdcm")
    packed = bytearray(recompressed(dicom(gradient(12), bits=12), gdcm.TransferSyntax.JPEGLSLossless, tmp_path))
    header = packed.rindex(b"\xff\xf7")  # the codestream's own size
    packed[header + 5 : header + 9] = b"\x7f\xff\x7f\xff"
    fails(bytes(packed), "damaged")


def test_the_middle_frame_is_shown_and_said_and_another_can_be_asked_for() -> None:
    frames = np.stack([np.full((8, 9), 10 * i, np.uint8) for i in range(7)])
    file = dicom(frames)
    image = read_dicom(file)
    assert (image.frame, image.frames) == (4, 7) and np.allclose(image.pixels, 30 / 255)
    assert image.notes[0] == "this file holds 7 frames; frame 4 is shown"
    assert np.allclose(read_dicom(file, frame=7).pixels, 60 / 255)
    fails(file, "no frame 8; choose one from 1 to 7", frame=8)
    fails(file, "no frame 0", frame=0)


def test_windows_of_enhanced_files_are_found_in_their_groups() -> None:
    def group(keyword: str, **elements: float) -> Dataset:
        inner, outer = Dataset(), Dataset()
        for name, value in elements.items():
            setattr(inner, name, value)
        setattr(outer, keyword, Sequence([inner]))
        return outer

    frames = np.stack([gradient(12)] * 2)
    shared = group("PixelValueTransformationSequence", RescaleSlope=1, RescaleIntercept=-1000)
    per_frame = [group("FrameVOILUTSequence", WindowCenter=c, WindowWidth=401) for c in (40, 800)]
    file = dicom(frames, bits=12, Modality="CT", SharedFunctionalGroupsSequence=Sequence([shared]),
                 PerFrameFunctionalGroupsSequence=Sequence(per_frame))
    assert read_dicom(file, frame=2).stored_units == StoredUnits("HU", 599.5, 400.0)


def test_a_file_without_preamble_is_read() -> None:
    file = dicom(gradient(8))
    assert np.array_equal(read_dicom(file[132:]).pixels, read_dicom(file).pixels)


def test_absurd_sizes_are_refused_before_anything_is_decoded() -> None:
    start = time.perf_counter()
    fails(dicom(gradient(8), Rows=65535, Columns=65535), "65,535 x 65,535 pixels.*40 million")
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_file_cut_off_is_refused(share: float) -> None:
    file = dicom(gradient(8, (200, 200)))
    fails(file[: int(len(file) * share)], "damaged or cut off|no picture")


def test_a_compressed_file_cut_off_is_refused(tmp_path: Path) -> None:
    gdcm = pytest.importorskip("gdcm")
    packed = recompressed(dicom(gradient(8, (200, 200))), gdcm.TransferSyntax.JPEGBaselineProcess1, tmp_path)
    fails(packed[:-200], "cut off")


def test_a_report_has_no_picture() -> None:
    fails(dicom(gradient(8), PixelData=None, Rows=None, Columns=None, Modality="SR"), "holds no picture")


def test_an_unknown_compression_is_named() -> None:
    file = dicom(gradient(8)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.100"[:20])
    assert b"1.2.840.10008.1.2.4." in file
    fails(file, "damaged|compressed in a way")


def test_deflated_files_are_refused_before_they_are_inflated() -> None:
    file = dicom(gradient(8)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    fails(file, "deflated")


def test_a_zero_or_broken_window_is_ignored() -> None:
    for width in (0, 1, -5):
        image = read_dicom(dicom(gradient(12), bits=12, WindowCenter=2000, WindowWidth=width))
        assert np.isfinite(image.pixels).all() and image.pixels.max() == 1 and "no window" in image.notes[0]


def test_a_constant_picture_is_finite() -> None:
    assert np.isfinite(read_dicom(dicom(np.full((9, 9), 700, np.uint16))).pixels).all()


def test_burned_in_text_is_warned_of() -> None:
    assert "burned" in read_dicom(dicom(gradient(8), BurnedInAnnotation="YES")).notes[0]


def test_large_pictures_take_a_moment_only() -> None:
    file = dicom(gradient(12, (3000, 3000)), bits=12)
    start = time.process_time()
    assert read_dicom(file).pixels.shape == (3000, 3000)
    assert time.process_time() - start < 5  # about 0.3 s where nothing else runs


def test_nothing_of_the_patient_comes_out() -> None:
    image = read_dicom(dicom(gradient(8), Modality="DOE", StudyDescription="Jane"))
    said = [repr(image), *image.notes, image.modality]
    assert not [text for text in said if any(secret.lower() in text.lower() for secret in SECRETS)]


def test_nothing_is_said_about_odd_files_where_a_server_keeps_its_log() -> None:
    code = ("import sys; from engine.data.dicom import read_dicom\n"
            "try: read_dicom(sys.stdin.buffer.read())\nexcept ValueError as error: print(error, file=sys.stderr)")
    odd = dicom(gradient(8), Rows=60).replace(b"DA\x00\x00", b"ZZ\x00\x00")
    odd = odd.replace(b"\x08\0\x16\0UI", b"\x08\0\x05\0CS")
    odd = odd.replace(b"1.2.840.10008.5.1.4.1.1.1\0", b"Doe^Jane MRN-4711 Elm Str\0")
    run = subprocess.run([sys.executable, "-c", code], input=odd, capture_output=True, check=True)
    assert b"damaged" in run.stderr and run.stderr.count(b"\n") == 1 and b"Doe" not in run.stderr


def test_a_real_radiograph(data_home: Path) -> None:
    file = next((data_home / "dicom").glob("*.dcm"))
    image = read_dicom(file.read_bytes())
    assert image.pixels.shape == (1024, 1024) and image.modality == "CR" and image.steps == 255
    assert np.array_equal(np.rint(image.pixels * 255), pydicom.dcmread(file).pixel_array)


BASE = dicom(gradient(8, (16, 16)), WindowCenter=128, WindowWidth=256)


@given(st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.integers(0, 255)), max_size=12), st.integers(0, len(BASE)))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_files_give_a_picture_or_one_plain_line(changes: list[tuple[int, int]], kept: int) -> None:
    file = bytearray(BASE)
    for place, value in changes:
        file[place] = value
    start = time.process_time()
    try:
        image = read_dicom(bytes(file if not kept % 3 else file[:kept]))
        assert np.isfinite(image.pixels).all() and image.pixels.min() >= 0 and image.pixels.max() <= 1
        said = repr(image)
    except EngineError as error:
        said = str(error)
    assert time.process_time() - start < 5
    assert not any(secret in said for secret in SECRETS)
