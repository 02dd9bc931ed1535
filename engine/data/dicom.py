"""DICOM images, of which only the picture is kept: no identifier is parsed, returned, logged or named in an error."""

import io
import json
import logging
import math
import os
import subprocess
import sys
import warnings
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, get_decoder
from pydicom.pixels.decoders.base import Decoder

from engine.data.base import StoredUnits
from engine.data.raster import MAX_DECODED, check_size, enough_memory
from engine.errors import EngineError

# pydicom's complaints quote what they complain about, a patient's name perhaps, and a server's log would keep them.
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)

MODALITIES = {"CR", "DX", "CT", "MG", "MR", "US", "PX", "IO", "XA", "RF", "NM", "PT", "SC", "OP", "XC", "SM", "ES"}
NATIVE = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian}
CHILD = Path(__file__).with_name("dicom_child.py")
CHILD_SECONDS = 30

# Everything that is read; all other elements, names and numbers of patients among them, are skipped.
_TAGS = [
    "SOPClassUID", "Modality", "BurnedInAnnotation", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PlanarConfiguration", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "VOILUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData",
    *(name for colour in ("Red", "Green", "Blue") for name in (
        f"{colour}PaletteColorLookupTableDescriptor", f"{colour}PaletteColorLookupTableData",
        f"Segmented{colour}PaletteColorLookupTableData")),
]
# What says how the pixels are stored.
_NEEDED = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
           "PixelRepresentation")
_DAMAGED = "this DICOM file is damaged or cut off before its end; export it again from where it came"


@dataclass(frozen=True, eq=False)
class DicomImage:
    """One frame as a reader sees it: float32 [H, W] or [3, H, W] in [0,1], white is dense.

    `steps` is 255 where the pixels are whole n/255, else 65535; `frame` counts from 1.
    """

    pixels: np.ndarray = field(repr=False)
    stored_units: StoredUnits | None
    modality: str
    notes: tuple[str, ...]
    steps: int = 65535
    frame: int = 1
    frames: int = 1


def looks_like_dicom(data: bytes) -> bool:
    """Whether the bytes start like DICOM, with its preamble or without."""
    if data[128:132] == b"DICM":
        return True
    group, element = int.from_bytes(data[0:2], "little"), int.from_bytes(data[2:4], "little")
    return len(data) > 16 and ((group == 2 and element <= 0x16) or (group == 8 and element <= 0x60))


def picture_size(path: Path) -> tuple[int, int]:
    """The width and height that a DICOM file says its picture has; raises EngineError."""
    try:
        source = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
        width, height = int(source.Columns), int(source.Rows)
    except Exception:  # as in read_dicom
        raise EngineError(_DAMAGED) from None
    if min(width, height) < 1:
        raise EngineError(_DAMAGED)
    return width, height


@enough_memory("this DICOM file")
def read_dicom(data: bytes, frame: int | None = None) -> DicomImage:
    """The picture in a DICOM file's bytes, as its (first) window shows it; `frame` counts from 1 (default: the middle).

    Without a window, 8-bit images are shown as they are and others between percentiles 0.5 and 99.5.
    Raises EngineError where there is no picture, it is cut off, too large, or compressed in an unknown way.
    """
    try:
        return _read(data, frame)
    except (EngineError, MemoryError):
        raise
    except Exception:  # a hostile file can make a parser raise anything, and its message may quote the file
        raise EngineError(_DAMAGED) from None


