"""Results that survive a restart: an SQLite index beside one .npz of arrays each, under the hash of their spec."""

import contextlib
import json
import os
import sqlite3
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import EngineError

_TABLE = """create table if not exists results (
    key text primary key, kind text not null, title text not null, spec text not null, facts text not null,
    created real not null)"""


# What a file cut short, overwritten or written by another version raises; such a result is computed anew.
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, sqlite3.Error, zipfile.BadZipFile)


@dataclass(frozen=True)
class Payload:
    """A result: JSON-able facts and named arrays."""

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class Entry:
    """One line of the index."""

    key: str
    kind: str
    title: str
    created: float


class Store:
    """Keeps payloads below `folder`. Safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, key: str, kind: str, title: str, spec: dict[str, Any], payload: Payload) -> None:
        """Keep `payload` under `key`; raises EngineError where the disk is full or not writable."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write_arrays(key, payload.arrays)
            with self._index() as index:
                index.execute("insert or replace into results values (?, ?, ?, ?, ?, ?)",
                              (key, kind, title, json.dumps(spec), json.dumps(payload.facts), time.time()))
        except (OSError, sqlite3.Error) as error:
            raise EngineError(f"the result could not be kept in {self.folder} ({error}); free some space there or set "
                              "PERTURBSCOPE_HOME to a folder you can write to") from None

    def get(self, key: str) -> Payload | None:
        """What was kept under `key`; None where there is nothing, or nothing that can be read any more."""
        if not self._path(key).exists():
            return None
        try:
            with self._index() as index:
                row = index.execute("select facts from results where key = ?", (key,)).fetchone()
            if row is None:
                return None
            with np.load(self._path(key), allow_pickle=False) as file:
                return Payload(json.loads(row[0]), {name: file[name] for name in file.files})
        except _UNREADABLE:
            return None

    def recent(self, kind: str, limit: int = 50) -> list[Entry]:
        """The newest results of one kind, newest first; none where the index cannot be read."""
        if not self.folder.is_dir():
            return []
        try:
            with self._index() as index:
                rows = index.execute("select key, kind, title, created from results where kind = ? "
                                     "order by created desc limit ?", (kind, limit)).fetchall()
        except sqlite3.Error:
            return []
        return [Entry(*row) for row in rows]

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def _write_arrays(self, key: str, arrays: dict[str, np.ndarray]) -> None:
        # Written aside and renamed: a reader never sees half a file, a crash leaves none.
        aside = self.folder / f".{key}.{os.getpid()}.{time.monotonic_ns()}"
        try:
            with aside.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            aside.replace(self._path(key))
        finally:
            aside.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _index(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.folder / "index.sqlite", timeout=10)
        try:
            connection.execute(_TABLE)
            with connection:
                yield connection
        finally:
            connection.close()
