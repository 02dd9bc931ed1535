"""A folder or a ZIP of slices: sorted by position, believed nothing, and nobody's name in it is kept."""

import io
import stat
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.data import series, upload
from engine.data.scan import read_scan
from engine.data.series import series_in, unzipped
from engine.data.upload import choices_of, load_upload, take_upload
from engine.errors import EngineError
from tests.dicoms import SECRETS, dicom

AXIAL = [1, 0, 0, 0, 1, 0]


def ct_slice(height: float, number: int = 1, **elements: object) -> bytes:
    """A slice of a CT that lies so high, every value of which tells it."""
    stored = np.full((20, 24), round(height) + 1000, np.uint16)
    stored[5:15, 5:15] += 100
    said = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 0, "WindowWidth": 401,
            "SeriesInstanceUID": "1.2.3", "ImagePositionPatient": [0, 0, height], "ImageOrientationPatient": AXIAL,
            "InstanceNumber": number, **elements}
    return dicom(stored, bits=12, **{name: value for name, value in said.items() if value is not None})


def zipped(files: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] = lambda member: None,
           how: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", how) as archive:
        for name, data in files.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = how
            change(member)
            archive.writestr(member, data)
    return packed.getvalue()


HEIGHTS = [30.0, -10.0, 20.0, 0.0, 10.0]


@pytest.mark.parametrize("pack", ["zip", "files"])
def test_slices_are_sorted_by_position_and_can_be_chosen(pack: str, perturbscope_home: Path) -> None:
    files = {f"Doe^Jane/{n}.dcm": ct_slice(height, 9 - n) for n, height in enumerate(HEIGHTS)}
    files["Doe^Jane/README.txt"] = b"not a slice"
    files["other.dcm"] = ct_slice(5, SeriesInstanceUID="1.2.4")
    one_by_one = [(data, Path(name).suffix) for name, data in files.items()]
    name = take_upload([(zipped(files), ".zip")] if pack == "zip" else one_by_one)
    choices = choices_of(name)
    assert (choices.kind, choices.frames, choices.middle) == ("slice", 5, 3)
    lowest = [round(units.offset + units.scale * float(load_upload(name, frame).image.min()))
              for frame in range(1, 6) if (units := load_upload(name, frame).stored_units)]
    assert lowest == [round(height) - 24 for height in sorted(HEIGHTS)]
    notes = load_upload(name).notes
    assert notes[0] == "slice 3 of 5 is shown" and not any("sorted" in note for note in notes)
    assert any("1 smaller series" in note for note in notes) and any("1 files that are no" in note for note in notes)
    with pytest.raises(EngineError, match="no slice 6; choose one from 1 to 5"):
        load_upload(name, 6)
    kept = (perturbscope_home / "uploads" / f"{name}.npz").read_bytes()
    assert not any(secret.encode() in kept for secret in (*SECRETS, "1.2.3", "README"))


def test_tilted_and_unplaced_slices_are_sorted_too() -> None:
    tilted = [1, 0, 0, 0, 0, -1]  # coronal: the slices lie along y
    placed = series_in([ct_slice(0, ImagePositionPatient=[7, y, 3], ImageOrientationPatient=tilted, InstanceNumber=9)
                        for y in (4.0, 1.0, 8.0)])
    positions = [placed.frame(number).header.position for number in (1, 2, 3)]
    assert [p[1] for p in positions if p] == [1.0, 4.0, 8.0]
    numbered = series_in([ct_slice(height, ImagePositionPatient=None, InstanceNumber=number)
                          for number, height in ((3, 30.0), (1, 10.0), (2, 20.0))])
    assert [numbered.frame(number).stored.min() for number in (1, 2, 3)] == [1010, 1020, 1030]
    assert "their positions are not known" in numbered.notes[0]


def test_a_file_of_several_frames_in_a_zip_is_its_frames() -> None:
    frames = np.stack([np.full((8, 9), 10 * i, np.uint8) for i in range(4)])
    scan = series_in(unzipped(zipped({"a": dicom(frames), "b": b"no"})))
    assert (scan.kind, len(scan)) == ("frame", 4) and scan.frame(4).stored.max() == 30


