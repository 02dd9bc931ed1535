"""Exact digests: two things that differ in one bit never share one."""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np


def of_arrays(*arrays: np.ndarray) -> str:
    """SHA-256 over dtype, shape and every byte of each array."""
    return of_pieces(*((array.shape, [array]) for array in map(np.ascontiguousarray, arrays)))


def of_pieces(*arrays: tuple[tuple[int, ...], Iterable[np.ndarray]]) -> str:
    """As `of_arrays`, of arrays that need not exist as a whole: each its shape and, in order, pieces of its memory."""
    sha = hashlib.sha256()
    for shape, pieces in arrays:
        for number, piece in enumerate(map(np.ascontiguousarray, pieces)):
            if not number:
                sha.update(f"{piece.dtype.str}{shape}".encode())
            sha.update(piece.data)
    return sha.hexdigest()


def of_spec(spec: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON-able mapping, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def of_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return of_open_file(file)


def of_open_file(file: io.BufferedIOBase) -> str:
    """SHA-256 of the bytes from here on."""
    return hashlib.file_digest(file, "sha256").hexdigest()


def of_unchanged_file(path: Path) -> str:
    """The same, read once for as long as time of change and size stay as they are; raises OSError."""
    facts = os.stat(name := str(path))  # tens of thousands at a click: a Path is slower to look at, and to look up
    return _remembered(name, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=50_000)
def _remembered(path: str, modified: int, size: int) -> str:
    return of_file(Path(path))