def _read(data: bytes, wanted: int | None) -> DicomImage:
    if _DEFLATED in data:  # would be inflated, without limit, on opening
        data = _inflated(data)
    source = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=list(_TAGS))
    if "PixelData" not in source:
        if b"\xe0\x7f\x10\x00" in data:  # the pixels begin, and do not end
            raise EngineError(_DAMAGED)
        raise EngineError("this DICOM file holds no picture (a report or a plan, perhaps); choose one with an image")
    if missing := [name for name in _NEEDED if source.get(name) in (None, "")]:
        raise EngineError(f"this DICOM file does not say how its picture is stored ({', '.join(missing)}); export it "
                          "again from where it came")
    try:  # twice: as it is stored, and with its colours or bits changed
        check_size(int(source.Columns), int(source.Rows), 2 * _bytes_each(source))
    except EngineError as error:
        raise EngineError(f"this DICOM picture cannot be read: {error}") from None
    frames = max(1, int(source.get("NumberOfFrames") or 1))
    frame = wanted if wanted is not None else (frames + 1) // 2
    if not 1 <= frame <= frames:
        raise EngineError(f"this DICOM file has no frame {frame}; choose one from 1 to {frames}")
    decoded = _decode(source, frame - 1, frames)
    modality = str(source.get("Modality", ""))
    image = _shown(decoded, source, frame - 1)
    notes = list(image.notes)
    if frames > 1:
        notes.insert(0, f"this file holds {frames} frames; frame {frame} is shown")
    if source.get("BurnedInAnnotation") == "YES":
        notes.append("text may be burned into this picture; look for names before you share it")
    return replace(image, modality=modality if modality in MODALITIES else "other", notes=tuple(notes), frame=frame,
                   frames=frames)


_DEFLATED, _PLAIN = uid.DeflatedExplicitVRLittleEndian.encode(), uid.ExplicitVRLittleEndian.encode()


def _inflated(data: bytes) -> bytes:
    """A file that is deflated as a whole, undeflated; raises EngineError where too much comes out."""
    start = 144 + int.from_bytes(data[140:144], "little")  # group 2 begins with its length
    head = data[:start].replace(_DEFLATED, _PLAIN.ljust(len(_DEFLATED), b"\0"))
    try:
        body = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:], MAX_DECODED // 2 + 1)
    except zlib.error:
        raise EngineError("this DICOM file is deflated as a whole, and damaged; export it without that compression"
                          ) from None
    if len(body) > MAX_DECODED // 2 or data[128:136] != b"DICM\2\0\0\0" or _DEFLATED in head + body:
        raise EngineError("this DICOM file is deflated as a whole, and unpacks to too much; export it without that "
                          "compression")
    return head + body


def _bytes_each(source: Dataset) -> int:
    return int(source.SamplesPerPixel) * math.ceil(int(source.BitsAllocated) / 8)


def _syntax(source: Dataset) -> uid.UID:
    if named := source.file_meta.get("TransferSyntaxUID"):
        return uid.UID(named)
    implicit, little = source.original_encoding
    return (uid.ImplicitVRLittleEndian if implicit else
            uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian)


def _decode(source: Dataset, index: int, frames: int) -> np.ndarray:
    """Frame `index` as stored integers [H, W], or [H, W, 3] in RGB."""
    syntax = _syntax(source)
    if syntax in NATIVE:
        return get_decoder(syntax).as_array(source, index=index)[0]
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        kind = syntax.name if syntax.is_transfer_syntax and not syntax.is_private else "an unknown way"
        raise EngineError(f"this DICOM picture is compressed in a way that is not read here ({kind}); "
                          "export it uncompressed") from None
    # GDCM last: it crashes on damaged data.
    plugins = sorted(decoder.available_plugins, key=lambda name: (name == "gdcm", name != "pillow"))
    encoded = get_frame(source.PixelData, index, number_of_frames=frames)
    plain = int(source.Rows) * int(source.Columns) * _bytes_each(source)
    if syntax == uid.RLELossless and len(encoded) > plain + plain // 64 + 4096:  # more than RLE can need: a bomb
        raise EngineError(_DAMAGED)
    for decode in (_decode_here, _decode_apart):
        if (decoded := decode(decoder, plugins, source, encoded, index)) is not None:
            return decoded
    raise EngineError(_undecoded(decoder, plugins))


def _undecoded(decoder: Decoder, tried: list[str]) -> str:
    more = [needed.partition(" requires ")[2].replace("gdcm", "python-gdcm") for needed in decoder.missing_dependencies]
    install = f" or install {' or '.join(filter(None, more))}" if any(more) else ""
    reason = f"damaged, or of a kind that {' and '.join(tried)} cannot decode" if tried else "nothing here decodes it"
    return f"this DICOM picture is compressed ({decoder.UID.name}) and {reason}; export it uncompressed{install}"


