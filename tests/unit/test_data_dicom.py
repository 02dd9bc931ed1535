"""DICOM: what is shown is what a viewer shows, and nothing but the picture comes out."""

import io
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing, pixel_array
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from engine.data import dicom as dicom_reading
from engine.data import dicom_pixels as reader
from engine.data.base import StoredUnits
from engine.data.dicom import MOST_ITEMS, MOST_SEQUENCES, MOST_VALUE, DicomImage, picture_size, read_dicom
from engine.data.dicom_pixels import Decoders, decoding
from engine.data.header import header
from engine.data.raster import MAX_DECODED
from engine.data.windows import looked_at
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


def sequence(content: bytes, kind: bytes = b"SQ") -> bytes:
    """A table's sequence with such a content."""
    return b"\x28\0\x10\x30" + kind + b"\0\0" + len(content).to_bytes(4, "little") + content


ITEM = b"\xfe\xff\x00\xe0" + bytes(4)
WINDOW = b"\x28\0\x50\x10"  # without saying of what kind, which DICOM allows
TINY = b"\x18\0\0\0LO\0\0"
LISTED = b"1\\" * (MOST_VALUE // 2 + 1)


@pytest.mark.parametrize(("element", "syntax"), [
    (sequence(ITEM * (MOST_ITEMS + 1)), ExplicitVRLittleEndian),
    (sequence(bytes(MOST_SEQUENCES + 8)), ExplicitVRLittleEndian),
    (sequence(b"1\\1", b"UC"), ExplicitVRLittleEndian),
    (WINDOW + len(LISTED).to_bytes(4, "little") + LISTED, ImplicitVRLittleEndian),
    (TINY * 1000, ExplicitVRLittleEndian),
], ids=["items", "sequence", "no sequence", "numbers", "elements"])
def test_a_header_of_millions_of_things_is_refused(element: bytes, syntax: str, monkeypatch: pytest.MonkeyPatch
                                                   ) -> None:
    """Each of them takes pydicom some time and some hundred bytes: 8 MiB of them took 25 s, or 1.7 GB."""
    monkeypatch.setattr(dicom_reading, "MOST_PIECES", 1000)
    file = dicom(gradient(8), syntax=syntax)
    assert read_dicom(file).frames == 1
    place = file.index(b"\x28\0\0\x01")  # BitsAllocated
    fails(file[:place] + element + file[place:], "more in its header")


@pytest.mark.parametrize("look", [picture_size, header])
def test_so_is_one_whose_head_alone_is_asked_for(look: Callable[[Path], object], tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    file, path = dicom(gradient(8)), tmp_path / "a.dcm"
    place = file.index(b"\x28\0\x10\0")  # Rows
    path.write_bytes(file[:place] + TINY * 1000 + file[place:])
    assert picture_size(path) == (64, 48) and header(path).stored.size == "64 x 48"
    monkeypatch.setattr(dicom_reading, "MOST_PIECES", 1000)
    with pytest.raises(EngineError):
        look(path)


def test_a_head_is_looked_into_where_it_is_shown_alone(tmp_path: Path) -> None:
    """Long values stand in many files, and are no harm as long as nobody takes them apart."""
    file, path = dicom(gradient(8), syntax=ImplicitVRLittleEndian), tmp_path / "a.dcm"
    place, long = file.index(b"\x28\0\0\x01"), len(LISTED).to_bytes(4, "little") + LISTED  # BitsAllocated
    path.write_bytes(file[:place] + b"\x28\0\x99\0" + long + file[place:])
    assert header(path).hidden == 1 + _hidden(file, tmp_path)
    path.write_bytes(file[:place] + WINDOW + long + file[place:])
    with pytest.raises(EngineError, match="more in its header"):
        header(path)


def _hidden(file: bytes, folder: Path) -> int:
    (path := folder / "plain.dcm").write_bytes(file)
    return header(path).hidden


def deflated(file: bytes) -> bytes:
    """A file as a whole in deflate's syntax, which pydicom reads, too."""
    start = 144 + int.from_bytes(file[140:144], "little")
    head = file[:start].replace(b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.1.99")
    length = int.from_bytes(file[140:144], "little") + 2
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return head[:140] + length.to_bytes(4, "little") + head[144:] + packer.compress(file[start:]) + packer.flush()


def test_deflated_files_are_read() -> None:
    plain = dicom(gradient(12), bits=12, WindowCenter=2048, WindowWidth=4096)
    packed = deflated(plain)
    assert np.array_equal(pydicom.dcmread(io.BytesIO(packed)).pixel_array, gradient(12))
    assert np.array_equal(read_dicom(packed).pixels, read_dicom(plain).pixels)
    fails(packed[:-300], "damaged|does not say|no picture")


def test_deflated_files_are_inflated_up_to_a_limit() -> None:
    plain = dicom(gradient(8))
    start = time.process_time()
    fails(deflated(plain + b"\0" * (MAX_DECODED // 2)), "deflated.*too much")
    fails(deflated(plain)[:146 + int.from_bytes(plain[140:144], "little")] + b"\xff" * 50, "deflated.*damaged")
    fails(plain.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"), "deflated")
    assert time.process_time() - start < 5


def packed_as(syntax: str, frame: bytes, **elements: object) -> bytes:
    """A file with one compressed frame as it is given."""
    data = pydicom.dcmread(io.BytesIO(dicom(gradient(8), **elements)))
    data.file_meta.TransferSyntaxUID, data.PixelData = syntax, encapsulate([frame])
    data["PixelData"].VR = "OB"
    written = io.BytesIO()
    data.save_as(written, enforce_file_format=True)
    return written.getvalue()


def test_a_run_length_bomb_is_refused_before_it_unpacks() -> None:
    header = np.array([1, 64, *[0] * 14], "<u4").tobytes()
    start = time.perf_counter()
    fails(packed_as("1.2.840.10008.1.2.5", header + b"\x81\0" * 20_000_000), "damaged")
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("elements", [{"NumberOfFrames": 2**31 - 1}, {"SamplesPerPixel": 60_000, "Rows": 6000,
                                      "Columns": 6000}, {"BitsAllocated": 64, "Rows": 6000, "Columns": 6000}])
def test_numbers_that_ask_for_too_much_are_refused(elements: dict[str, int]) -> None:
    start = time.perf_counter()
    fails(dicom(gradient(8), **elements), "damaged|MiB unpacked")
    assert time.perf_counter() - start < 2


def test_a_file_that_does_not_describe_its_picture_says_so() -> None:
    fails(dicom(gradient(8), Rows=None, BitsStored=None), "does not say how its picture is stored .Rows, BitsStored")


def test_every_decoder_is_tried_and_the_answer_names_them() -> None:
    pytest.importorskip("gdcm")
    shown = read_dicom(bundled("GDCMJ2K_TextGBR.dcm"))  # Pillow fails, GDCM does not
    assert shown.pixels.shape == (3, 400, 400) and shown.pixels.max() > 0.9
    jpeg_2000 = "1.2.840.10008.1.2.4.90"
    fails(packed_as(jpeg_2000, b"\0" * 100), r"JPEG 2000.*damaged.*pillow and pylibjpeg and gdcm cannot.*uncompressed")


def test_a_missing_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders.base import Decoder

    monkeypatch.setattr(Decoder, "available_plugins", ("gdcm",))
    monkeypatch.setattr(Decoder, "missing_dependencies", ["pylibjpeg - requires pylibjpeg>=2.0 and pylibjpeg-libjpeg"])
    fails(bundled("JPGExtended.dcm"), r"Process 2 and 4.*gdcm cannot.*or install pylibjpeg>=2.0 and pylibjpeg-libjpeg")


def test_a_decoder_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("gdcm")
    child = tmp_path / "child.py"
    child.write_text("import threading; threading.Event().wait()")
    monkeypatch.setattr(reader, "CHILD", child)
    monkeypatch.setattr(reader, "CHILD_SECONDS", 0.5)
    fails(packed_as("1.2.840.10008.1.2.4.80", b"\0" * 100), "gdcm cannot decode")


# ---- the files that pydicom and pydicom-data bring along

WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"
DATA = Path(spec.origin or "").parent / "data" if (spec := find_spec("data_store")) else WHEEL / "none"


def bundled(name: str) -> bytes:
    return (WHEEL / name).read_bytes()


BUNDLED = [path for folder in (WHEEL, DATA) for path in sorted(folder.rglob("*"))
           if path.suffix == ".dcm" or (path.is_file() and path.read_bytes()[128:132] == b"DICM")]
# What pydicom's own description of a frame in an enhanced file leaves in its groups.
GROUPS = {"PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
          "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction")}


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    """One process that decompresses for all files."""
    with decoding() as made:
        yield made


def test_there_are_all_files_of_both_packages() -> None:
    pytest.importorskip("data_store")
    assert sum(WHEEL in path.parents for path in BUNDLED) >= 104 and sum(DATA in path.parents for path in BUNDLED) == 68


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: "-".join(path.parts[-2:]))
def test_a_file_is_read_as_pydicom_reads_it_or_refused_as_by_pydicom(path: Path, decoders: Decoders) -> None:
    pytest.importorskip("gdcm")
    data, start = path.read_bytes(), time.process_time()
    source = pydicom.dcmread(io.BytesIO(data), force=True)
    try:
        image = read_dicom(data, decoders=decoders)
    except EngineError as error:
        who = [str(source.get(k) or "-") for k in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber")]
        assert "\n" not in str(error) and not any(len(w) > 2 and w in str(error) for w in who)
        with pytest.raises((ValueError, AttributeError, RuntimeError)):
            pixel_array(source)
        return
    assert time.process_time() - start < 5
    expected = by_pydicom(source, image)
    np.testing.assert_allclose(image.pixels, expected, atol=1e-5 if is_lossless(source) else 2e-3)


def is_lossless(source: Dataset) -> bool:
    """Whether every decoder must give the same."""
    syntax = source.file_meta.TransferSyntaxUID
    return not syntax.is_compressed or "Lossless" in syntax.name


def by_pydicom(source: Dataset, image: DicomImage) -> np.ndarray:
    """The frame as pydicom alone would show it; without a window, between the ends that were shown instead."""
    if not source.file_meta.get("TransferSyntaxUID"):
        source.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    stored = pixel_array(source, index=image.frame - 1)
    if source.PhotometricInterpretation == "PALETTE COLOR":
        coloured = apply_color_lut(stored, source)
        return coloured.transpose(2, 0, 1) / np.iinfo(coloured.dtype).max
    if stored.ndim == 3:
        return stored.transpose(2, 0, 1) / (2**source.BitsStored - 1)
    ungroup(source, image.frame - 1)
    values = apply_modality_lut(stored, source)
    if source.get("WindowWidth"):
        shown = by_window(values, source)
    elif source.get("VOILUTSequence"):
        shown = apply_voi(values, source) / (2**source.VOILUTSequence[0].LUTDescriptor[2] - 1)
    else:
        assert image.stored.meaning is not None
        low, high = looked_at(image.stored.meaning, stored).by.ends  # type: ignore[union-attr]
        shown = np.clip((values - low) / (high - low), 0, 1)
    return 1 - shown if source.PhotometricInterpretation == "MONOCHROME1" else shown


def ungroup(source: Dataset, index: int) -> None:
    """What the groups of an enhanced file say of a frame, said of the whole."""
    per_frame = source.get("PerFrameFunctionalGroupsSequence", [])[index:index + 1]
    for groups in (*per_frame, *source.get("SharedFunctionalGroupsSequence", [])):
        for name, keywords in GROUPS.items():
            for keyword in keywords:
                if name in groups and keyword in groups[name].value[0] and keyword not in source:
                    setattr(source, keyword, groups[name].value[0][keyword].value)


def by_window(values: np.ndarray, source: Dataset) -> np.ndarray:
    """apply_windowing between 0 and 1."""
    if table := source.get("ModalityLUTSequence"):
        ends = np.array([0, 2.0 ** table[0].LUTDescriptor[2] - 1])
    else:
        bits = source.BitsStored
        ends = np.array([-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1] if source.PixelRepresentation
                        else [0, 2.0**bits - 1])
        ends = ends * float(source.get("RescaleSlope", 1)) + float(source.get("RescaleIntercept", 0))
    return (apply_windowing(values, source) - ends[0]) / (ends[1] - ends[0])


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
