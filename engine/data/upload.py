"""Single pictures that people bring along: recognised by content, kept under their digest, without identifiers."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from engine import digest
from engine.data.base import SIZE, StoredUnits
from engine.data.levels import fractions, levels_of, pieces, square
from engine.data.raster import enough_memory, open_raster, to_levels
from engine.data.scan import KEPT_DAMAGED, Frame, Scan, Shown, read_scan, whole, write_scan
from engine.data.stored import Stored, remarks, stored_of
from engine.data.windows import Look, Meaning, looked_at
from engine.disk import advice, replacing
from engine.errors import EngineError
from engine.home import home

MAX_BYTES = 64 * 2**20  # of a picture
MOST_FILES, MOST_BYTES = 4000, 1024 * 2**20  # of a series, together and unpacked
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
RASTER_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
Read = TypeVar("Read")
DISTORTED = 1.1  # a side ratio beyond which stretching to a square is worth a word


@dataclass(frozen=True, eq=False)
class Upload:
    """A picture of the user's. `digest` identifies everything else here; `frame` counts from 1.

    `image` is what models see: float32 [1, 224, 224] in [0,1], grey, stretched to the square; whole n/255 where the
    file has 8 bits. `levels` is [C, H, W] in its own resolution: uint8 of 255 `steps`, or uint16 of 65535, whose pixels
    are `aspect` times higher than wide. `stored`: how a picture like it is written in the values of its file.
    """

    image: np.ndarray = field(repr=False)
    levels: np.ndarray = field(repr=False)
    steps: int
    stored_units: StoredUnits | None
    notes: tuple[str, ...]
    modality: str
    frame: int
    frames: int
    aspect: float = 1.0
    stored: Stored | None = field(default=None, repr=False)

    @property
    def full(self) -> np.ndarray:
        """`levels` as float32 in [0,1]."""
        return fractions(self.levels, self.steps)

    @property
    def upright(self) -> np.ndarray:
        """`full` with pixels as high as wide."""
        if self.aspect == 1:
            return self.full
        height, width = round(self.levels.shape[1] * self.aspect), self.levels.shape[2]
        return np.stack([np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR))
                         for channel in self.full]).clip(0, 1)

    @property
    def facts(self) -> dict[str, object]:
        """Everything but the pixels, JSON-able."""
        return {"steps": self.steps, "stored_units": self.stored_units and asdict(self.stored_units),
                "notes": list(self.notes), "modality": self.modality, "frame": self.frame, "frames": self.frames}

    @cached_property
    def digest(self) -> str:
        # That of (image, full), which is four times as large as the levels and never made as a whole here.
        full = (fractions(piece, self.steps) for channel in self.levels for piece in pieces(channel))
        pixels = digest.of_pieces((self.image.shape, [self.image]), (self.levels.shape, full))
        return digest.of_spec({**self.facts, "pixels": pixels})


@enough_memory("this file")
def read_upload(data: bytes, suffix_hint: str = "", frame: int | None = None, window: str = "") -> Upload:
    """The picture in a file's bytes, PNG, JPEG, BMP, TIFF or DICOM whatever its name says.

    `suffix_hint` such as ".dcm" decides only where the content does not; `frame` counts from 1 (default: the middle
    one of a multi-frame DICOM), and `window` is how a DICOM is looked at (`windows.looked_at`). Raises EngineError.
    """
    _check_size(data)
    if _is_raster(data):
        return _from_raster(data)
    if _is_dicom(data, suffix_hint):
        from engine.data.dicom import read_dicom

        image = read_dicom(data, frame, window)
        return _as_upload(image.stored, image.shown, image.notes, image.frame, image.frames)
    raise EngineError("this file is no picture that is read here; choose a PNG, JPEG, BMP, TIFF or DICOM file")


def _check_size(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise EngineError(f"this file has {len(data) / 2**20:.0f} MiB, and at most {MAX_BYTES // 2**20} are read")
    if not data:
        raise EngineError("this file is empty; choose another")


def _is_raster(data: bytes) -> bool:
    return data[128:132] != b"DICM" and data.startswith(RASTER_STARTS)


def _is_zip(data: bytes) -> bool:
    return data[128:132] != b"DICM" and data.startswith(ZIP_STARTS)


def _is_dicom(data: bytes, suffix_hint: str) -> bool:
    from engine.data.dicom import looks_like_dicom  # pydicom takes a while to import

    return looks_like_dicom(data) or suffix_hint.lower() == ".dcm"


def is_private(data: bytes, suffix_hint: str = "") -> bool:
    """Whether a file may be a patient's, so that not even its name is to be shown."""
    return _is_zip(data) or (not _is_raster(data) and _is_dicom(data, suffix_hint))


