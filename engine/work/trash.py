"""What was deleted a moment ago, so that it can be had back: bounded, and emptied by itself."""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.disk import KEPT_FOR, deleted_at, trash_name
from engine.work.files import Files

MOST = 10**9  # bytes that all deletions together may go on to take of the disk
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deletion:
    """Results that were deleted together: their keys, when (seconds since 1970), and what their files weigh."""

    name: str
    keys: tuple[str, ...]
    when: float
    bytes: int


@dataclass(frozen=True)
class Trash:
    """A folder beside the files of results, with a folder for every deletion. Of what is in there no index knows."""

    files: Files

    @property
    def folder(self) -> Path:
        return self.files.folder / "trash"

    def take(self, keys: Iterable[str], taken: list[str]) -> str:
        """Move these results, with what people added to them, here; the deletion's name. Raises OSError; `taken` is
        told of each that has gone, whatever happens to the next."""
        name = trash_name()
        place = self._in(name)
        place.folder.mkdir(parents=True)
        for key in keys:
            for addition, aside in zip(self.files.additions(key), place.additions(key), strict=True):
                _move(addition, aside)
            _move(self.files.result(key), place.result(key))
            taken.append(key)
        return name

    def give_back(self, deletion: Deletion) -> list[str]:
        """Move back what was deleted then; the keys of what is back. Raises OSError. What was computed again meanwhile
        stays as it is now."""
        place, back = self._in(deletion.name), []
        for key in deletion.keys:
            for addition, aside in zip(self.files.additions(key), place.additions(key), strict=True):
                if not addition.exists():
                    _move(aside, addition)
            if not self.files.has(key):
                _move(place.result(key), self.files.result(key))
            back.append(key)
        shutil.rmtree(place.folder, ignore_errors=True)
        return back

    def deletions(self) -> list[Deletion]:
        """What can be had back, the newest first; none where the folder cannot be read."""
        found = []
        with contextlib.suppress(OSError):  # mostly: nothing was ever deleted
            for name in os.listdir(self.folder):
                if (when := deleted_at(name)) is not None:
                    found.append(self._deletion(name, when))
        return sorted(found, key=lambda deletion: (deletion.when, deletion.name), reverse=True)

    def tidy(self, most: int = MOST) -> None:
        """Empty it of what is older than a moment, and of the oldest until all take at most so many bytes."""
        total, now = 0, time.time()
        for deletion in self.deletions():
            total += deletion.bytes
            if total > most or abs(now - deletion.when) > KEPT_FOR:
                shutil.rmtree(self._in(deletion.name).folder, ignore_errors=True)

    def _in(self, name: str) -> Files:
        return Files(self.folder / name)

    def _deletion(self, name: str, when: float) -> Deletion:
        place, size = self._in(name), 0
        keys: list[str] = []
        with contextlib.suppress(OSError):  # another process is emptying it
            keys = sorted(place.results())
            size = sum(place.result(key).stat().st_size for key in keys)
        return Deletion(name, tuple(keys), when, size)


def _move(path: Path, to: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, to)
