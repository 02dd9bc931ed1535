"""The perturbed images of a run, as far as they are kept: with its units, or with itself where it was imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from engine.attacks.rows import Rows
from engine.experiments.kept import Kept
from engine.experiments.sweeps import Sweep
from engine.experiments.units import Unit, images_of, images_task, units_of
from engine.work.kinds import KINDS
from engine.work.specs import from_json
from engine.work.store import Store

_PREFIX = "pictures"  # how the arrays of imported runs are called that hold images


@dataclass(frozen=True, eq=False)
class Pictures:
    """Perturbed images [N, C, H, W] of run number `run`, of its rows from `start` on."""

    run: int
    start: int
    images: np.ndarray

    @property
    def name(self) -> str:
        return name_of(self.run, self.start)


def name_of(run: int, start: int) -> str:
    """Under which name such images are kept with an imported run."""
    return f"{_PREFIX}_{run}_{start}"


def sweep_in(spec: Any) -> Sweep | None:
    """The sweep that a spec is or has; None where it is about none."""
    if isinstance(spec, Sweep):
        return spec
    values = [getattr(spec, field.name) for field in fields(spec)] if is_dataclass(spec) else []
    return next((value for value in values if isinstance(value, Sweep)), None)


def spec_of(kept: Kept) -> Any:
    """What was asked for; raises EngineError where this version does not know it."""
    return from_json(KINDS[kept.entry.kind].spec, kept.entry.spec)


def units_in(sweep: Sweep, rows: Rows) -> list[Unit]:
    """The units of these rows of a run of the sweep; raises EngineError where its data or its model are not here."""
    return units_of(sweep.dataset, sweep.split, sweep.indices, rows.provenance.model, rows.spec, sweep.names,
                    sweep.further)


def pictures_of(store: Store, kept: Kept) -> Iterator[Pictures]:
    """What is kept of the run's images, batch by batch; raises EngineError as `units_in`."""
    yield from (_imported if kept.imported else _of_units)(store, kept)


def _of_units(store: Store, kept: Kept) -> Iterator[Pictures]:
    sweep = sweep_in(spec_of(kept))
    for run, rows in enumerate(kept.runs if sweep is not None else ()):
        assert sweep is not None
        start = 0
        for unit in units_in(sweep, rows):
            payload = images_task(unit, rows.provenance.device).kept(store)
            if payload is not None:
                yield Pictures(run, start, images_of(payload)[0])
            start += len(unit.indices)


def _imported(store: Store, kept: Kept) -> Iterator[Pictures]:
    for run, start in kept.payload.facts.get("pictures", ()):
        name = name_of(run, start)
        payload = store.get(kept.entry.key, (name,))
        if payload is not None and name in payload.arrays:
            yield Pictures(run, start, payload.arrays[name])
