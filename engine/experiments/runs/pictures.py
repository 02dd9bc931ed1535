"""The perturbed images of a run, as far as they are kept: with its units, or with itself where it was imported."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.attacks.rows import Rows
from engine.attacks.spec import AttackSpec
from engine.errors import EngineError
from engine.experiments.epsilon.ladder import (
    INDEPENDENT,
    TRIED,
    WORST,
    Curves,
    climbs_of,
    ladder_of,
    pictures_task,
)
from engine.experiments.epsilon.ladder import pictures_of as of_ladder
from engine.experiments.frames import frame
from engine.experiments.queries.walks import together
from engine.experiments.runs.kept import Kept, device_of
from engine.experiments.sources import opened
from engine.experiments.sweeps import Sweep
from engine.experiments.transfers.transfer import Transfer
from engine.experiments.units import Unit, images_of, images_task
from engine.work.kinds import KINDS, Task
from engine.work.specs import from_json
from engine.work.store import Payload, Store

if TYPE_CHECKING:
    import pandas

log = logging.getLogger(__name__)
# What says in the facts of an imported run which images came with it, and how the arrays are called that hold them.
PICTURES = "pictures"
_PREFIX = f"{PICTURES}_"


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
    return f"{_PREFIX}{run}_{start}"


def is_pictures(name: str) -> bool:
    """Whether such an array holds images that came with an imported run."""
    return name.startswith(_PREFIX)


def sweep_in(spec: Any) -> Sweep | None:
    """The sweep that a spec is or has; None where it is about none."""
    if isinstance(spec, Sweep):
        return spec
    values = [getattr(spec, field.name) for field in fields(spec)] if is_dataclass(spec) else []
    return next((value for value in values if isinstance(value, Sweep)), None)


def spec_of(kept: Kept) -> Any:
    """What was asked for; raises EngineError where this version does not know it."""
    return from_json(KINDS[kept.entry.kind].spec, kept.entry.spec)


# ---- what gives the images of a run


@dataclass(frozen=True)
class Batch:
    """So many (`count`) images of run number `run`, of its rows from `start` on: any of `givers` gives them, and says
    how they are read from what it gives."""

    run: int
    start: int
    count: int
    givers: tuple[tuple[Task, Callable[[Payload], np.ndarray]], ...]

    def kept(self, store: Store) -> Pictures | None:
        """The images, where they are kept."""
        for task, read in self.givers:
            if (payload := task.kept(store)) is not None:
                return Pictures(self.run, self.start, read(payload))
        return None

    @property
    def task(self) -> Task:
        """What makes them again."""
        return self.givers[0][0]


def batches_of(kept: Kept, run: int, rows_wanted: Sequence[int] | None = None) -> Iterator[Batch]:
    """The batches of a run's images, or those in which the wanted rows are, one by one, as a look at all images may
    take long. There are none where nothing gives them, as between the eps of a worst case found by halving. Raises
    EngineError where the data or the model are not here."""
    spec, rows = spec_of(kept), kept.runs[run]
    planned = _PLANS.get(kept.entry.kind, lambda *_: None)(spec, run, rows)
    if planned is None:
        return
    places = None if rows_wanted is None else sorted({row // planned.size for row in rows_wanted})
    units = planned.sweep.units(planned.model, planned.attack, places, planned.size)
    for place, unit in zip(count() if places is None else places, units, strict=False):
        yield Batch(run, place * planned.size, len(unit.indices), tuple(planned.givers(unit)))


def _images(payload: Payload) -> np.ndarray:
    return images_of(payload)[0]


@dataclass(frozen=True)
class _Planned:
    """How a run's images were made: the attack on a model of a sweep, so many together, and what gives a unit's."""

    sweep: Sweep
    model: str
    attack: AttackSpec
    size: int
    givers: Callable[[Unit], Iterator[tuple[Task, Callable[[Payload], np.ndarray]]]]


def _units(sweep: Sweep, model: str, attack: AttackSpec, rows: Rows, size: int = 0) -> _Planned:
    device = device_of(rows)
    return _Planned(sweep, model, attack, min(size or attack.batch, attack.batch),
                    lambda unit: iter([(images_task(unit, device), _images)]))


def _of_sweep(sweep: Sweep, run: int, rows: Rows) -> _Planned:
    return _units(sweep, sweep.model_of(rows), rows.spec, rows)


def _of_walks(sweep: Sweep, run: int, rows: Rows) -> _Planned:
    return _units(sweep, sweep.model_of(rows), rows.spec, rows, together(rows.spec, device_of(rows)))


def _of_transfer(transfer: Transfer, run: int, rows: Rows) -> _Planned:
    sweep, attack = transfer.making(run)
    return _units(sweep, sweep.models[0], attack, rows)


def _of_curves(curves: Curves, run: int, rows: Rows) -> _Planned | None:
    """At the largest eps a climb gives them, whatever the reading; else, of independent runs, their own units."""
    sweep = curves.sweep
    place, own = divmod(run, len(sweep.models) * len(sweep.attacks))
    reading, climb = curves.readings[place], next(climb for climb in climbs_of(sweep) if own in climb)
    plain = _of_sweep(sweep, run, rows)
    if own != climb[-1]:
        return plain if reading == INDEPENDENT else None
    rungs = [sweep.attacks[one % len(sweep.attacks)].eps or 0.0 for one in climb]
    climbed = TRIED if reading == WORST and INDEPENDENT in curves.readings else reading

    def givers(unit: Unit) -> Iterator[tuple[Task, Callable[[Payload], np.ndarray]]]:
        yield pictures_task(ladder_of(unit, rungs, climbed), device_of(rows)), of_ladder
        if reading == INDEPENDENT:
            yield from plain.givers(unit)

    return replace(plain, givers=givers)


_PLANS: dict[str, Callable[[Any, int, Rows], _Planned | None]] = {
    "evaluation": _of_sweep, "curves": _of_curves, "transfer": _of_transfer, "query-curve": _of_walks,
    "defend": _of_walks}


def image_names(kept: Kept, rows: Rows) -> tuple[str, ...]:
    """What the images of the rows are called: as in their data set where that is here, else by their identities. Of an
    imported run no data set is opened, as it may name any folder."""
    try:
        spec = spec_of(kept)
        asked = sweep_in(spec) or spec
        if not kept.imported and len(asked.indices) == len(rows.labels):
            dataset = opened(asked.dataset, asked.split)
            return tuple(dataset.item_name(index) for index in asked.indices)
    except (EngineError, AttributeError) as error:  # a spec of another form, or data that are gone
        log.info("images are called by their digests (%s)", error)
    return rows.identities


def table_of(kept: Kept) -> pandas.DataFrame:
    """All rows of all runs as one table."""
    import pandas

    return pandas.concat([frame([rows], image_names(kept, rows)) for rows in kept.runs], ignore_index=True)


def pictures_of(store: Store, kept: Kept) -> Iterator[Pictures]:
    """What is kept of the run's images, batch by batch; raises EngineError as `batches_of`."""
    yield from (_imported if kept.imported else _of_units)(store, kept)


def _of_units(store: Store, kept: Kept) -> Iterator[Pictures]:
    for run in range(len(kept.runs)):
        yield from (some for batch in batches_of(kept, run) if (some := batch.kept(store)) is not None)


def _imported(store: Store, kept: Kept) -> Iterator[Pictures]:
    for run, start in kept.payload.facts.get(PICTURES, ()):
        name = name_of(run, start)
        payload = store.get(kept.entry.key, (name,))
        if payload is not None and name in payload.arrays:
            yield Pictures(run, start, payload.arrays[name])
