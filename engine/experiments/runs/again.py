"""A run computed once more, with nothing taken from what is kept: whether the same comes of it. No torch."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.attacks.rows import COLUMNS, Rows
from engine.data import DATASETS
from engine.errors import EngineError, shortened
from engine.experiments.gathered import runs_of
from engine.experiments.runs.kept import Kept, device_of, read
from engine.experiments.runs.pictures import spec_of
from engine.experiments.runs.repeating import Asked, asked
from engine.progress import to_the_end
from engine.work.kinds import KINDS, Bench, Task, kind
from engine.work.specs import from_json, to_json
from engine.work.store import Payload, Store
from engine.zoo.registry import models


@dataclass(frozen=True)
class Repeated:
    """How a run came out once more: whether every row is the `same` to the last bit, and how many of the predictions
    of attacked images, `of` so many, `differ`. `key` is that of the run as it was computed here."""

    key: str
    same: bool
    differ: int
    of: int


def again(kept: Kept, bench: Bench) -> Repeated:
    """Compute the run once more; it is kept where it is not here yet. Raises EngineError and Cancelled."""
    return to_the_end(_again(kept, bench))


def _again(kept: Kept, bench: Bench) -> Generator[None, None, Repeated]:
    """The same unit by unit."""
    again_here(kept)
    task = Task(kept.entry.kind, spec_of(kept), kept.entry.title, device_of(kept.runs[0]))
    with tempfile.TemporaryDirectory() as folder:
        apart = Store(Path(folder))
        payload = yield from KINDS[task.kind].steps(task.spec, replace(
            bench, device=task.device, store=apart, recall=lambda one: one.kept(apart), unkept={}))
    if not bench.store.has(task.key):
        bench.keep(task, payload)
    return compared(task.key, kept.runs, runs_of(payload))


def compared(key: str, before: list[Rows], now: list[Rows]) -> Repeated:
    """The rows of before beside those of now."""
    if [(rows.spec, len(rows.labels)) for rows in before] != [(rows.spec, len(rows.labels)) for rows in now]:
        raise EngineError("other runs came of it than were kept; it was made by another version")
    both = list(zip(before, now, strict=True))
    same = all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)
               for one, other in both for name in COLUMNS)
    differ = sum(int((one.predicted_adversarial != other.predicted_adversarial).sum()) for one, other in both)
    return Repeated(key, same, differ, sum(len(rows.labels) for rows in before))


def again_here(kept: Kept) -> None:
    """Raise EngineError for a run that cannot be computed here: of one from elsewhere no folder and no checkpoint is
    opened, whatever it names."""
    what, known = asked(spec_of(kept)), {entry.name for entry in models()}
    if kept.imported and (what is None or what.dataset not in DATASETS or not _named(what) <= known):
        raise EngineError(f"{shortened(kept.entry.title)} was imported, and names data or models that are no "
                          "registered ones; ask for it by its command if you know them: python -m engine runs show")


def _named(what: Asked) -> set[str]:
    """Every model that it needs."""
    joint = (*what.models, *what.sources, *(spec.surrogate for spec in what.attacks))
    return {one.strip() for names in joint for one in names.split(",") if one}


# ---- as work


@dataclass(frozen=True)
class Repeating:
    """The run kept under this key, computed once more, for the `turn`th time (from 0)."""

    run: str
    turn: int


def repeating_task(kept: Kept, turn: int) -> Task:
    """The long job whose payload `repeated_of` reads."""
    return Task("repeated", Repeating(kept.entry.key, turn), f"once more: {kept.entry.title}",
                device_of(kept.runs[0]))


def repeated_of(payload: Payload) -> Repeated:
    """How a run came out once more, as it is kept; raises EngineError for what is no such result."""
    return from_json(Repeated, payload.facts)


def repetitions(store: Store, kept: Kept) -> list[tuple[float, Repeated]]:
    """How the run came out each time that it was computed once more, and when, the first first."""
    found: list[tuple[float, Repeated]] = []
    while (payload := (task := repeating_task(kept, len(found))).kept(store)) is not None:
        try:
            created = store.entry(task.key).created
        except EngineError:
            break  # its file is there, and the list does not name it yet
        found.append((created, repeated_of(payload)))
    return found


@kind("repeated", Repeating, reads=repeated_of)
def _repeated(repeating: Repeating, bench: Bench) -> Generator[None, None, Payload]:
    bench.progress.report(0.0, "planning")
    return Payload(to_json((yield from _again(read(bench.store, repeating.run), bench))), {})