@enough_memory("this file")
def take_upload(files: Sequence[tuple[bytes, str]]) -> str:
    """Read and keep what somebody brings along, and return its digest: a picture, a DICOM file with all its frames, or,
    as several files or as a ZIP, the slices of a series. Each file has its bytes and its name's suffix. Raises
    EngineError."""
    if not files:
        raise EngineError("there is no file; choose a picture, a ZIP or a folder of slices")
    if len(files) > MOST_FILES or sum(len(data) for data, _ in files) > MOST_BYTES:
        raise EngineError(f"these are more than {MOST_FILES:,} files, or more than {MOST_BYTES // 2**20:,} MiB; choose "
                          "fewer slices")
    data, suffix = files[0]
    if len(files) > 1:
        return save_scan(_series(data for data, _ in files))
    if _is_zip(data):
        from engine.data.series import unzipped

        return save_scan(_series(unzipped(data)))
    _check_size(data)
    if _is_raster(data) or not _is_dicom(data, suffix):
        return save_upload(read_upload(data, suffix))
    from engine.data.dicom import scan_in

    return save_scan(scan_in(data))


def _series(files: Iterable[bytes]) -> Scan:
    from engine.data.series import series_in

    return series_in(files)


def read_limited(path: Path) -> Upload:
    """The picture in a file on this machine, as `read_upload` reads its bytes; raises EngineError, which names it."""
    return _read_from(path, lambda data: read_upload(data, path.suffix))


def frame_in(path: Path) -> Frame:
    """What is stored in a DICOM file on this machine, of several frames in the middle one; raises as `read_limited`."""
    from engine.data.dicom import read_dicom

    def read(data: bytes) -> Frame:
        _check_size(data)
        return read_dicom(data).stored

    return _read_from(path, read)


def _read_from(path: Path, read: Callable[[bytes], Read]) -> Read:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise EngineError(f"{path.name} cannot be read ({error.strerror}); put it back, change its permissions, or "
                          "choose another picture") from None
    try:
        return read(data)
    except EngineError as error:
        raise EngineError(f"{path.name} cannot be read: {error}") from None


def _from_raster(data: bytes) -> Upload:
    return _upload(to_levels(open_raster(data)), None, (), "", 1, 1)


def _as_upload(frame: Frame, shown: Shown, notes: Sequence[str], number: int, frames: int) -> Upload:
    levels = levels_of(shown.pixels, shown.steps)
    header, writable = frame.header, stored_of(frame, shown)
    return _upload(levels, shown.stored_units, (*notes, *remarks(frame, writable)), header.modality, number, frames,
                   header.aspect, writable)


def _upload(levels: np.ndarray, units: StoredUnits | None, notes: Sequence[str], modality: str, frame: int,
            frames: int, aspect: float = 1.0, stored: Stored | None = None) -> Upload:
    return Upload(square(levels), levels, 255 if levels.dtype == np.uint8 else 65535, units,
                  (*notes, *_remarks(levels, aspect)), modality, frame, frames, aspect, stored)


def _remarks(levels: np.ndarray, aspect: float) -> Iterator[str]:
    height, width = levels.shape[1:]
    tall = height * aspect
    higher = "" if aspect == 1 else f", of pixels {aspect:.3g} times higher than wide,"
    if max(width, tall) > DISTORTED * min(width, tall):
        yield f"the picture is {width} x {height}{higher} and is stretched to a square, as the training pictures were"
    if min(width, height) < SIZE // 2:
        yield f"the picture is only {width} x {height} and is enlarged"
    if (levels != levels[:1]).any():
        yield "the picture is in colour, and models see it in grey"
    if levels.min() == levels.max():
        yield "every pixel has the same value: there is nothing to see in this picture"


def _path(name: str) -> Path:
    if not re.fullmatch(r"[0-9a-f]{64}", name):
        raise EngineError("this is no upload's digest; upload the picture again")
    return home() / "uploads" / f"{name}.npz"


