"""What was accepted and is not over yet, on disk, so that a server that was killed can say what it lost.

Each process has a file of its own, and holds a lock for as long as it lives: a file whose lock is free is that of a
process that has ended. So several servers may share a home.
"""

import contextlib
import json
import logging
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engine import disk
from engine.errors import EngineError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Accepted:
    """A job as it was asked for: its task as JSON, when, and how often it was taken up from a process that died."""

    key: str
    title: str
    task: dict[str, Any]
    submitted: float
    tries: int = 0


class Journal:
    """The files in `folder`, of which one is this process's. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own = folder / f"{uuid.uuid4().hex}.json"
        self._open: dict[str, Accepted] = {}
        self._alive: FileLock | None = None
        self._lock = threading.Lock()

    def accept(self, job: Accepted) -> None:
        """This process works on `job` from now on."""
        with self._lock:
            self._open[job.key] = job
            self._write_own()

    def settle(self, key: str) -> None:
        """The job is over, whatever came of it."""
        with self._lock:
            if self._open.pop(key, None) is not None:
                self._write_own()

    def lost(self) -> list[Accepted]:
        """What processes that have ended left behind, the oldest first."""
        found: dict[str, Accepted] = {}
        with self._lock:
            for path in self._others():
                with _dead(path) as dead:
                    if dead:
                        found |= {job.key: job for job in _read(path)}
        return sorted(found.values(), key=lambda job: job.submitted)

    def forget(self, key: str) -> None:
        """`lost` is not to speak of this job any more."""
        with self._lock:
            for path in self._others():
                with _dead(path) as dead:
                    if not dead:
                        continue
                    jobs = _read(path)
                    left = [job for job in jobs if job.key != key]
                    if len(left) < len(jobs):
                        _write(path, left)

    def _others(self) -> list[Path]:
        return [path for path in sorted(self.folder.glob("*.json")) if path != self._own]

    def _write_own(self) -> None:
        try:
            if self._alive is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                # Before there is a file to be found without it.
                alive = FileLock(_lock_of(self._own), timeout=0, thread_local=False)
                alive.acquire()
                self._alive = alive
            _write(self._own, list(self._open.values()))
        except (OSError, NotImplementedError) as error:  # a disk that is full or knows no locks: work goes on without
            log.warning("what is being worked on cannot be noted in %s (%s)", self.folder, error)


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


@contextlib.contextmanager
def _dead(path: Path) -> Iterator[bool]:
    """Whether the process of this file has ended; the file is ours meanwhile. What is empty then is removed."""
    lock = FileLock(_lock_of(path), timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError, NotImplementedError):
        yield False
        return
    try:
        yield True
        if path.exists() and not _read(path):
            path.unlink()
            _lock_of(path).unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be read or changed (%s)", path, error)
    finally:
        lock.release()


def _write(path: Path, jobs: list[Accepted]) -> None:
    with disk.replacing(path) as aside:
        aside.write_text(json.dumps([asdict(job) for job in jobs]), encoding="utf-8")


def _read(path: Path) -> list[Accepted]:
    try:
        return [Accepted(**facts) for facts in disk.read_json(path.read_bytes())]
    except (EngineError, TypeError) as error:
        log.warning("%s is damaged (%s); what it spoke of is forgotten", path, error)
        return []
