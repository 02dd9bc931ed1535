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
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout

from engine.disk import advice
from engine.errors import EngineError, shortened
from engine.progress import Progress
from engine.work import entries
from engine.work.entries import ALL, About, Entry, Label, Page, Row, Usage, Wanted, encodable
from engine.work.files import Files
from engine.work.index import Index
from engine.work.room import Limit, keep_limit, limit_of, make_room
from engine.work.trash import Deletion, Trash
from engine.work.upkeep import adopt, fill

T = TypeVar("T")
_LIMIT = "limit.json"
_LONGEST_NAME, _LONGEST_NOTE = 100, 5000  # characters
_MOMENT = 0.2  # seconds between two looks at a lease that another process holds
_FEW = 3  # keys that a message names
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Payload:
    """A result: JSON-able facts and named arrays."""

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


Check = Callable[[Payload], object]


class Store:
    """Keeps payloads below `folder`. Safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = Files(folder)
        self._trash = Trash(self._files)
        self._index = Index(folder / "index.sqlite", self._fill, self._note)
        self._notes: list[str] = []
        self._lock = threading.Lock()

    def put(self, key: str, kind: str, title: str, spec: dict[str, Any], payload: Payload) -> None:
        """Keep `payload` under `key`; raises EngineError where the disk is full or not writable.

        Where the store has a limit and this goes over it, results make room that are not starred, the one that nobody
        has used for longest first; never the one that is kept now.
        """
        about = About(key, kind, title, spec, payload.facts, time.time())
        try:
            file = self._files.write(about, payload.arrays)
        except OSError as error:
            raise EngineError(f"the result could not be kept in {self.folder} {advice(error)}") from None
        limit = self._known_limit()

        def enter(index: sqlite3.Connection) -> None:
            entries.enter(index, about, file, self._files.starred(key), self._files.label(key))
            if limit is not None:
                self._trash.tidy(max(0, limit - entries.usage(index).all.bytes))
            if limit is not None and (line := make_room(index, self._files, limit, key)):
                self._tell(line)

        try:
            self._index.ask(enter)
        except (OSError, sqlite3.Error) as error:
            raise EngineError(f"the result is kept in {self.folder}, but the list of results could not be written "
                              f"{advice(error)}") from None

    def get(self, key: str, arrays: Collection[str] | None = None, check: Check = lambda payload: None
            ) -> Payload | None:
        """What was kept under `key`, with all its arrays or those that are named; None where there is nothing, or
        nothing that can be read any more. `check` raises for what has another form than it should."""
        payload = self._read(key, arrays, check)
        if payload is not None:
            self._files.used(key)
        return payload

    def facts(self, key: str) -> dict[str, Any] | None:
        """The facts of what was kept under `key`, read without its arrays; None as `get`."""
        payload = self._read(key, ())
        return None if payload is None else payload.facts

    def _read(self, key: str, wanted: Collection[str] | None, check: Check = lambda payload: None) -> Payload | None:
        path = self._files.result(key)
        try:
            about, arrays = self._files.read(key, wanted)
            facts = about.facts if about is not None else self._earlier_facts(key)
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
        return self._files.has(key)

    def recent(self, kind: str | None = None, limit: int = 50) -> list[Entry]:
        """The newest results (of one kind), newest first; none where the index cannot be read."""
        try:
            return self.search(Wanted(kind), limit).entries
        except EngineError as error:
            log.warning("%s", error)
            return []

    def search(self, wanted: Wanted = ALL, limit: int = 50, offset: int = 0) -> Page:
        """The results that are looked for, from the one at `offset` on, at most `limit`; raises EngineError where the
        index cannot be read. Their facts are read one by one: see `facts`."""
        none: tuple[list[Row], int] = [], 0
        rows, total = self._asked(lambda index: entries.find(index, wanted, limit, offset), none)
        found = [entry for row in rows if (entry := self._listed(row)) is not None]
        return Page(found, total - (len(rows) - len(found)))

    def entry(self, beginning: str) -> Entry:
        """The result whose key is this or begins so; raises EngineError where there is none, or another one too."""
        rows: list[Row] = []
        if beginning:
            rows = self._asked(lambda index: entries.beginning_with(index, beginning, _FEW + 1), rows)
        if rows and rows[0][0] == beginning:
            rows = rows[:1]
        found = [entry for row in rows if (entry := self._listed(row)) is not None]
        if len(found) > 1:
            names = ", ".join(shortened(entry.key, 20) for entry in found[:_FEW])
            raise EngineError(f"'{shortened(beginning)}' is the beginning of several results' keys: {names}"
                              f"{', ...' if len(found) > _FEW else ''}; write more of it")
        if not found:
            raise EngineError(f"no kept result's key begins with '{shortened(beginning)}'; "
                              "python -m engine store list shows them")
        return found[0]

    def delete(self, *keys: str) -> None:
        """Forget what is kept under these keys, if anything, starred or not; raises EngineError where that cannot be
        done."""
        self._remove(keys, added=True)

    def discard(self, *keys: str) -> Deletion | None:
        """Delete as `delete` does, but so that it can be undone for a moment: what can be given to `restore`; None
        where it cannot be undone, as it is too large. Raises EngineError where it cannot be deleted."""
        gone: list[str] = []
        kept = [key for key in dict.fromkeys(keys) if self.has(key)]
        if not kept:
            return None
        try:
            try:
                name = self._trash.take(kept, gone)
            finally:
                if gone:
                    self._index.ask(lambda index: entries.remove(index, gone))
        except (OSError, sqlite3.Error) as error:
            raise _undeleted(self.folder, error) from None
        self._trash.tidy()
        return next((deletion for deletion in self._trash.deletions() if deletion.name == name), None)

    def restore(self, name: str) -> list[str]:
        """Undo the deletion of that name; the keys of what is back. Raises EngineError where that is too late."""
        deletion = next((deletion for deletion in self.deletions() if deletion.name == name), None)
        if deletion is None:
            raise EngineError("what was deleted is gone for good; compute it again, or import it from a file")
        try:
            back = self._trash.give_back(deletion)
            self._index.ask(lambda index: adopt(index, self._files, back))
        except (OSError, sqlite3.Error) as error:
            raise EngineError(f"the deletion could not be undone in {self.folder} {advice(error)}") from None
        return back

    def deletions(self) -> list[Deletion]:
        """What was deleted a moment ago and can be had back, the newest first."""
        self._trash.tidy()
        return self._trash.deletions()

    def empty_trash(self) -> None:
        """Give up what could be had back."""
        self._trash.tidy(most=-1)

    def call(self, key: str, name: str | None = None, note: str | None = None) -> Label:
        """Name a result, note something of it, or both; "" takes either away, None leaves it. Raises EngineError."""
        if not self.has(key):
            raise EngineError(f"there is no kept result {shortened(key)}")
        known = self._files.label(key)
        label = Label(known.name if name is None else _checked("name", " ".join(name.split()), _LONGEST_NAME),
                      known.note if note is None else _checked("note", note.strip(), _LONGEST_NOTE))
        try:
            self._files.call(key, label)
            self._index.ask(lambda index: entries.call(index, key, label))
        except (OSError, sqlite3.Error) as error:
            raise EngineError(f"names could not be changed in {self.folder} {advice(error)}") from None
        return label

    def star(self, key: str, starred: bool = True) -> None:
        """Star a result, so that it never makes room for others, or take the star away; raises EngineError."""
        if not self.has(key):
            raise EngineError(f"there is no kept result {shortened(key)}")
        try:
            if starred:
                self._files.star(key).touch()
            else:
                self._files.star(key).unlink(missing_ok=True)
            self._index.ask(lambda index: entries.mark(index, key, starred))
        except (OSError, sqlite3.Error) as error:
            raise EngineError(f"stars could not be changed in {self.folder} {advice(error)}") from None

    def usage(self) -> Usage:
        """What the results take of the disk, as the index knows it; raises EngineError where it cannot be read."""
        return replace(self._asked(entries.usage, Usage()), free=self._files.free())

    @property
    def limit(self) -> Limit:
        """How much the results may take; raises EngineError where what says so cannot be read."""
        return limit_of(self.folder / _LIMIT)

    def set_limit(self, size: int | None) -> None:
        """Keep to `size` bytes from the next `put` on, or to none; raises EngineError."""
        keep_limit(self.folder / _LIMIT, size)

    @property
    def notes(self) -> list[str]:
        """One line for each damage that was mended since the start, and for a limit that cannot be kept to, not yet
        `noted`."""
        with self._lock:
            return list(self._notes)

    def noted(self, note: str) -> None:
        """Somebody has read this note."""
        with self._lock:
            self._notes = [known for known in self._notes if known != note]

    def _note(self, line: str) -> None:
        with self._lock:
            self._notes.append(line)

    def _fill(self, index: sqlite3.Connection) -> str:
        self._files.sweep()
        self._trash.tidy()
        return fill(index, self._files)

    def _asked(self, question: Callable[[sqlite3.Connection], T], nothing: T) -> T:
        """What the index answers; `nothing` where nothing was ever kept. Raises EngineError."""
        if not os.path.isdir(self.folder):
            return nothing
        try:
            return self._index.ask(question, reads=True)
        except (OSError, sqlite3.Error) as error:
            raise EngineError(f"the list of results in {self.folder} cannot be read {advice(error)}") from None

    def _earlier_facts(self, key: str) -> dict[str, Any] | None:
        """The facts of a result from before files said all about themselves."""
        try:
            row = self._asked(
                lambda index: index.execute("select facts from earlier where key = ?", (key,)).fetchone(), None)
        except EngineError as error:
            log.warning("%s", error)
            return None
        return None if row is None else dict(json.loads(row[0]))

    def _listed(self, row: Row) -> Entry | None:
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
        """A damaged result is none: it is computed again when somebody asks for it, with its star and name."""
        log.warning("the kept result %s is damaged (%s: %s) and was dropped", key, type(error).__name__, error)
        try:
            self._remove([key], added=False)
        except EngineError as trouble:
            log.warning("%s", trouble)

    def _remove(self, keys: Sequence[str], added: bool) -> None:
        gone = []
        try:
            try:
                for key in keys:
                    for addition in self._files.additions(key) if added else ():
                        addition.unlink(missing_ok=True)
                    self._files.result(key).unlink(missing_ok=True)
                    gone.append(key)
            finally:
                if gone and os.path.isdir(self.folder):
                    self._index.ask(lambda index: entries.remove(index, gone))
        except (OSError, sqlite3.Error) as error:
            raise _undeleted(self.folder, error) from None

    def _known_limit(self) -> int | None:
        """The limit that a result is kept by: what cannot be read costs no result, old or new."""
        try:
            return self.limit.bytes
        except EngineError as error:
            self._tell(str(error))
            return None

    def _tell(self, line: str) -> None:
        """Say what every further result would say again, once until it is `noted`."""
        if line not in self.notes:
            log.warning("%s", line)
            self._note(line)


@lru_cache(maxsize=8)
def store_in(folder: Path) -> Store:
    """This process's store in `folder`: one for all who use it, so that what it has mended is told once."""
    return Store(folder)


def _undeleted(folder: Path, error: OSError | sqlite3.Error) -> EngineError:
    return EngineError(f"the result could not be deleted from {folder} {advice(error)}")


def _checked(what: str, text: str, most: int) -> str:
    if len(text) > most:
        raise EngineError(f"a {what} has at most {most} characters, and this one has {len(text)}; shorten it")
    return encodable(text)


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
