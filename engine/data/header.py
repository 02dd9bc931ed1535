"""What the head of a picture's file says of how it is stored and was taken, and nothing that could name a person: only
numbers, and words that the standard defines. Pixels are not decoded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from engine.data.base import Header, Stored
from engine.data.raster import FORMATS
from engine.errors import EngineError

DICOM = ".dcm"
BITS = {"1": 1, "I": 32, "F": 32}  # of a mode of Pillow's, where it is not 8, or 16 as in I;16
CHANNELS = {"RGB": 3, "RGBA": 3, "RGBX": 3, "CMYK": 3, "YCbCr": 3, "LAB": 3, "HSV": 3, "P": 3, "PA": 3}
# Numbers of a DICOM file that are shown, with what they are called and their unit.
NUMBERS = {
    "NumberOfFrames": ("frames", ""), "BitsAllocated": ("bits allocated", ""), "BitsStored": ("bits stored", ""),
    "PixelRepresentation": ("signed values", ""), "SamplesPerPixel": ("samples a pixel", ""),
    "RescaleSlope": ("rescale slope", ""), "RescaleIntercept": ("rescale intercept", ""),
    "WindowCenter": ("window centre", ""), "WindowWidth": ("window width", ""),
    "PixelSpacing": ("pixel spacing", "mm"), "ImagerPixelSpacing": ("pixel spacing on the detector", "mm"),
    "SliceThickness": ("slice thickness", "mm"), "KVP": ("tube voltage", "kV"),
    "XRayTubeCurrent": ("tube current", "mA"), "ExposureTime": ("exposure time", "ms"), "Exposure": ("exposure", "mAs"),
    "RelativeXRayExposure": ("relative exposure", ""), "DistanceSourceToDetector": ("source to detector", "mm"),
}


def _terms(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODALITIES = _terms("CR DX CT MG MR US PX IO XA RF NM PT SC OP XC SM ES")
VIEWS, SIDES = _terms("AP PA LL RL RLD LLD RLO LLO CC MLO ML LM"), _terms("R L U B")
# Words that are shown, where they are among those that the standard defines.
WORDS: Mapping[str, tuple[str, frozenset[str]]] = {
    "Modality": ("modality", MODALITIES),
    "PhotometricInterpretation": ("photometric interpretation", _terms(
        "MONOCHROME1 MONOCHROME2 RGB YBR_FULL YBR_FULL_422 YBR_ICT YBR_RCT") | {"PALETTE COLOR"}),
    "BodyPartExamined": ("body part", _terms(
        "ABDOMEN ANKLE ARM BREAST CHEST CSPINE ELBOW EXTREMITY FOOT HAND HEAD HIP KNEE LSPINE NECK PELVIS SHOULDER "
        "SKULL SPINE TSPINE WRIST")),
    "ViewPosition": ("view", VIEWS | {"LATERAL"}),
    "Laterality": ("side", _terms("R L")), "ImageLaterality": ("side of the picture", SIDES),
    "LossyImageCompression": ("compressed with loss", _terms("00 01")),
    "BurnedInAnnotation": ("text burned into the picture", _terms("YES NO")),
}


def header(path: Path) -> Header:
    """The header of a picture's file; raises EngineError."""
    try:
        size = os.stat(path).st_size
        found = _dicom(path) if path.suffix.lower() == DICOM else _raster(path)
    except OSError as error:
        raise EngineError(f"{path.name} cannot be read ({error.strerror or 'it is no picture'})") from None
    except EngineError:
        raise
    except Exception:  # a hostile file can make a parser raise anything, and its message may quote the file
        raise EngineError(f"the head of {path.name} is damaged") from None
    return Header(found.stored, (*found.facts, ("size of the file", f"{size:,} bytes")), found.hidden)


def _raster(path: Path) -> Header:
    with Image.open(path, formats=FORMATS) as picture:
        mode = picture.mode
        bits = 16 if mode.startswith("I;16") else BITS.get(mode, 8)
        stored = Stored(*picture.size, CHANNELS.get(mode, 1), bits, str(picture.format))
        facts = [("pages", f"{frames:,}")] if (frames := getattr(picture, "n_frames", 1)) > 1 else []
        return Header(stored, tuple(facts), len(picture.info) + len(picture.getexif()))


def _dicom(path: Path) -> Header:
    from pydicom.datadict import keyword_for_tag  # pydicom takes a while to import

    from engine.data.dicom import head_of

    told = {*WORDS, *NUMBERS, "Rows", "Columns"}
    file = head_of(path, told, others=True)
    rows, columns, bits = (_whole(file.get(name)) for name in ("Rows", "Columns", "BitsStored"))
    if not (rows and columns):
        raise EngineError(f"{path.name} is no DICOM picture")
    stored = Stored(columns, rows, _whole(file.get("SamplesPerPixel")) or 1, bits or 8, "DICOM")
    facts = [*_words(file), *_numbers(file)]
    return Header(stored, tuple(facts), sum(keyword_for_tag(tag) not in told for tag, _ in file.items()))


def _words(file: Any) -> Iterable[tuple[str, str]]:
    for name, (title, known) in WORDS.items():
        if (word := str(file.get(name, ""))) in known:
            yield title, word


def _numbers(file: Any) -> Iterable[tuple[str, str]]:
    for name, (title, unit) in NUMBERS.items():
        value = file.get(name)
        several = [value] if isinstance(value, str | bytes | int | float) or not hasattr(value, "__iter__") else value
        try:
            numbers = [f"{float(one):g}" for one in several if one not in (None, "")][:3]
        except (TypeError, ValueError):  # no number: it may be anything
            continue
        if numbers:
            yield title, f"{' x '.join(numbers)} {unit}".strip()


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
