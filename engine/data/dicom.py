"""DICOM images, of which only the picture is kept: no identifier is parsed, returned, logged or named in an error."""

import io
import logging
import warnings
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from engine.data.base import StoredUnits
from engine.data.dicom_pixels import DAMAGED, Decoders, bytes_each, decoded, decoding, frames_in
from engine.data.header import MODALITIES, SIDES, VIEWS
from engine.data.raster import MAX_DECODED, check_size, enough_memory
from engine.data.scan import Frame, Header, Scan, Shown, scan_of, thinned
from engine.data.windows import Meaning, Table, Window, finite
from engine.errors import EngineError

# pydicom's complaints quote what they complain about, a patient's name perhaps, and a server's log would keep them.
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)

# What words of a header may be, besides those of `header`: DICOM's own, which tell nothing about a person.
BODY_PARTS = {"ABDOMEN", "ANKLE", "BRAIN", "BREAST", "CHEST", "CSPINE", "ELBOW", "FOOT", "HAND", "HEAD", "HEART", "HIP",
              "KNEE", "LSPINE", "LUNG", "NECK", "PELVIS", "SHOULDER", "SKULL", "TSPINE", "WHOLEBODY", "WRIST"}

# Everything that is read; all other elements, names and numbers of patients among them, are skipped. The series' number
# is compared, never kept.
_TAGS = [
    "SOPClassUID", "Modality", "BurnedInAnnotation", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PlanarConfiguration", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData",
    "SeriesInstanceUID", "InstanceNumber", "SliceLocation", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio", "SliceThickness", "BodyPartExamined", "ViewPosition",
    "ImageLaterality", "Laterality", "LossyImageCompression",
    *(name for colour in ("Red", "Green", "Blue") for name in (
        f"{colour}PaletteColorLookupTableDescriptor", f"{colour}PaletteColorLookupTableData",
        f"Segmented{colour}PaletteColorLookupTableData")),
]
# What says how the pixels are stored.
_NEEDED = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
           "PixelRepresentation")
MOST_FRAMES, MOST_WINDOWS = 4000, 16  # that are taken from a file
# What a header may have, of 4,000 frames that each say all about themselves: pieces; items, of its sequences and of the
# compressed pixels; bytes of a value (a look-up table), and of all sequences and tables of offsets together.
MOST_PIECES, MOST_ITEMS, MOST_VALUE, MOST_SEQUENCES = 800_000, 100_000, 2**17, 8 * 2**20
_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # how an item begins, in either order of bytes
BURNED_IN = "text may be burned into this picture; look for names before you share it"


@dataclass(frozen=True, eq=False)
class DicomImage:
    """One frame as a reader sees it: float32 [H, W] or [3, H, W] in [0,1], white is dense.

    `steps` is 255 where the pixels are whole n/255, else 65535; `frame` counts from 1. `stored` is what it was made of,
    and `shown` what it was made into.
    """

    pixels: np.ndarray = field(repr=False)
    stored_units: StoredUnits | None
    modality: str
    notes: tuple[str, ...]
    stored: Frame = field(repr=False)
    shown: Shown = field(repr=False)
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
        source = head_of(path, ("Rows", "Columns"))
        width, height = int(source.Columns), int(source.Rows)
    except Exception:  # as in read_dicom
        raise EngineError(DAMAGED) from None
    if min(width, height) < 1:
        raise EngineError(DAMAGED)
    return width, height


@enough_memory("this DICOM file")
def read_dicom(data: bytes, frame: int | None = None, window: str = "", decoders: Decoders | None = None) -> DicomImage:
    """The picture in a DICOM file's bytes, as its (first) window shows it, or another (`windows.looked_at`); `frame`
    counts from 1 (default: the middle).

    Without a window, 8-bit images are shown as they are and others between percentiles 0.5 and 99.5.
    Raises EngineError where there is no picture, it is cut off, too large, or compressed in an unknown way.
    """
    with decoding() as own:
        try:
            return _read(data, frame, window, decoders or own)
        except (EngineError, MemoryError):
            raise
        except Exception:  # a hostile file can make a parser raise anything, and its message may quote the file
            raise EngineError(DAMAGED) from None


