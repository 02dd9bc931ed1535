"""How much of the disk kept results may take: sizes as people write them, the limit of a store, and how it is kept."""

import heapq
import json
import logging
import os
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from engine import disk
from engine.errors import EngineError, shortened
from engine.work import entries
from engine.work.files import Files

LIMIT = "PERTURBSCOPE_STORE_LIMIT"  # goes before what is kept in the store
NONE = "off"
_DECIMAL, _BINARY = ("b", "kb", "mb", "gb", "tb", "pb"), ("b", "kib", "mib", "gib", "tib", "pib")
_UNITS = {unit: 1000**power for power, unit in enumerate(_DECIMAL)} | {
    unit: 1024**power for power, unit in enumerate(_BINARY)}
_SIZE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([a-z]+)\s*", re.IGNORECASE)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limit:
    """The bytes that kept results may take, None for any; and what says so: the variable or a file, "" for nothing."""

    bytes: int | None = None
    said_by: str = ""


def parse_size(text: str) -> int:
    """The bytes of "20 GB", "500 MB" or "1.5 GiB"; raises EngineError."""
    found = _SIZE.fullmatch(text)
    size = round(float(found[1]) * _UNITS.get(found[2].lower(), 0)) if found else 0
    if size < 1:
        raise EngineError(f"'{shortened(text)}' is no size; write one such as 20 GB, 500 MB or 1.5 GiB")
    return size


def size_text(size: float) -> str:
    """Bytes as people read them: '20 GB'."""
    *units, last = "B", "kB", "MB", "GB", "TB", "PB"
    for unit in units:
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} {last}"


def limit_of(file: Path) -> Limit:
    """The limit that the variable sets, or else the file, if there is one; raises EngineError for what is no limit."""
    if text := os.environ.get(LIMIT, "").strip():
        try:
            return Limit(None if text.lower() == NONE else parse_size(text), LIMIT)
        except EngineError as error:
            raise EngineError(f"{LIMIT}: {error}, or {NONE}") from None
    try:
        size = disk.read_json(file.read_bytes())["limit"]
    except FileNotFoundError:
        return Limit()
    except (OSError, EngineError, LookupError, TypeError) as error:
        raise _unreadable(file, str(error)) from None
    if type(size) is not int or size < 1:
        raise _unreadable(file, "it holds no size")
    return Limit(size, file.name)


def keep_limit(file: Path, size: int | None) -> None:
    """Keep a limit in the file; none where the size is None. Raises EngineError."""
    try:
        if size is None:
            file.unlink(missing_ok=True)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with disk.replacing(file) as aside:
            aside.write_text(json.dumps({"limit": size}), encoding="utf-8")
    except OSError as error:
        raise EngineError(f"the limit could not be kept in {file.parent} {disk.advice(error)}") from None


def _unreadable(file: Path, why: str) -> EngineError:
    return EngineError(f"the limit in {file} cannot be read ({why}), and nothing is removed; set it again: "
                       "python -m engine store limit set SIZE, or off")


# ---- keeping to it


def make_room(index: sqlite3.Connection, files: Files, limit: int, newest: str) -> str:
    """Remove results that are not starred, the longest unused first, until all fit; never the newest one. Where that
    is not enough, a line that says so, else ""."""
    total = entries.usage(index).all.bytes
    if total <= limit:
        return ""
    waiting = [line for line in entries.unstarred(index) if line[2] != newest]  # a heap, as it is sorted
    while total > limit and waiting:
        used, created, key, size = heapq.heappop(waiting)
        seen = _last_use(index, files, key)
        if seen is None:
            continue
        if seen > used:  # the index lags behind the files
            entries.note_use(index, key, seen)
            heapq.heappush(waiting, (seen, created, key, size))
        elif _removed(index, files, key):
            total -= size
    if total <= limit:
        return ""
    return (f"the kept results take more than their limit of {size_text(limit)}: starred ones stay, and so does the "
            "newest; unstar or delete some, or raise the limit")


def _last_use(index: sqlite3.Connection, files: Files, key: str) -> float | None:
    """When a result was used that may have to make room; None where it must not or cannot."""
    if files.starred(key):
        entries.mark(index, key, True)
        return None
    try:
        return files.result(key).stat().st_mtime
    except FileNotFoundError:
        return 0.0
    except OSError as error:
        log.warning("%s.npz cannot be looked at (%s)", key, error.strerror)
        return None


def _removed(index: sqlite3.Connection, files: Files, key: str) -> bool:
    try:
        files.result(key).unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s.npz cannot be removed to make room (%s)", key, error.strerror)
        return False
    entries.remove(index, [key])
    log.info("the kept result %s made room for a new one", key)
    return True
