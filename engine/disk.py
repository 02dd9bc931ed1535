"""Files on the user's disk: written whole or not at all, read within bounds, and what to do where that fails."""

import contextlib
import errno
import itertools
import json
import math
import os
import re
import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.errors import EngineError, shortened

HOME = "PERTURBSCOPE_HOME"
KEPT_FOR = 15 * 60.0  # seconds for which a deletion can be undone
_numbers = itertools.count()
_DELETED = re.compile(r"([0-9]{1,12}\.[0-9]{3})-[0-9a-f]{32}")

# ---- writing


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place in one step if nothing fails."""
    with replacing_all([path]) as (aside,):
        yield aside


@contextlib.contextmanager
def replacing_all(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Files beside `paths` to write to; all take their places if nothing fails, and none otherwise.

    A reader never sees half a file; one cut short by a crash or a full disk is never taken for a whole one.
    """
    # A short name of its own: the path's may be as long as a name can be, and another thread may write the same.
    asides = [path.with_name(f".{os.getpid()}-{next(_numbers)}.part") for path in paths]
    try:
        yield asides
        for aside in asides:
            _flush(aside)
        for aside, path in zip(asides, paths, strict=True):
            os.replace(aside, path)
    finally:
        for aside in asides:
            with contextlib.suppress(OSError):
                aside.unlink()


def _flush(path: Path) -> None:
    """Have what was written on the disk before it gets its name: some disks notice only now that they are full."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def make_writable(folder: Path, size: int = 1) -> None:
    """Make the folder if there is none, and try to write `size` bytes there; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".{os.getpid()}-{next(_numbers)}.part"
    try:
        probe.write_bytes(bytes(size))
    finally:
        probe.unlink(missing_ok=True)


class Hindrance(Enum):
    """What keeps a file from being written, and what to do about it; {} is the setting that names the folder."""

    FULL = "free some space there, or set {} to a folder on another disk"
    DENIED = "set {} to a folder you can write to"
    LOCKED = "another program holds it: close that program and try again"
    FAILED = "check that disk, or set {} to another folder"


_FULL = {errno.ENOSPC, errno.EFBIG, *(getattr(errno, name) for name in ("EDQUOT",) if hasattr(errno, name))}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT,
           errno.ENAMETOOLONG, errno.ELOOP}
_SQLITE = {sqlite3.SQLITE_FULL: Hindrance.FULL, sqlite3.SQLITE_READONLY: Hindrance.DENIED,
           sqlite3.SQLITE_PERM: Hindrance.DENIED, sqlite3.SQLITE_CANTOPEN: Hindrance.DENIED,
           sqlite3.SQLITE_BUSY: Hindrance.LOCKED, sqlite3.SQLITE_LOCKED: Hindrance.LOCKED}


def hindrance(error: OSError | sqlite3.Error) -> Hindrance:
    """Which kind of trouble an error is."""
    if isinstance(error, sqlite3.Error):
        return _SQLITE.get(sqlite_code(error), Hindrance.FAILED)
    if isinstance(error, TimeoutError):
        return Hindrance.LOCKED
    return Hindrance.FULL if error.errno in _FULL else Hindrance.DENIED if error.errno in _DENIED else Hindrance.FAILED


def sqlite_code(error: sqlite3.Error) -> int:
    """The error's primary result code; -1 where it has none."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else code & 0xFF


def advice(error: OSError | sqlite3.Error, setting: str = HOME) -> str:
    """Why writing failed and what to do: '(reason); advice'."""
    reason = getattr(error, "strerror", None) or error
    return f"({reason}); {hindrance(error).value.format(setting)}"


# ---- reading

MAX_JSON, MAX_DEPTH, MAX_AXES = 4 * 2**20, 64, 5
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def read_json(data: bytes, most: int = MAX_JSON) -> Any:
    """The JSON in a file from anywhere; raises EngineError, saying what is wrong with it, for what is too long (`most`
    bytes), too deep or no JSON."""
    if len(data) > most:
        raise EngineError(f"it has {len(data) / 2**20:.0f} MiB, and at most {most // 2**20} are read")
    try:
        text = data.decode("utf-8-sig")
        # Before the parser sees it, which calls itself for every level.
        if _too_deep(text):
            raise EngineError(f"it is nested more than {MAX_DEPTH} levels deep")
        return json.loads(text)
    except EngineError:
        raise
    except ValueError:  # also bytes that are no text, and numbers of too many digits
        raise EngineError("it is not JSON") from None


def read_array(file: IO[bytes], size: int) -> np.ndarray:
    """The array in a .npy file of so many bytes from anywhere, whose header is read first: what it announces must be
    what is there. Raises EngineError, saying what is wrong with it, and whatever a damaged file brings about."""
    try:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = header(file)
    except MemoryError:
        raise
    except Exception:  # whatever bytes that are no header bring about
        raise EngineError("is no array") from None
    if dtype.kind not in "biufU" or dtype.hasobject:
        raise EngineError(f"holds {shortened(str(dtype))}, and only numbers and texts are read")
    wanted = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or len(shape) > MAX_AXES or wanted != size - file.tell():
        raise EngineError("announces other sizes than it has")
    data = file.read(wanted)
    if len(data) != wanted:
        raise EngineError("was cut short")
    file.read()  # up to a ZIP's checksum
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _too_deep(text: str) -> bool:
    """Whether lists and objects are nested deeper than MAX_DEPTH; brackets within strings are none."""
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            return True
    return False

# ---- deleting so that it can be undone


def trash_name() -> str:
    """What a folder is called for what is deleted now, until that cannot be undone any more."""
    return f"{time.time():.3f}-{uuid.uuid4().hex}"


def deleted_at(name: str) -> float | None:
    """When what is in a folder of that name was deleted (seconds since 1970); None of other folders."""
    known = _DELETED.fullmatch(name)
    return None if known is None else float(known[1])
