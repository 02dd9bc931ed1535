"""Adversarial pictures as DICOM: read again they are what was told, and nothing in them tells whose they were."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from engine.data import stored as stored_module
from engine.data.dicom_export import adversarial_dicom
from engine.data.stored import MARK, Stored
from engine.data.upload import Upload, read_upload, take_upload
from tests.dicoms import ALL_SECRETS, dicom, full_of_secrets, gradient

CT = {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "RescaleSlope": 1, "RescaleIntercept": -1024,
      "WindowCenter": 1024, "WindowWidth": 4097, "ImagePositionPatient": [-1.5, 2.25, 30], "PixelSpacing": [0.7, 0.8],
      "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "SliceThickness": 5, "BodyPartExamined": "CHEST"}


def table(values: list[int]) -> Sequence:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(values), 0, 16], values
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return Sequence([item])


def colours(bits: int) -> np.ndarray:
    """Where one colour is dark or full, there is no room for a change in that direction."""
    wave = gradient(bits, (300, 310))
    return np.stack([wave, wave.max() - wave, wave[::-1] // 2], axis=-1)


CASES: dict[str, bytes] = {
    "ct": dicom(gradient(12, (300, 260)), bits=12, **CT),
    "signed": dicom(gradient(12, (301, 299)).astype(np.int16) - 2048, bits=12, WindowCenter=0, WindowWidth=4096),
    "8 bits, inverted": dicom(gradient(8, (301, 299)), PhotometricInterpretation="MONOCHROME1"),
    "sigmoid": dicom(gradient(12, (300, 300)), bits=12, WindowCenter=2048, WindowWidth=1500, VOILUTFunction="SIGMOID"),
    "tables": dicom(gradient(8, (300, 300)), VOILUTSequence=table([257 * i for i in range(256)]),
                    ModalityLUTSequence=table(list(range(256)))),
    "colours": dicom(colours(8)),
    "16-bit colours": dicom(colours(16)),
    "padded": dicom(np.maximum(gradient(12, (300, 300)), 100), bits=12, PixelPaddingValue=100, PixelSpacing=[2, 1]),
}


def attacked(read: Upload, eps: float = 2 / 255) -> np.ndarray:
    signs = np.sign(np.random.default_rng(0).normal(size=read.image.shape))
    return np.clip(read.image + np.float32(eps) * signs, 0, 1).astype(np.float32)


def stored_of(read: Upload) -> Stored:
    assert read.stored is not None
    return read.stored


@pytest.mark.parametrize("case", CASES)
def test_the_file_read_again_is_what_models_were_shown(case: str) -> None:
    read = read_upload(CASES[case])
    stored, adversarial = stored_of(read), attacked(read)
    back = read_upload(adversarial_dicom(adversarial, stored, "PGD"))
    written = stored_of(back).pixels
    assert written.dtype == stored.pixels.dtype and np.array_equal(back.image, stored.seen(written))
    assert back.stored_units == read.stored_units and back.aspect == read.aspect
    near = 0.2 * 2 / 255 + (1 / 255 if read.steps == 255 else 0)
    assert np.median(np.abs(back.image - adversarial)) < near  # near the window's ends it cannot be reached


@pytest.mark.parametrize(("bits", "survives"), [(12, True), (8, False)])
def test_finer_steps_keep_what_8_bits_lose(bits: int, survives: bool) -> None:
    """A change of a fifth of a step of 8 bits."""
    levels = gradient(8, (224, 224)).astype(np.uint16) * (16 if bits == 12 else 1)
    read = read_upload(dicom(levels if bits == 12 else levels.astype(np.uint8), bits=bits, WindowCenter=2**bits // 2,
                             WindowWidth=2**bits))
    rounded = stored_of(read).rounded(attacked(read, 0.2 / 255)) - read.image
    assert bool(np.abs(rounded).max() > 0.1 / 255) is survives
    assert stored_of(read).grid.finer == pytest.approx(4095 / 255 if survives else 1, rel=1e-3)


def test_what_is_written_of_a_picture_in_colour_keeps_its_hues() -> None:
    read = read_upload(CASES["colours"])
    assert any("models see it in grey" in note for note in read.notes)
    moved = stored_of(read).written(attacked(read)).astype(int) - stored_of(read).pixels
    assert (moved == moved[..., :1]).all() and 0 < np.abs(moved).max() < 20


def test_what_cannot_be_written_in_the_values_of_its_file_says_why() -> None:
    read = read_upload(dicom(gradient(16).astype(np.uint32), WindowCenter=30000, WindowWidth=60000))
    assert read.stored is None and any("values of 32 bits" in note for note in read.notes)
    falling = dicom(gradient(8, (300, 300)), VOILUTSequence=table([257 * abs(128 - i) for i in range(256)]))
    assert any("no intensity leads back" in note for note in read_upload(falling).notes)
    assert not any("as models see it" in note for case in CASES.values() for note in read_upload(case).notes)


@pytest.fixture
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are written less well, and sooner."""
    monkeypatch.setattr(stored_module, "STEPS", 1)