def _decode_here(decoder: Decoder, plugins: list[str], source: Dataset, encoded: bytes, index: int
                 ) -> np.ndarray | None:
    """By Pillow, which is quick; None where it cannot."""
    if "pillow" not in plugins:
        return None
    try:
        # The codestream has a size of its own, which nothing has limited yet.
        with Image.open(io.BytesIO(encoded), formats=("JPEG", "JPEG2000")) as header:
            if header.size != (source.Columns, source.Rows):
                return None
        return decoder.as_array(source, index=index, decoding_plugin="pillow")[0]
    except MemoryError:
        raise
    except Exception:  # as a hostile frame may bring about: another decoder may do
        return None


def _decode_apart(decoder: Decoder, plugins: list[str], source: Dataset, encoded: bytes, index: int
                  ) -> np.ndarray | None:
    """By the others, in a process of its own that may crash, with limits to its time and memory: RLE, too, unpacks to
    more than the picture. None where none of them can."""
    others = [name for name in plugins if name != "pillow"]
    if not others:
        return None
    options = {
        "plugins": others, "transfer_syntax": str(decoder.UID), "rows": int(source.Rows),
        "columns": int(source.Columns), "number_of_frames": 1, "samples_per_pixel": int(source.SamplesPerPixel),
        "bits_allocated": int(source.BitsAllocated), "bits_stored": int(source.BitsStored),
        "pixel_representation": int(source.PixelRepresentation),
        "photometric_interpretation": str(source.PhotometricInterpretation), "pixel_keyword": "PixelData",
        "planar_configuration": int(source.get("PlanarConfiguration") or 0),
    }
    sent = json.dumps(options).encode() + b"\n" + encapsulate([encoded])
    try:
        child = subprocess.run([sys.executable, "-P", str(CHILD)], input=sent, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, timeout=CHILD_SECONDS,
                               env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    except subprocess.TimeoutExpired:
        return None
    return None if child.returncode else np.load(io.BytesIO(child.stdout), allow_pickle=False)


def _shown(decoded: np.ndarray, source: Dataset, index: int) -> DicomImage:
    kind = str(source.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        decoded = apply_color_lut(decoded, source)
        return _coloured(decoded, 8 * decoded.dtype.itemsize)
    if decoded.ndim == 3:
        return _coloured(decoded, int(source.BitsStored))
    return _grey(decoded, source, index, inverted=kind == "MONOCHROME1")


def _coloured(decoded: np.ndarray, bits: int) -> DicomImage:
    # In place, as what follows in _grey: a large picture in float32 is not wanted three times.
    pixels = np.ascontiguousarray(decoded.transpose(2, 0, 1)).astype(np.float32)
    pixels /= np.float32(2**bits - 1)
    np.clip(pixels, 0, 1, out=pixels)
    return DicomImage(pixels, None, "", (), 255 if bits == 8 else 65535)


def _grey(stored: np.ndarray, source: Dataset, index: int, inverted: bool) -> DicomImage:
    slope = _number(_element(source, index, "RescaleSlope", "PixelValueTransformationSequence")) or 1.0
    intercept = _number(_element(source, index, "RescaleIntercept", "PixelValueTransformationSequence")) or 0.0
    has_table = bool(source.get("ModalityLUTSequence"))
    if has_table:
        slope, intercept = 1.0, 0.0
        values = apply_modality_lut(stored, source)
    elif (slope, intercept) == (1.0, 0.0):
        values = stored
    else:
        values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)

    notes: list[str] = []
    range_ = _window(source, index)
    curve = str(_element(source, index, "VOILUTFunction", "FrameVOILUTSequence") or "LINEAR")
    if range_ is None and source.get("VOILUTSequence") and np.issubdtype(values.dtype, np.integer):
        looked_up = apply_voi(values, source).astype(np.float32)
        depth = min(16, max(1, int(source.VOILUTSequence[0].LUTDescriptor[2])))
        pixels, units = np.clip(looked_up / np.float32(2**depth - 1), 0, 1), None
    elif range_ is not None and curve == "SIGMOID":
        centre, width = sum(range_) / 2, range_[1] - range_[0]
        pixels, units = _sigmoid(values, centre, width), None
    else:
        if range_ is None:
            range_, note = _own_range(values, stored, source)
            notes += [note] if note else []
        low, high = range_
        pixels = values.astype(np.float32)
        pixels -= np.float32(low)
        pixels /= np.float32(high - low)
        np.clip(pixels, 0, 1, out=pixels)
        units = _units(low, high, slope, intercept, has_table, source)
    np.nan_to_num(pixels, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
    steps = 255 if range_ == (0.0, 255.0) and values is stored and units else 65535
    if inverted:
        pixels = np.float32(1) - pixels
        units = units and StoredUnits(units.name, units.offset + units.scale, -units.scale)
    return DicomImage(pixels, units, "", tuple(notes), steps)


def _units(
    low: float, high: float, slope: float, intercept: float, has_table: bool, source: Dataset
) -> StoredUnits | None:
    if source.get("Modality") == "CT" and not has_table and _is_calibrated(source):
        return StoredUnits("HU", low, high - low)
    return None if has_table else StoredUnits("stored value", (low - intercept) / slope, (high - low) / slope)


def _is_calibrated(source: Dataset) -> bool:
    return "RescaleIntercept" in source or "SharedFunctionalGroupsSequence" in source


def _sigmoid(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(-4 * (values.astype(np.float32) - np.float32(centre)) / np.float32(width), -80, 80)))


def _element(source: Dataset, index: int, keyword: str, group: str) -> Any:
    """An element of the image, or in enhanced multi-frame files of the frame's or the shared functional group."""
    if source.get(keyword) is not None:
        return source[keyword].value
    per_frame = source.get("PerFrameFunctionalGroupsSequence") or []
    shared = source.get("SharedFunctionalGroupsSequence") or []
    for groups in (*per_frame[index : index + 1], *shared[:1]):
        for item in (groups.get(group) or [])[:1]:
            if item.get(keyword) is not None:
                return item[keyword].value
    return None


def _number(value: Any) -> float | None:
    """The first of one or several numbers, or None where there is none that is finite."""
    if isinstance(value, (list, tuple, pydicom.multival.MultiValue)):
        value = value[0] if len(value) else None
    number = float(value) if value not in (None, "") else math.nan
    return number if math.isfinite(number) else None


def _window(source: Dataset, index: int) -> tuple[float, float] | None:
    """The values that the first window shows black and white (DICOM PS3.3 C.11.2.1.2), or None."""
    centre = _number(_element(source, index, "WindowCenter", "FrameVOILUTSequence"))
    width = _number(_element(source, index, "WindowWidth", "FrameVOILUTSequence"))
    if centre is None or width is None:
        return None
    if (_element(source, index, "VOILUTFunction", "FrameVOILUTSequence") or "LINEAR") == "LINEAR":
        centre, width = centre - 0.5, width - 1
    low, high = centre - width / 2, centre + width / 2
    return (low, high) if np.float32(high - low) > 0 and max(abs(low), abs(high)) < 1e9 else None


def _own_range(values: np.ndarray, stored: np.ndarray, source: Dataset) -> tuple[tuple[float, float], str]:
    """The values to show black and white where the file names none, and a note that says so."""
    bits, signed = int(source.BitsStored), bool(source.PixelRepresentation)
    if bits <= 8 and values is stored:
        low = -(2.0 ** (bits - 1)) if signed else 0.0
        return (low, low + 2.0**bits - 1), ""
    shown = values
    if (padding := source.get("PixelPaddingValue")) is not None and (inside := stored != padding).any():
        shown = values[inside]
    low, high = (float(v) for v in np.percentile(shown.ravel()[:: max(1, shown.size // 1_000_000)], (0.5, 99.5)))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if high <= low:
        high = low + 1
    return (low, high), f"the file names no window; values {low:.6g} to {high:.6g} are shown from black to white"
