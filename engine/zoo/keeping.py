"""Models trained here, deleted and renamed so that it can be undone. Bundled ones stay as they are. Does not import
torch."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.disk import KEPT_FOR, advice, deleted_at, trash_name
from engine.errors import EngineError, UnknownName
from engine.home import home
from engine.zoo.cards import card_path
from engine.zoo.registry import models, trained_path


@dataclass(frozen=True)
class Discarded:
    """A model that was deleted: its name, when (seconds since 1970), and where it is meanwhile."""

    name: str
    when: float
    place: Path


def discard(name: str) -> None:
    """Delete the model trained as `name`, with its card; raises EngineError."""
    tidy()
    weights = _own(name)
    aside = _trash() / trash_name() / "models" / weights.relative_to(home() / "models")
    with _told(name):
        aside.parent.mkdir(parents=True)
        _move(weights, aside)


def rename(name: str, new: str) -> None:
    """Call the model trained as `name` otherwise; raises EngineError where that name is taken, or is none."""
    weights, to = _own(name), trained_path(new)
    if new == name:
        return
    if any(entry.name == new for entry in models()) or to.exists() or card_path(to).exists():
        raise EngineError(f"there is a model '{new}' already; choose another name")
    with _told(name):
        to.parent.mkdir(parents=True, exist_ok=True)
        _move(weights, to)


def discarded() -> list[Discarded]:
    """What can be had back, the newest first."""
    found = []
    with contextlib.suppress(OSError):  # mostly: nothing was ever deleted
        for folder in _trash().iterdir():
            when = deleted_at(folder.name)
            if when is not None and abs(time.time() - when) <= KEPT_FOR:
                root = folder / "models"
                found += [Discarded(path.relative_to(root).with_suffix("").as_posix(), when, path)
                          for path in root.rglob("*.safetensors")]
    return sorted(found, key=lambda one: one.when, reverse=True)


def restore(one: Discarded) -> None:
    """Have a deleted model back under its name; raises EngineError where that is taken by now."""
    to = trained_path(one.name)
    if to.exists():
        raise EngineError(f"there is a model '{one.name}' again; rename that one first")
    with _told(one.name):
        to.parent.mkdir(parents=True, exist_ok=True)
        _move(one.place, to)
        shutil.rmtree(_trash() / one.place.relative_to(_trash()).parts[0], ignore_errors=True)


def tidy() -> None:
    """Empty the trash of what was deleted too long ago to be had back."""
    with contextlib.suppress(OSError):
        for folder in _trash().iterdir():
            when = deleted_at(folder.name)
            if when is not None and abs(time.time() - when) > KEPT_FOR:
                shutil.rmtree(folder, ignore_errors=True)


def _trash() -> Path:
    return home() / "models-trash"


def _own(name: str) -> Path:
    """The weights of a model trained here; raises EngineError."""
    own = [entry.name for entry in models() if not entry.bundled]
    if name not in own:
        raise UnknownName("model of your own", name, own)
    return trained_path(name)


def _move(weights: Path, to: Path) -> None:
    """Both files or none."""
    os.replace(card_path(weights), card_path(to))
    try:
        os.replace(weights, to)
    except OSError:
        os.replace(card_path(to), card_path(weights))
        raise


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError(f"the model {name} could not be moved {advice(error)}") from None