def save_upload(upload: Upload) -> str:
    """Keep an upload in the home folder and return its digest; raises EngineError where that cannot be written."""
    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            np.savez(file, image=upload.image, full=upload.levels, facts=np.array(json.dumps(upload.facts)))

    _keep(_path(upload.digest), write)
    return upload.digest


def save_scan(scan: Scan) -> str:
    """Keep a scan in the home folder and return its digest; raises EngineError where that cannot be written."""
    _keep(_path(scan.digest), lambda aside: write_scan(scan, aside))
    return scan.digest


def _keep(path: Path, write: Callable[[Path], None]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(path) as aside:  # even where there is one already: it may be damaged
            aside.touch(mode=0o600)  # nobody else is to look at it
            write(aside)
    except OSError as error:
        raise EngineError(f"the upload cannot be kept in {path.parent} {advice(error)}") from None


@dataclass(frozen=True)
class Choices:
    """What of a kept upload there is to choose: a `kind` ("frame" or "slice") of so many, counted from 1, of which
    `middle` is shown first, and the ways of looking at the one that is `shown` (None: it is shown as it is)."""

    kind: str = "frame"
    frames: int = 1
    middle: int = 1
    shown: Frame | None = None

    @property
    def windows(self) -> Mapping[str, str]:
        """The ways of looking at it by their names, with words for each."""
        return {} if self._meaning is None else self._meaning.offered

    @property
    def unit(self) -> str:
        """What windows are told in."""
        return "HU" if self._meaning is not None and self._meaning.unit == "HU" else "value"

    def look(self, name: str) -> Look:
        """What a window's name or numbers stand for; raises EngineError."""
        if self.shown is None or self._meaning is None:
            raise EngineError("this upload is shown as it is, without a window")
        with whole():
            return looked_at(self._meaning, self.shown.stored, name)

    @property
    def _meaning(self) -> Meaning | None:
        return None if self.shown is None else self.shown.meaning


@enough_memory("this kept upload")
def choices_of(name: str, frame: int = 0) -> Choices:
    """What there is to choose of the upload kept under this digest; raises EngineError."""
    kept = _kept(name)
    if not isinstance(kept, Scan):
        return Choices()
    return Choices(kept.kind, len(kept), kept.middle, kept.frame(frame))


@enough_memory("this kept upload")
def load_upload(name: str, frame: int = 0, window: str = "") -> Upload:
    """The upload kept under this digest, of several frames that one (0: the middle one), looked at through that window
    (`windows.looked_at`); raises EngineError where there is none, or it is damaged."""
    kept = _kept(name)
    if isinstance(kept, Scan):
        number = frame or kept.middle
        notes = [f"{kept.kind} {number} of {len(kept)} is shown"] if len(kept) > 1 else []
        chosen = kept.frame(number)
        with whole():
            shown = chosen.shown(window)
        return _as_upload(chosen, shown, [*notes, *shown.notes, *kept.notes], number, len(kept))
    if window or frame > 1:
        raise EngineError("this upload is one picture and is shown as it is; leave frame and window out")
    return kept


def _kept(name: str) -> Upload | Scan:
    """What is kept under this digest; raises EngineError."""
    path = _path(name)
    try:
        with np.load(path, allow_pickle=False) as kept:
            upload = read_scan(path) if "scan" in kept else _upload_in(kept)
    except FileNotFoundError:
        raise EngineError("this upload is not kept here (any more); upload the picture again") from None
    except OSError as error:
        raise EngineError(f"this kept upload cannot be read ({error.strerror}); upload the picture again") from None
    except Exception:  # whatever a file cut short or overwritten brings about
        raise EngineError(KEPT_DAMAGED) from None
    with whole():  # what is no array has no digest
        if upload.digest != name:
            raise EngineError(KEPT_DAMAGED)
    return upload


def _upload_in(kept: Mapping[str, np.ndarray]) -> Upload:
    facts = json.loads(str(kept["facts"]))
    units = facts["stored_units"] and StoredUnits(**facts["stored_units"])
    return Upload(kept["image"], kept["full"], facts["steps"], units,
                  tuple(facts["notes"]), facts["modality"], facts["frame"], facts["frames"])
