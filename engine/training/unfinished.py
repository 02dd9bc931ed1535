"""Trainings that were stopped or killed: how far each is, told without loading PyTorch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.disk import read_json
from engine.errors import EngineError
from engine.home import home

STATE, FACTS = ".training", ".training.json"


@dataclass(frozen=True)
class Unfinished:
    """A training that goes on from where it was: its settings as JSON, how many epochs it shall have, and what its
    history says of those that it has had. `key` identifies all that decides its weights."""

    key: str
    spec: Mapping[str, Any]
    epochs: int
    history: tuple[Mapping[str, Any], ...]

    @property
    def name(self) -> str:
        return str(self.spec["name"])


def state_path(weights: Path) -> Path:
    """Where the training of the checkpoint `weights` keeps its state."""
    return weights.with_suffix(STATE)


def facts_path(weights: Path) -> Path:
    """Where it says how far it is."""
    return weights.with_suffix(FACTS)


def unfinished(weights: Path) -> Unfinished | None:
    """The training of the checkpoint `weights` that was not ended, where there is one."""
    return _read(facts_path(weights)) if state_path(weights).exists() else None


def all_unfinished() -> list[Unfinished]:
    """Those of the models trained here, by name."""
    found = (_read(path) for path in sorted((home() / "models").rglob(f"*{FACTS}")))
    return [one for one in found if one is not None]


def forget(weights: Path) -> None:
    """It will not be gone on with."""
    for path in (state_path(weights), facts_path(weights)):
        with contextlib.suppress(OSError):  # it is taken for what it says it is, and gone on with for nothing
            path.unlink()


def text_of(one: Unfinished) -> str:
    """As `unfinished` reads it."""
    return json.dumps(asdict(one), ensure_ascii=False) + "\n"


def _read(path: Path) -> Unfinished | None:
    """None also where the file is damaged: the training begins anew."""
    try:
        facts = read_json(path.read_bytes())
        one = Unfinished(str(facts["key"]), dict(facts["spec"]), int(facts["epochs"]),
                         tuple(map(dict, facts["history"])))
        return one if one.name and one.history else None
    except (OSError, EngineError, KeyError, TypeError, ValueError):
        return None
