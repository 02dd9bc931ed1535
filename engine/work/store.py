"""Results that survive a restart: one .npz each, under the hash of its spec, and an SQLite index to list them by.

A file says all about its result itself, so that the index can be made again from the files.
"""

import contextlib
import errno
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from engine import disk
from engine.disk import advice
from engine.errors import EngineError
from engine.progress import Progress
from engine.work.index import COLUMNS, Index

_ABOUT = "#about"  # the member of a file that holds its Entry; no array has such a name
_MOMENT = 0.2  # seconds between two looks at a lease that another process holds
_SCRAP_AGE = 24 * 3600.0  # seconds after which a file that nobody finished writing is removed
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Payload:
    """A result: JSON-able facts and named arrays."""

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class Entry:
    """What the index knows of a result: everything but its arrays."""

    key: str
    kind: str
    title: str
    spec: dict[str, Any]
    facts: dict[str, Any]
    created: float

    def row(self) -> tuple[str, str, str, str, str, float]:
        return self.key, self.kind, self.title, json.dumps(self.spec), json.dumps(self.facts), self.created

    @classmethod
    def of_row(cls, row: tuple[str, str, str, str, str, float]) -> "Entry":
        """The entry of a line of the index; raises ValueError."""
        key, kind, title, spec, facts, created = row
        return cls(key, kind, title, json.loads(spec), json.loads(facts), created)