def _read(data: bytes, wanted: int | None, window: str, decoders: Decoders) -> DicomImage:
    source = opened(data)
    frames = frames_in(source)
    number = wanted if wanted is not None else (frames + 1) // 2
    if not 1 <= number <= frames:
        raise EngineError(f"this DICOM file has no frame {number}; choose one from 1 to {frames}")
    frame = frame_of(source, number - 1, decoders)
    shown = frame.shown(window)
    notes = [*shown.notes, *_warnings(frame.header)]
    if frames > 1:
        notes.insert(0, f"this file holds {frames} frames; frame {number} is shown")
    pixels = shown.pixels if len(shown.pixels) == 3 else shown.pixels[0]
    return DicomImage(pixels, shown.stored_units, frame.header.modality, tuple(notes), frame, shown, shown.steps,
                      number, frames)


def _warnings(header: Header) -> list[str]:
    return [BURNED_IN] if header.burned_in else []


@enough_memory("this DICOM file")
def scan_in(data: bytes) -> Scan:
    """All frames of a DICOM file, or as many as there is room for, evenly spread; raises EngineError."""
    with decoding() as decoders:
        try:
            source = opened(data)
            there, each = frames_in(source), int(source.Rows) * int(source.Columns) * bytes_each(source)
            chosen = thinned(range(there), min(MOST_FRAMES, MAX_DECODED // each))
            frames, failed = _all(source, chosen, decoders)
        except (EngineError, MemoryError):
            raise
        except Exception:  # as in read_dicom
            raise EngineError(DAMAGED) from None
    notes = _warnings(frames[0].header)
    if len(chosen) < there:
        notes.append(f"of its {there} frames {len(chosen)} are kept, evenly spread: all of them take too much room")
    if failed:
        notes.append(f"{failed} of its frames cannot be read and are left out")
    return scan_of(frames, notes, "frame")


def _all(source: Dataset, chosen: Sequence[int], decoders: Decoders) -> tuple[list[Frame], int]:
    """Those of the frames that can be read, and how many cannot; raises EngineError where none can."""
    frames: list[Frame] = []
    last, room = EngineError(DAMAGED), 2 * MAX_DECODED
    for index in chosen:
        try:
            frames.append(frame_of(source, index, decoders))
        except EngineError as error:
            last = error
        except MemoryError:
            raise
        except Exception:  # as in read_dicom
            continue
        else:
            room -= frames[-1].room
            if room < 0:
                raise EngineError("the frames of this DICOM file take too much room; export fewer of them")
    if not frames:
        raise last
    return frames, len(chosen) - len(frames)


def opened(data: bytes) -> Dataset:
    """What is read of a DICOM file, checked for what it asks for, its pixels still as they are; raises EngineError, and
    anything else where it is damaged."""
    source = _begun(data, specific_tags=list(_TAGS))
    _check_header(source)
    if "PixelData" not in source:
        if b"\xe0\x7f\x10\x00" in data:  # the pixels begin, and do not end
            raise EngineError(DAMAGED)
        raise EngineError("this DICOM file holds no picture (a report or a plan, perhaps); choose one with an image")
    if missing := [name for name in _NEEDED if source.get(name) in (None, "")]:
        raise EngineError(f"this DICOM file does not say how its picture is stored ({', '.join(missing)}); export it "
                          "again from where it came")
    try:  # twice: as it is stored, and with its colours or bits changed
        check_size(int(source.Columns), int(source.Rows), 2 * bytes_each(source))
    except EngineError as error:
        raise EngineError(f"this DICOM picture cannot be read: {error}") from None
    return source


_TOO_MUCH = "this DICOM file has more in its header than any picture needs; export it again from where it came"


def head_of(path: Path, names: Collection[str], others: bool = False) -> Dataset:
    """What a file says under these names before its pixels, checked as by `opened`, and with `others` whatever else its
    head has, which must not be looked into; raises OSError, and otherwise as `opened`."""
    with path.open("rb") as file:
        data = file.read(MAX_DECODED)
    source = _begun(data, stop_before_pixels=True, specific_tags=None if others else list(names))
    _check_header(source, names)
    return source


def _begun(data: bytes, **options: Any) -> Dataset:
    """A file's elements, taken apart within limits."""
    if _DEFLATED in data:  # would be inflated, without limit, on opening
        data = _inflated(data)
    if max(map(data.count, _ITEMS)) > MOST_ITEMS:
        raise EngineError(_TOO_MUCH)
    return pydicom.dcmread(_Counted(data), force=True, **options)


class _Counted(io.BytesIO):
    """A file of which only so many pieces are read: each takes pydicom a moment, and millions fit into a file."""

    _pieces = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._pieces += 1
        if self._pieces > MOST_PIECES:
            raise EngineError(_TOO_MUCH)
        return super().read(size)


def _check_header(source: Dataset, names: Collection[str] | None = None) -> None:
    """Raise EngineError where what was read of a header (under these names), and not yet looked into, takes too long to
    look into."""
    sequences = 0
    for tag, element in source.items():  # as they were read, nothing taken apart
        keyword = keyword_for_tag(tag)
        if keyword == "PixelData" or not isinstance(element, RawDataElement):
            continue
        if names is not None and keyword not in names:
            continue
        size, nested = len(element.value or b""), keyword.endswith("Sequence")
        long = nested or keyword.startswith("ExtendedOffset")
        sequences += size * long
        several = nested and element.VR not in ("SQ", "UN", None)  # would be taken apart as a list
        if sequences > MOST_SEQUENCES or (size > MOST_VALUE and not long) or several:
            raise EngineError(_TOO_MUCH)


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


def frame_of(source: Dataset, index: int, decoders: Decoders) -> Frame:
    """Frame `index`, from 0, of an opened file; raises as `opened` does."""
    pixels, header = decoded(source, index, decoders), _header(source, index)
    if str(source.PhotometricInterpretation) == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, source)
        return Frame(pixels, 8 * pixels.dtype.itemsize, None, header)
    bits = int(source.BitsStored)
    if not 1 <= bits <= 8 * pixels.dtype.itemsize:
        raise EngineError(DAMAGED)
    return Frame(pixels, bits, None if pixels.ndim == 3 else _meaning(source, index, bits), header)


def _meaning(source: Dataset, index: int, bits: int) -> Meaning:
    def number(keyword: str) -> float | None:
        return next(iter(_numbers(_element(source, index, keyword, "PixelValueTransformationSequence"))), None)

    table = _tables(source, "ModalityLUTSequence")[:1]
    slope, intercept = (1.0, 0.0) if table else (number("RescaleSlope") or 1.0, number("RescaleIntercept") or 0.0)
    calibrated = "RescaleIntercept" in source or "SharedFunctionalGroupsSequence" in source
    return Meaning(
        bits, bool(source.PixelRepresentation), str(source.PhotometricInterpretation) == "MONOCHROME1",
        slope, intercept, table[0] if table else None,
        "HU" if source.get("Modality") == "CT" and not table and calibrated else "stored value",
        _windows(source, index), _tables(source, "VOILUTSequence"), _padding(source))


def _windows(source: Dataset, index: int) -> tuple[Window, ...]:
    """The file's windows, but for those that show nothing."""
    centres, widths = (_numbers(_element(source, index, keyword, "FrameVOILUTSequence"))
                       for keyword in ("WindowCenter", "WindowWidth"))
    curve = str(_element(source, index, "VOILUTFunction", "FrameVOILUTSequence") or "LINEAR")
    kind = {"LINEAR_EXACT": "linear-exact", "SIGMOID": "sigmoid"}.get(curve, "linear")
    windows = []
    for centre, width in list(zip(centres, widths, strict=False))[:MOST_WINDOWS]:
        try:
            windows.append(Window(centre, width, kind))
        except EngineError:
            continue
    return tuple(windows)


def _tables(source: Dataset, keyword: str) -> tuple[Table, ...]:
    little = source.original_encoding[1] is not False
    return tuple(_table(item, little) for item in (source.get(keyword) or [])[:MOST_WINDOWS])


def _table(item: Dataset, little: bool) -> Table:
    length, first, bits = (int(number) for number in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):
        single = len(data) in (length, length + 1) and bits <= 8
        data = np.frombuffer(data, "u1" if single else "<u2" if little else ">u2").tolist()
    values = tuple(int(value) for value in (data if isinstance(data, Sequence) else [data])[: length or 65536])
    if not values or not all(0 <= value <= 65535 for value in values):
        raise EngineError(DAMAGED)
    return Table(first, values, min(16, max(1, bits)))


def _padding(source: Dataset) -> tuple[int, int] | None:
    ends = [source.get(keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if not isinstance(ends[0], int):
        return None
    other = ends[1] if isinstance(ends[1], int) else ends[0]
    return min(ends[0], other), max(ends[0], other)


def _header(source: Dataset, index: int) -> Header:
    def word(keyword: str, known: Collection[str], otherwise: str = "") -> str:
        text = str(source.get(keyword) or "")
        return text if text in known else otherwise

    def numbers(keyword: str, group: str, several: int, most: float = 1000) -> tuple[float, ...] | None:
        """So many numbers, none larger than such a number may be: no date, for one."""
        found = tuple(_numbers(_element(source, index, keyword, group)))
        return found if len(found) == several and max(map(abs, found)) <= most else None

    spacing = numbers("PixelSpacing", "PixelMeasuresSequence", 2) or numbers("ImagerPixelSpacing", "", 2)
    if spacing is not None and min(spacing) <= 0:
        spacing = None
    ratio = spacing or numbers("PixelAspectRatio", "", 2)
    aspect = ratio[0] / ratio[1] if ratio and min(ratio) > 0 else 1.0
    thickness = numbers("SliceThickness", "PixelMeasuresSequence", 1)
    named = str(source.get("SOPClassUID") or "")
    return Header(
        named if uid.UID(named).name.endswith("Image Storage") else "",
        word("Modality", MODALITIES, "other"), word("BodyPartExamined", BODY_PARTS), word("ViewPosition", VIEWS),
        word("ImageLaterality", SIDES) or word("Laterality", SIDES),
        spacing, aspect if 0.1 <= aspect <= 10 else 1.0, thickness[0] if thickness else None,
        numbers("ImagePositionPatient", "PlanePositionSequence", 3, 10_000),
        numbers("ImageOrientationPatient", "PlaneOrientationSequence", 6, 1.01),
        {"YES": True, "NO": False}.get(str(source.get("BurnedInAnnotation"))),
        source.get("LossyImageCompression") == "01", str(source.PhotometricInterpretation) == "PALETTE COLOR")


def _element(source: Dataset, index: int, keyword: str, group: str) -> Any:
    """An element of the image, or in enhanced multi-frame files of the frame's or the shared functional group."""
    if source.get(keyword) is not None:
        return source[keyword].value
    per_frame = source.get("PerFrameFunctionalGroupsSequence") or []
    shared = source.get("SharedFunctionalGroupsSequence") or []
    for groups in (*per_frame[index : index + 1], *shared[:1]):
        for item in (groups.get(group) or [])[:1] if group else []:
            if item.get(keyword) is not None:
                return item[keyword].value
    return None


def _numbers(value: Any) -> list[float]:
    """One or several numbers as they come, up to the first that is none or is beyond all reason."""
    several = value if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else [value]
    found: list[float] = []
    for one in several:
        number = finite(float(one)) if one not in (None, "") else None
        if number is None:
            break
        found.append(number)
    return found