def test_it_says_what_it_is(in_haste: None) -> None:
    read = read_upload(CASES["ct"])
    data = pydicom.dcmread(io.BytesIO(adversarial_dicom(attacked(read), read.stored, "PGD")))
    assert data.SOPClassUID.name == "CT Image Storage" and list(data.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert MARK in data.DerivationDescription and "PGD" in data.DerivationDescription
    assert data.SeriesDescription == MARK and str(data.PatientName) == "ADVERSARIAL^RESEARCH"
    assert data.PatientIdentityRemoved == "YES"
    assert [code.CodeValue for code in data.DeidentificationMethodCodeSequence] == ["113100"]
    assert data.ImagePositionPatient == CT["ImagePositionPatient"] and data.PixelSpacing == CT["PixelSpacing"]
    assert "BurnedInAnnotation" not in data
    other = pydicom.dcmread(io.BytesIO(adversarial_dicom(attacked(read), read.stored, "PGD")))
    for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert data[name].value != other[name].value


@pytest.mark.parametrize("case", [*CASES, "grey", "colour"])
def test_the_mark_is_burned_into_a_corner_on_request(case: str, in_haste: None) -> None:
    read = read_upload(CASES[case]) if case in CASES else None
    image = attacked(read) if read else np.full((3 if case == "colour" else 1, 224, 224), 0.5, np.float32)
    pictures = []
    for mark in (False, True):
        file = adversarial_dicom(image, read and read.stored, "PGD", mark)
        pictures.append(read_upload(file))
        assert (pydicom.dcmread(io.BytesIO(file)).get("BurnedInAnnotation") == "YES") is mark
    changed = (pictures[0].levels != pictures[1].levels).any(axis=0)
    height = len(changed)
    assert changed[-height // 6:].sum() > 100 and not changed[: height // 2].any()
    assert "burned" in " ".join(pictures[1].notes)
    if read is None:
        assert len(pictures[0].levels) == len(image)


@pytest.mark.parametrize(("said", "words"), [("YES", "says that text"), (None, "does not say"), ("NO", "")])
def test_burned_in_text_is_warned_of(said: str | None, words: str) -> None:
    header = stored_of(read_upload(dicom(gradient(8), **({"BurnedInAnnotation": said} if said else {})))).header
    assert words in header.before_sharing and bool(header.before_sharing) is bool(words)


@pytest.mark.parametrize("elements", [CT, {"Modality": "DOE"}, {"Modality": "MR", "ImageLaterality": "DOE"}],
                         ids=["ct", "odd", "mr"])
def test_of_all_that_names_somebody_nothing_is_kept_or_given_away(
        elements: dict[str, Any], perturbscope_home: Path, in_haste: None, capfd: pytest.CaptureFixture[str]) -> None:
    file = full_of_secrets(dicom(gradient(12), bits=12, **elements))
    assert all(file.count(secret.encode()) > 1 for secret in ALL_SECRETS if "Elm" not in secret)
    read = read_upload(file)
    name = take_upload([(file, ".dcm")])
    given = adversarial_dicom(attacked(read), read.stored, "PGD")
    kept = (perturbscope_home / "uploads" / f"{name}.npz").read_bytes()
    said = " ".join([*read.notes, repr(read), *capfd.readouterr()]).encode()
    for secret in ALL_SECRETS:
        assert secret.encode() not in given and secret.encode() not in kept and secret.encode() not in said
