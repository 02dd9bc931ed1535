"""The files of kept results: a .npz each, which says all about itself, and what people added to it beside it: an empty
file that stars it, and one with the name and the note that they gave it.

When a result was used last is its file's time.
"""

import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine import disk
from engine.errors import EngineError
from engine.work.entries import About, Label, encodable
from engine.work.specs import from_json, to_json

_ABOUT = "#about"  # the member of a file that holds its About; no array has such a name
_RESULT, _STAR, _LABEL = ".npz", ".star", ".label"
_SCRAP_AGE = 24 * 3600.0  # seconds after which a file that nobody finished writing is removed
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """What lies in `folder`, under the keys of the results."""

    folder: Path

    def result(self, key: str) -> Path:
        return self.folder / f"{key}{_RESULT}"

    def star(self, key: str) -> Path:
        """What is there where the result is starred."""
        return self.folder / f"{key}{_STAR}"

    def starred(self, key: str) -> bool:
        return self.star(key).exists()

    def label(self, key: str) -> Label:
        """What people call the result; one that is damaged is none."""
        try:
            said = from_json(Label, disk.read_json(self._label(key).read_bytes()))
            return Label(encodable(said.name), encodable(said.note))
        except FileNotFoundError:
            return Label()
        except (OSError, EngineError) as error:
            log.warning("%s cannot be read (%s)", self._label(key).name, error)
            return Label()

    def call(self, key: str, label: Label) -> None:
        """Keep what people call the result; raises OSError."""
        if label == Label():
            self._label(key).unlink(missing_ok=True)
            return
        with disk.replacing(self._label(key)) as aside:
            aside.write_text(json.dumps(to_json(label)), encoding="utf-8")

    def _label(self, key: str) -> Path:
        return self.folder / f"{key}{_LABEL}"

    def labelled(self) -> set[str]:
        return self._named(_LABEL)

    def additions(self, key: str) -> tuple[Path, ...]:
        """Where that lies which people may have added to the result."""
        return self.star(key), self._label(key)

    def has(self, key: str) -> bool:
        return os.path.isfile(self.result(key))

    def results(self) -> set[str]:
        return self._named(_RESULT)

    def stars(self) -> set[str]:
        return self._named(_STAR)

    def _named(self, suffix: str) -> set[str]:
        """What stands before the suffix in the names that end in it; a name that is no text is no key's."""
        return {name.removesuffix(suffix) for name in os.listdir(self.folder)
                if name.endswith(suffix) and encodable(name) == name}

    def write(self, about: About, arrays: dict[str, np.ndarray], packed: bool = False) -> os.stat_result:
        """Keep a result, `packed` into as few bytes as may be; what the disk says about its file. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with disk.replacing(self.result(about.key)) as aside:
            with aside.open("wb") as file:
                member = np.frombuffer(json.dumps(about.row()).encode(), np.uint8)
                save = np.savez_compressed if packed else np.savez
                save(file, **{_ABOUT: member}, **arrays)  # type: ignore[arg-type]
            return aside.stat()

    def read(self, key: str, wanted: Collection[str] | None) -> tuple[About | None, dict[str, np.ndarray]]:
        """What a file says about itself, if anything, and its arrays, or those that are wanted; raises whatever a
        damaged file brings about."""
        with np.load(self.result(key), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if wanted is None or name in wanted or name == _ABOUT}
        member = arrays.pop(_ABOUT, None)
        return None if member is None else _about(key, member), arrays

    def described(self, key: str) -> tuple[About, os.stat_result] | None:
        """What a file says about itself but for its facts, and the disk about it; None where it is damaged or says
        nothing."""
        path = self.result(key)
        try:
            with np.load(path, allow_pickle=False) as file:
                return replace(_about(key, file[_ABOUT]), facts={}), path.stat()
        except Exception as error:  # whatever a file cut short, overwritten or of another version brings about
            log.warning("%s does not say what it is (%s: %s)", path.name, type(error).__name__, error)
            return None

    def used(self, key: str) -> None:
        """Note that the result is used now; a disk that cannot be written forgets it."""
        with contextlib.suppress(OSError):
            os.utime(self.result(key))

    def free(self) -> int | None:
        """The bytes that are free where the folder is, or will be made; None where the disk does not say."""
        there = next((path for path in (self.folder, *self.folder.absolute().parents) if path.is_dir()), None)
        try:
            return None if there is None else shutil.disk_usage(there).free
        except OSError:
            return None

    def sweep(self) -> None:
        """Remove what processes that were killed left half written."""
        for scrap in self.folder.glob(".*.part"):
            try:
                if time.time() - scrap.stat().st_mtime > _SCRAP_AGE:
                    scrap.unlink()
            except OSError as error:
                log.warning("%s cannot be removed (%s)", scrap.name, error.strerror)


def _about(key: str, member: np.ndarray) -> About:
    """What the file of that key says; raises ValueError where it is another's."""
    about = About.of_row(json.loads(member.tobytes()))
    if about.key != key:
        raise ValueError(f"this is the result {about.key}")
    return about
