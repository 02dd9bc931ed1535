"""Single pictures that people bring along: recognised by content, kept under their digest, without identifiers."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from engine import digest
from engine.data.base import SIZE, StoredUnits
from engine.data.raster import STRIP, enough_memory, grey, open_raster, resized, to_array, to_levels
from engine.disk import advice, replacing
from engine.errors import EngineError
from engine.home import home

MAX_BYTES = 64 * 2**20
RASTER_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
DISTORTED = 1.1  # a side ratio beyond which stretching to a square is worth a word


@dataclass(frozen=True, eq=False)
class Upload:
    """A picture of the user's. `digest` identifies everything else here; `frame` counts from 1.

    `image` is what models see: float32 [1, 224, 224] in [0,1], grey, stretched to the square; whole n/255 where the
    file has 8 bits. `levels` is [C, H, W] in its own resolution: uint8 of 255 `steps`, or uint16 of 65535.
    """

    image: np.ndarray = field(repr=False)
    levels: np.ndarray = field(repr=False)
    steps: int
    stored_units: StoredUnits | None
    notes: tuple[str, ...]
    modality: str
    frame: int
    frames: int

    @property
    def full(self) -> np.ndarray:
        """`levels` as float32 in [0,1]."""
        return _fractions(self.levels, self.steps)

    @property
    def facts(self) -> dict[str, object]:
        """Everything but the pixels, JSON-able."""
        return {"steps": self.steps, "stored_units": self.stored_units and asdict(self.stored_units),
                "notes": list(self.notes), "modality": self.modality, "frame": self.frame, "frames": self.frames}

    @cached_property
    def digest(self) -> str:
        # That of (image, full), which is four times as large as the levels and never made as a whole here.
        full = (_fractions(piece, self.steps) for channel in self.levels for piece in _pieces(channel))
        pixels = digest.of_pieces((self.image.shape, [self.image]), (self.levels.shape, full))
        return digest.of_spec({**self.facts, "pixels": pixels})


@enough_memory("this file")
def read_upload(data: bytes, suffix_hint: str = "", frame: int | None = None) -> Upload:
    """The picture in a file's bytes, PNG, JPEG, BMP, TIFF or DICOM whatever its name says.

    `suffix_hint` such as ".dcm" decides only where the content does not; `frame` counts from 1 (default: the middle
    one of a multi-frame DICOM). Raises EngineError.
    """
    if len(data) > MAX_BYTES:
        raise EngineError(f"this file has {len(data) / 2**20:.0f} MiB, and at most {MAX_BYTES // 2**20} are read")
    if not data:
        raise EngineError("this file is empty; choose another")
    if data[128:132] != b"DICM" and data.startswith(RASTER_STARTS):
        return _from_raster(data)

    from engine.data.dicom import looks_like_dicom  # pydicom takes a while to import

    if looks_like_dicom(data) or suffix_hint.lower() == ".dcm":
        return _from_dicom(data, frame)
    raise EngineError("this file is no picture that is read here; choose a PNG, JPEG, BMP, TIFF or DICOM file")


def read_limited(path: Path) -> Upload:
    """The picture in a file on this machine, as `read_upload` reads its bytes; raises EngineError, which names it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise EngineError(f"{path.name} cannot be read ({error.strerror}); put it back, change its permissions, or "
                          "choose another picture") from None
    try:
        return read_upload(data, path.suffix)
    except EngineError as error:
        raise EngineError(f"{path.name} cannot be read: {error}") from None


def _from_raster(data: bytes) -> Upload:
    return _upload(to_levels(open_raster(data)), None, (), "", 1, 1)


def _from_dicom(data: bytes, frame: int | None) -> Upload:
    from engine.data.dicom import read_dicom

    shown = read_dicom(data, frame)
    levels = _levels(shown.pixels if shown.pixels.ndim == 3 else shown.pixels[None], shown.steps)
    return _upload(levels, shown.stored_units, shown.notes, shown.modality, shown.frame, shown.frames)