def link(member: zipfile.ZipInfo) -> None:
    member.external_attr = (stat.S_IFLNK | 0o777) << 16


@pytest.mark.parametrize(("data", "words"), [
    (zipped({"../up.dcm": ct_slice(0)}), "leads out of it"),
    (zipped({"a/../../up.dcm": ct_slice(0)}), "leads out of it"),
    (zipped({"/etc/passwd": ct_slice(0)}), "leads out of it"),
    (zipped({"C:\\up.dcm": ct_slice(0)}), "leads out of it"),
    (zipped({"..\\up.dcm": ct_slice(0)}), "leads out of it"),
    (zipped({"link.dcm": b"/etc/passwd"}, link), "holds a link"),
    (zipped({"a.dcm": ct_slice(0)}, how=zipfile.ZIP_LZMA), "ordinary ZIP"),
    (zipped({"a.dcm": ct_slice(0)}).replace(b"\x14\x00\x00\x00", b"\x14\x00\x01\x00"), "encrypted"),
    (zipped({}), "empty"),
    (zipped({"a.dcm": ct_slice(0)})[:300], "damaged"),
    (b"PK\x03\x04" + b"\0" * 100, "damaged"),
    (zipped({"a.txt": b"Dear colleague", "b.txt": b"see there"}), "no DICOM picture among"),
    (zipped({"a.zip": zipped({"a.dcm": ct_slice(0)})}), "damaged, or no DICOM|no picture|does not say"),
], ids=["up", "inner up", "absolute", "drive", "backslash", "link", "lzma", "encrypted", "empty", "torn", "nothing",
        "texts", "nested"])
def test_tricks_are_refused_in_one_line(data: bytes, words: str, perturbscope_home: Path) -> None:
    with pytest.raises(EngineError, match=words) as caught:
        take_upload([(data, ".zip")])
    assert "\n" not in str(caught.value) and "up.dcm" not in str(caught.value)


def test_bombs_are_refused_before_they_unpack(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.process_time()
    with pytest.raises(EngineError, match="holds 4,001 files"):
        list(unzipped(zipped({str(n): b"" for n in range(4001)}, how=zipfile.ZIP_STORED)))
    bomb = zipped({"a": b"\0" * 2**20})
    monkeypatch.setattr(series, "MOST_BYTES", 2**20 - 1)
    with pytest.raises(EngineError, match="unpacks to 1 MiB"):
        list(unzipped(bomb))
    monkeypatch.setattr(series, "MOST_BYTES", 2**20)
    with monkeypatch.context() as patch, pytest.raises(EngineError, match="a file in it has 1 MiB"):
        patch.setattr(series, "MAX_BYTES", 2**19)
        list(unzipped(bomb))
    lying = bomb.replace((2**20).to_bytes(4, "little"), (2**10).to_bytes(4, "little"))
    with pytest.raises(EngineError, match=r"damaged|more than it says"):
        list(unzipped(lying))
    assert time.process_time() - start < 5


def test_a_series_has_its_limit_and_a_kept_one_is_checked(perturbscope_home: Path, monkeypatch: pytest.MonkeyPatch
                                                          ) -> None:
    files = [(ct_slice(height), ".dcm") for height in HEIGHTS]
    name = take_upload(files)
    path = perturbscope_home / "uploads" / f"{name}.npz"
    assert len(read_scan(path)) == 5
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"frame0.npy") + 200] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(EngineError, match="damaged"):
        load_upload(name, 1)
    monkeypatch.setattr(series, "MAX_DECODED", 2000)
    with pytest.raises(EngineError, match="more than 0 MiB unpacked; choose fewer"):
        take_upload(files)


def test_a_name_that_may_be_a_patients_is_known_as_such() -> None:
    assert upload.is_private(ct_slice(0)) and upload.is_private(b"x", ".DCM") and upload.is_private(zipped({"a": b""}))
    assert not upload.is_private(b"\x89PNG\r\n\x1a\n") and not upload.is_private(b"hello", ".txt")
