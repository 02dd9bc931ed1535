"""What the commands write: progress to standard error, results to standard output, and the files of --out."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from engine import disk
from engine.errors import EngineError
from engine.progress import Pace, Progress
from engine.wording import duration

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

Writer = Callable[[IO[bytes]], object]


def shown_progress() -> Progress:
    """One line on standard error a percent, rewritten in place on a terminal: how far it is, and how long it takes."""
    shown, pace = [-1], Pace()
    end = "\r" if sys.stderr.isatty() else "\n"

    def show(fraction: float, text: str) -> None:
        pace.mark(fraction)
        if int(fraction * 100) > shown[0]:
            shown[0] = int(fraction * 100)
            left = pace.left() if fraction < 1 else None
            line = text if left is None else f"{text}, about {duration(left)} left"
            print(f"{fraction:4.0%} {line:60}", end=end, file=sys.stderr, flush=True)

    return Progress(show)


@cache
def remark(line: str) -> None:
    """Something to know besides the result, told once."""
    print(f"python -m engine: {line}", file=sys.stderr)


def print_json(facts: object) -> None:
    for line in json.dumps(facts, indent=2, ensure_ascii=False).split("\n"):
        print(printable(line))


def printable(line: str) -> str:
    """The line with what no terminal should see, and what none can show, written out as JSON has it: names and titles
    come from anywhere."""
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def out_folder(out: str | None) -> Path | None:
    """The folder of --out, made before anything is computed: one that will not do is told at once."""
    if out is None:
        return None
    try:
        disk.make_writable(Path(out))
    except OSError as error:
        raise EngineError(f"cannot write to --out {out} {disk.advice(error, '--out')}") from None
    except ValueError:  # bytes that no name has
        raise EngineError(f"--out {out} is no name of a folder; choose another") from None
    return Path(out)


def write(out: Path, files: dict[str, Writer]) -> None:
    """Write what --out asks for, all files or none. The numbers are printed before: a full disk does not cost them."""
    sys.stdout.flush()
    try:
        with disk.replacing_all([out / name for name in files]) as asides:
            for aside, write in zip(asides, files.values(), strict=True):
                with aside.open("wb") as file:
                    write(file)
    except OSError as error:
        names = " and ".join(files)
        raise EngineError(f"{names} could not be written to {out} {disk.advice(error, '--out')}") from None


def as_json(facts: object) -> Writer:
    return lambda file: file.write((json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode())


def as_text(text: str) -> Writer:
    return lambda file: file.write(text.encode())


def as_csv(table: pandas.DataFrame) -> Writer:
    def write(file: IO[bytes]) -> None:
        from engine.experiments.spreadsheets import as_csv

        file.write(as_csv(table).encode())

    return write


def as_figure(draw: Callable[[], Figure], form: str) -> Writer:
    """What `draw` gives, drawn when it is written, in one of engine.experiments.plots.FORMATS."""
    def write(file: IO[bytes]) -> None:
        from engine.experiments.plots import save

        save(draw, form, file)

    return write


@dataclass(frozen=True)
class Pieces:
    """A float32 array of `shape` that need not fit into memory: `read` gives it piece by piece, in order."""

    shape: tuple[int, ...]
    read: Callable[[], Iterable[np.ndarray]]


def as_npz(arrays: Mapping[str, np.ndarray | Pieces]) -> Writer:
    """The arrays as numpy.savez writes them."""
    def write(file: IO[bytes]) -> None:
        from numpy.lib import format

        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    if not isinstance(array, Pieces):
                        format.write_array(member, array, allow_pickle=False)
                        continue
                    format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False,
                                                           "shape": array.shape})
                    for piece in array.read():
                        member.write(np.ascontiguousarray(piece, "<f4").data)

    return write


def ready(path: Path) -> Path:
    """Where a model is to be kept, once it is known that it can be: told before hours of training, not after them."""
    try:
        disk.make_writable(path.parent)
    except OSError as error:
        raise EngineError(f"{path} cannot be written {disk.advice(error)}") from None
    return path
