"""A Markdown file in which every section can be renewed alone."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from engine import disk
from engine.errors import EngineError


def markdown(out: str | None) -> Path | None:
    """--out as such a file, tried before anything is measured; raises EngineError."""
    if out is None:
        return None
    if os.path.isdir(out):
        raise EngineError(f"--out {out} is a folder; give the name of a Markdown file")
    file = Path(out)
    try:
        disk.make_writable(file.parent)
        with contextlib.suppress(FileNotFoundError):
            file.read_text(encoding="utf-8")
    except OSError as error:
        raise _unwritable(file, error) from None
    except UnicodeDecodeError:
        raise EngineError(f"--out {out} is no text; give the name of a Markdown file") from None
    except ValueError:  # bytes that no name has
        raise EngineError(f"--out {out} is no name of a file; choose another") from None
    return file


def put(file: Path, name: str, text: str, head: str) -> None:
    """`renew`, for commands: raises EngineError where the file of --out cannot be written."""
    try:
        renew(file, name, text, head)
    except OSError as error:
        raise _unwritable(file, error) from None


def _unwritable(file: Path, error: OSError) -> EngineError:
    return EngineError(f"--out {file} cannot be written {disk.advice(error, '--out')}")


def renew(file: Path, name: str, text: str, head: str) -> None:
    """Put `text` where the section `name` was, or at the end; a new file begins with `head`. The rest stays as it is.
    Raises OSError."""
    whole = file.read_text(encoding="utf-8") if file.exists() else head
    section = f"<!-- {name} -->\n{text.strip()}\n<!-- /{name} -->"
    pattern = re.compile(rf"<!-- {re.escape(name)} -->.*?<!-- /{re.escape(name)} -->", re.DOTALL)
    renewed, found = pattern.subn(lambda _: section, whole)
    with disk.replacing(file) as aside:
        aside.write_text(renewed if found else f"{whole.rstrip()}\n\n{section}\n", encoding="utf-8")