def _upload(levels: np.ndarray, units: StoredUnits | None, notes: tuple[str, ...], modality: str, frame: int,
            frames: int) -> Upload:
    height, width = levels.shape[1:]
    return Upload(_square(levels), levels, 255 if levels.dtype == np.uint8 else 65535, units,
                  (*notes, *_remarks(levels, width, height)), modality, frame, frames)


def _levels(full: np.ndarray, steps: int) -> np.ndarray:
    levels = np.empty(full.shape, np.uint8 if steps == 255 else np.uint16)
    for from_, to in zip(full, levels, strict=True):
        for piece, place in zip(_pieces(from_), _pieces(to), strict=True):
            place[:] = np.rint(piece * np.float32(steps))
    return levels


def _pieces(channel: np.ndarray) -> Iterator[np.ndarray]:
    """Views of a few rows each: what is computed of a piece takes little memory."""
    return (channel[top:top + STRIP] for top in range(0, len(channel), STRIP))


def _fractions(levels: np.ndarray, steps: int) -> np.ndarray:
    return levels.astype(np.float32) / np.float32(steps)


def _square(levels: np.ndarray) -> np.ndarray:
    """Levels [C, H, W] (uint8 or uint16) as the picture that models see, made exactly as data sets make theirs."""
    plain = levels[0]
    if len(levels) == 3:
        plain = np.empty_like(levels[0])
        for place, *colours in zip(_pieces(plain), *map(_pieces, levels), strict=True):
            place[:] = _grey(np.stack(colours))
    return to_array(resized(Image.fromarray(plain), (SIZE, SIZE)))


def _grey(colours: np.ndarray) -> np.ndarray:
    if colours.dtype == np.uint8:
        return np.asarray(grey(Image.fromarray(np.ascontiguousarray(colours.transpose(1, 2, 0)))))
    return np.rint(np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), colours.astype(np.float32), 1))


def _remarks(levels: np.ndarray, width: int, height: int) -> Iterator[str]:
    if max(width, height) > DISTORTED * min(width, height):
        yield f"the picture is {width} x {height} and is stretched to a square, as the training pictures were"
    if min(width, height) < SIZE // 2:
        yield f"the picture is only {width} x {height} and is enlarged"
    if levels.min() == levels.max():
        yield "every pixel has the same value: there is nothing to see in this picture"


def _path(name: str) -> Path:
    if not re.fullmatch(r"[0-9a-f]{64}", name):
        raise EngineError("this is no upload's digest; upload the picture again")
    return home() / "uploads" / f"{name}.npz"


def save_upload(upload: Upload) -> str:
    """Keep an upload in the home folder and return its digest; raises EngineError where that cannot be written."""
    path = _path(upload.digest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(path) as aside:  # even where there is one already: it may be damaged
            aside.touch(mode=0o600)  # nobody else is to look at it
            with aside.open("wb") as file:
                np.savez(file, image=upload.image, full=upload.levels,
                         facts=np.array(json.dumps(upload.facts)))
    except OSError as error:
        raise EngineError(f"the upload cannot be kept in {path.parent} {advice(error)}") from None
    return upload.digest


@enough_memory("this kept upload")
def load_upload(name: str) -> Upload:
    """The upload kept under this digest; raises EngineError where there is none, or it is damaged."""
    path = _path(name)
    try:
        with np.load(path, allow_pickle=False) as kept:
            facts = json.loads(str(kept["facts"]))
            units = facts["stored_units"] and StoredUnits(**facts["stored_units"])
            upload = Upload(kept["image"], kept["full"], facts["steps"], units,
                            tuple(facts["notes"]), facts["modality"], facts["frame"], facts["frames"])
    except FileNotFoundError:
        raise EngineError("this upload is not kept here (any more); upload the picture again") from None
    except OSError as error:
        raise EngineError(f"this kept upload cannot be read ({error.strerror}); upload the picture again") from None
    except Exception:  # whatever a file cut short or overwritten brings about
        raise EngineError("this kept upload is damaged; upload the picture again") from None
    if upload.digest != name:
        raise EngineError("this kept upload is damaged; upload the picture again")
    return upload
