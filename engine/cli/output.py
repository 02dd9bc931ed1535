"""What the commands write: progress to standard error, results to standard output, and the files of --out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

from engine import disk
from engine.errors import EngineError
from engine.progress import Progress


def shown_progress() -> Progress:
    """One line on standard error a percent, rewritten in place on a terminal."""
    shown = [-1]
    end = "\r" if sys.stderr.isatty() else "\n"

    def show(fraction: float, text: str) -> None:
        if int(fraction * 100) > shown[0]:
            shown[0] = int(fraction * 100)
            print(f"{fraction:4.0%} {text:60}", end=end, file=sys.stderr, flush=True)

    return Progress(show)


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


def write(out: Path | None, files: dict[str, Callable[[IO[bytes]], object]]) -> None:
    """Write what --out asks for, all files or none. The numbers are printed before: a full disk does not cost them."""
    if out is None:
        return
    sys.stdout.flush()
    try:
        with disk.replacing_all([out / name for name in files]) as asides:
            for aside, write in zip(asides, files.values(), strict=True):
                with aside.open("wb") as file:
                    write(file)
    except OSError as error:
        names = " and ".join(files)
        raise EngineError(f"{names} could not be written to {out} {disk.advice(error, '--out')}") from None


def as_json(facts: object) -> Callable[[IO[bytes]], object]:
    return lambda file: file.write((json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode())


def ready(path: Path) -> Path:
    """Where a model is to be kept, once it is known that it can be: told before hours of training, not after them."""
    try:
        disk.make_writable(path.parent)
    except OSError as error:
        raise EngineError(f"{path} cannot be written {disk.advice(error)}") from None
    return path
