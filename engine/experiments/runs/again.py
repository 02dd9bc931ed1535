"""A run computed once more, with nothing taken from what is kept: whether the same comes of it. No torch."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.attacks.rows import COLUMNS, Rows
from engine.data import DATASETS
from engine.errors import EngineError, shortened
from engine.experiments.gathered import runs_of
from engine.experiments.runs.kept import Kept, device_of
from engine.experiments.runs.pictures import spec_of
from engine.experiments.runs.repeating import Asked, asked
from engine.work.kinds import KINDS, Bench, Task
from engine.work.store import Store
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
    _check(kept)
    task = Task(kept.entry.kind, spec_of(kept), kept.entry.title, device_of(kept.runs[0]))
    with tempfile.TemporaryDirectory() as folder:
        apart = Store(Path(folder))
        payload = KINDS[task.kind].perform(task.spec, replace(bench, device=task.device, store=apart,
                                                              recall=lambda one: one.kept(apart)))
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


def _check(kept: Kept) -> None:
    """Of a run from elsewhere no folder and no checkpoint is opened, whatever it names."""
    what, known = asked(spec_of(kept)), {entry.name for entry in models()}
    if kept.imported and (what is None or what.dataset not in DATASETS or not _named(what) <= known):
        raise EngineError(f"{shortened(kept.entry.title)} was imported, and names data or models that are no "
                          "registered ones; ask for it by its command if you know them: python -m engine runs show")


def _named(what: Asked) -> set[str]:
    """Every model that it needs."""
    joint = (*what.models, *what.sources, *(spec.surrogate for spec in what.attacks))
    return {one.strip() for names in joint for one in names.split(",") if one}