class Store:
    """Keeps payloads below `folder`. Safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index = Index(folder / "index.sqlite", self._adopt, self._note)
        self._notes: list[str] = []
        self._lock = threading.Lock()

    def put(self, key: str, kind: str, title: str, spec: dict[str, Any], payload: Payload) -> None:
        """Keep `payload` under `key`; raises EngineError where the disk is full or not writable."""
        entry = Entry(key, kind, title, spec, payload.facts, time.time())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(entry, payload.arrays)
        except OSError as error:
            raise EngineError(f"the result could not be kept in {self.folder} {advice(error)}") from None
        try:
            self._index.ask(lambda index: index.execute(_INSERT, entry.row()))
        except (OSError, sqlite3.Error) as error:
            raise EngineError(f"the result is kept in {self.folder}, but the list of results could not be written "
                              f"{advice(error)}") from None

    def get(self, key: str, check: Callable[[Payload], object] = lambda payload: None) -> Payload | None:
        """What was kept under `key`; None where there is nothing, or nothing that can be read any more. `check` raises
        for what has another form than it should."""
        path = self._path(key)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            facts = _entry(key, arrays.pop(_ABOUT)).facts if _ABOUT in arrays else self._facts(key)
            if facts is None:
                return None
            check(payload := Payload(facts, arrays))
            return payload
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in (None, errno.EINVAL):  # the disk's trouble, not the file's
                log.warning("the kept result %s cannot be read %s", path.name, advice(error))
                return None
            self._drop(key, error)
        except (MemoryError, ImportError) as error:  # ours, not the file's
            log.warning("the kept result %s cannot be read (%s)", path.name, error)
            return None
        except Exception as error:  # whatever a file cut short, overwritten or written by another version brings about
            self._drop(key, error)
        return None

    @contextlib.contextmanager
    def lease(self, key: str, progress: Progress) -> Iterator[None]:
        """While this lasts nobody else computes what belongs under `key`; raises Cancelled while it waits for that.

        A process that dies holds nothing any more. Where files cannot be locked, two may compute the same.
        """
        path = self.folder / "leases" / key
        lock = FileLock(path, thread_local=False)
        while not _acquired(lock):
            progress.report(0.0, "waiting for another process that computes the same")
        try:
            yield
        finally:
            if lock.is_locked:
                path.unlink(missing_ok=True)  # while it is held; whoever waits for the old file goes on all the same
                lock.release()

    def has(self, key: str) -> bool:
        """Whether there is something under `key`, read or not."""
        return os.path.isfile(self._path(key))

    def recent(self, kind: str | None = None, limit: int = 50) -> list[Entry]:
        """The newest results (of one kind), newest first; none where the index cannot be read."""
        if not os.path.isdir(self.folder):
            return []
        try:
            rows = self._index.ask(lambda index: index.execute(
                f"select {COLUMNS} from results where ?1 is null or kind = ?1 order by created desc limit ?2",
                (kind, limit)).fetchall(), reads=True)
        except (OSError, sqlite3.Error, EngineError) as error:
            log.warning("the list of kept results cannot be read: %s", error)
            return []
        return [entry for row in rows if (entry := self._listed(row)) is not None]

    def delete(self, key: str) -> None:
        """Forget what is kept under `key`, if anything; raises EngineError where that cannot be done."""
        try:
            self._path(key).unlink(missing_ok=True)
            if os.path.isdir(self.folder):
                self._index.ask(lambda index: index.execute("delete from results where key = ?", (key,)))
        except (OSError, sqlite3.Error) as error:
            raise EngineError(f"the result could not be deleted from {self.folder} {advice(error)}") from None

    @property
    def notes(self) -> list[str]:
        """One line for each damage that was mended since the start and not yet `noted`."""
        with self._lock:
            return list(self._notes)

    def noted(self, note: str) -> None:
        """Somebody has read this note."""
        with self._lock:
            self._notes = [known for known in self._notes if known != note]

    def _note(self, line: str) -> None:
        with self._lock:
            self._notes.append(line)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def _write(self, entry: Entry, arrays: dict[str, np.ndarray]) -> None:
        with disk.replacing(self._path(entry.key)) as aside, aside.open("wb") as file:
            about = np.frombuffer(json.dumps(entry.row()).encode(), np.uint8)
            np.savez(file, **{_ABOUT: about}, **arrays)  # type: ignore[arg-type]

    def _facts(self, key: str) -> dict[str, Any] | None:
        """The facts of a result from before files said all about themselves."""
        try:
            row = self._index.ask(
                lambda index: index.execute("select facts from results where key = ?", (key,)).fetchone(), reads=True)
        except (OSError, sqlite3.Error, EngineError) as error:
            log.warning("the list of kept results cannot be read: %s", error)
            return None
        return None if row is None else dict(json.loads(row[0]))

    def _listed(self, row: tuple[str, str, str, str, str, float]) -> Entry | None:
        """The entry of a line, if its result is still there."""
        if not self.has(row[0]):
            self._drop(row[0], FileNotFoundError(f"{row[0]}.npz"))
            return None
        try:
            return Entry.of_row(row)
        except ValueError as error:
            self._drop(row[0], error)
            return None

    def _drop(self, key: str, error: Exception) -> None:
        """A damaged result is none: it is computed again when somebody asks for it."""
        log.warning("the kept result %s is damaged (%s: %s) and was dropped", key, type(error).__name__, error)
        try:
            self.delete(key)
        except EngineError as trouble:
            log.warning("%s", trouble)

    def _adopt(self, index: sqlite3.Connection) -> str:
        """List what is kept and not listed: after damage, or where a crash came between the file and the index."""
        listed = {key for (key,) in index.execute("select key from results")}
        unlisted = [path for path in sorted(self.folder.glob("*.npz")) if path.stem not in listed]
        entries = [entry for path in unlisted if (entry := _read_entry(path)) is not None]
        if entries:
            index.executemany(_INSERT, [entry.row() for entry in entries])
        self._sweep()
        lost = len(unlisted) - len(entries)
        missed = f"; {lost} could not be, and are computed again when asked for" if lost else ""
        return f"Results listed again: {len(entries)}{missed}."

    def _sweep(self) -> None:
        """Remove what processes that were killed left half written."""
        for scrap in self.folder.glob(".*.part"):
            try:
                if time.time() - scrap.stat().st_mtime > _SCRAP_AGE:
                    scrap.unlink()
            except OSError as error:
                log.warning("%s cannot be removed (%s)", scrap.name, error.strerror)


@lru_cache(maxsize=8)
def store_in(folder: Path) -> Store:
    """This process's store in `folder`: one for all who use it, so that what it has mended is told once."""
    return Store(folder)


def _acquired(lock: FileLock) -> bool:
    """Whether the lock is held after a moment, or cannot be had at all on this disk."""
    try:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_MOMENT)
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        log.warning("%s cannot be locked (%s); another process may compute the same", lock.lock_file, error)
    return True


_INSERT = f"insert or replace into results ({COLUMNS}) values (?, ?, ?, ?, ?, ?)"


def _entry(key: str, about: np.ndarray) -> Entry:
    """The entry in the file of that key; raises ValueError where it is another's."""
    entry = Entry.of_row(json.loads(about.tobytes()))
    if entry.key != key:
        raise ValueError(f"this is the result {entry.key}")
    return entry


def _read_entry(path: Path) -> Entry | None:
    """What a file says about itself; None where it is damaged or says nothing."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return _entry(path.stem, file[_ABOUT])
    except Exception as error:  # as in Store.get
        log.warning("%s does not say what it is (%s: %s)", path.name, type(error).__name__, error)
        return None
