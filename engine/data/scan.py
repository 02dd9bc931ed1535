"""Frames as they are stored, of one file or of a series of slices: what is kept of DICOM, without whom it shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from engine import digest
from engine.data.base import StoredUnits
from engine.data.levels import levels_of, square
from engine.data.windows import Grid, Look, Meaning, Table, Window, grid_of, looked_at, shades, units_of
from engine.errors import EngineError

ENTRY = 64  # bytes that a number in a table takes
KEPT_DAMAGED = "this kept upload is damaged; upload the picture again"


@dataclass(frozen=True)
class Header:
    """What is kept of a header: numbers, and words from DICOM's own lists. None tells who it is, where, or when.

    `spacing` are the millimetres between rows and between columns, `aspect` how many times higher than wide a pixel is,
    `position` and `orientation` where the first pixel is and which way rows and columns go; `palette`: what is stored
    are places in a table of colours.
    """

    sop_class: str = ""
    modality: str = "other"
    body_part: str = ""
    view: str = ""
    laterality: str = ""
    spacing: tuple[float, ...] | None = None
    aspect: float = 1.0
    thickness: float | None = None
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    burned_in: bool | None = None
    lossy: bool = False
    palette: bool = False

    @property
    def before_sharing(self) -> str:
        """What must be looked for in the picture before a file with it is given away, in a sentence; or nothing."""
        if self.burned_in is False:
            return ""
        known = "says that text is burned into it" if self.burned_in else "does not say whether text is burned into it"
        return (f"The header of the DICOM file is de-identified, the picture is as it was, and the original {known}: "
                "look for names and dates in it before you share the file.")


@dataclass(frozen=True, eq=False)
class Shown:
    """A frame as a reader sees it: float32 [1, H, W] or [3, H, W] in [0,1], white is dense; whole n/`steps`."""

    pixels: np.ndarray = field(repr=False)
    steps: int
    stored_units: StoredUnits | None
    grid: Grid | None
    notes: tuple[str, ...]

    @property
    def seen(self) -> np.ndarray:
        """What models see of it: float32 [1, S, S] in [0,1]."""
        return square(levels_of(self.pixels, self.steps))


@dataclass(frozen=True, eq=False)
class Frame:
    """What is stored, integers [H, W] with their meaning, or colours [H, W, 3] of `bits` without one."""

    stored: np.ndarray = field(repr=False)
    bits: int
    meaning: Meaning | None
    header: Header

    def shown(self, window: str = "") -> Shown:
        """As the window of that name shows it (`looked_at`; default: as the file says); raises EngineError."""
        if self.meaning is None:
            return self._colours(window)
        look = looked_at(self.meaning, self.stored, window)
        grid = grid_of(self.meaning, look, self.stored.dtype)
        pixels = grid.of(self.stored) if grid else shades(self.meaning, look, self.stored).astype(np.float32)
        units = units_of(self.meaning, look)
        steps = 255 if self._is_8_bit(look) else 65535
        return Shown(pixels[None], steps, units, grid if grid and grid.reversible else None,
                     (look.note,) if look.note else ())

    def _is_8_bit(self, look: Look) -> bool:
        meaning, by = self.meaning, look.by
        return (meaning is not None and meaning.plain and isinstance(by, Window) and by.curve != "sigmoid"
                and by.ends == (0.0, 255.0))

    def _colours(self, window: str) -> Shown:
        if window:
            raise EngineError("a picture in colour is shown as it is; leave the window out")
        # In place: a large picture in float32 is not wanted three times.
        pixels = np.ascontiguousarray(self.stored.transpose(2, 0, 1)).astype(np.float32)
        pixels /= np.float32(2**self.bits - 1)
        np.clip(pixels, 0, 1, out=pixels)
        return Shown(pixels, 255 if self.bits == 8 else 65535, None, None, ())

    @property
    def room(self) -> int:
        """About how many bytes it takes in memory: a file may bring along large tables for every small frame."""
        tables = [] if self.meaning is None else [self.meaning.table, *self.meaning.tables]
        return self.stored.nbytes + sum(ENTRY * len(table.values) for table in tables if table)

    @property
    def facts(self) -> dict[str, Any]:
        """All but the pixels, JSON-able."""
        return {"bits": self.bits, "meaning": self.meaning and asdict(self.meaning), "header": asdict(self.header)}


def frame_from(facts: dict[str, Any], stored: np.ndarray) -> Frame:
    """The frame that has these facts."""
    header: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                              for name, value in facts["header"].items()}
    return Frame(stored, facts["bits"], facts["meaning"] and _meaning(facts["meaning"]), Header(**header))


def _meaning(facts: dict[str, Any]) -> Meaning:
    def table(facts: dict[str, Any]) -> Table:
        return Table(facts["first"], tuple(facts["values"]), facts["bits"])

    return Meaning(**{**facts, "table": facts["table"] and table(facts["table"]),
                      "windows": tuple(Window(**window) for window in facts["windows"]),
                      "tables": tuple(map(table, facts["tables"])),
                      "padding": facts["padding"] and tuple(facts["padding"])})


@dataclass(frozen=True, eq=False)
class Scan:
    """All frames of a file or slices of a series that were read, in order. `facts` are those of each frame and the
    digest of its pixels, `read` gives the pixels of one."""

    facts: tuple[dict[str, Any], ...] = field(repr=False)
    notes: tuple[str, ...]
    kind: str  # "frame" or "slice"
    read: Callable[[int], np.ndarray] = field(repr=False)

    def __len__(self) -> int:
        return len(self.facts)

    @cached_property
    def digest(self) -> str:
        return digest.of_spec({"frames": list(self.facts), "notes": list(self.notes), "kind": self.kind})

    @property
    def middle(self) -> int:
        return (len(self) + 1) // 2

    def frame(self, number: int = 0) -> Frame:
        """Frame `number`, counted from 1 (0: the middle one); raises EngineError."""
        number = number or self.middle
        if not 1 <= number <= len(self):
            raise EngineError(f"this upload has no {self.kind} {number}; choose one from 1 to {len(self)}")
        return frame_from(self.facts[number - 1], self.read(number - 1))


def scan_of(frames: Sequence[Frame], notes: Sequence[str], kind: str) -> Scan:
    """These frames, in memory."""
    pixels = [np.ascontiguousarray(frame.stored) for frame in frames]
    facts = tuple({**frame.facts, "pixels": digest.of_arrays(stored)}
                  for frame, stored in zip(frames, pixels, strict=True))
    # As JSON gives them back, tuples as lists: the digest is of what is kept.
    return Scan(tuple(json.loads(json.dumps(facts))), tuple(notes), kind, pixels.__getitem__)


def write_scan(scan: Scan, path: Path) -> None:
    """A scan as a file; raises OSError."""
    facts = json.dumps({"frames": scan.facts, "notes": scan.notes, "kind": scan.kind})
    with path.open("wb") as file:
        arrays = {f"frame{index}": scan.read(index) for index in range(len(scan))}
        np.savez(file, scan=np.array(facts), **arrays)  # type: ignore[arg-type]


@contextmanager
def whole() -> Iterator[None]:
    """Turns whatever a file brings about that was cut short or overwritten, or says odd things, into an EngineError."""
    try:
        yield
    except (EngineError, MemoryError):
        raise
    except Exception:
        raise EngineError(KEPT_DAMAGED) from None


def read_scan(path: Path) -> Scan:
    """The scan in a file that `write_scan` wrote, whose frames are read when they are wanted, and checked."""
    with np.load(path, allow_pickle=False) as kept:
        facts = json.loads(str(kept["scan"]))
    frames = tuple(facts["frames"])

    def read(index: int) -> np.ndarray:
        with whole(), np.load(path, allow_pickle=False) as kept:
            pixels = kept[f"frame{index}"]
            if digest.of_arrays(pixels) != frames[index]["pixels"]:
                raise EngineError(KEPT_DAMAGED)
        return pixels

    return Scan(frames, tuple(facts["notes"]), facts["kind"], read)


def thinned(frames: Sequence[int], most: int) -> list[int]:
    """At most `most` of them, evenly spread."""
    if len(frames) <= most:
        return list(frames)
    return [frames[round(place)] for place in np.linspace(0, len(frames) - 1, max(1, most))]


