"""The perturbed images of a run, as far as they are kept: with its units, or with itself where it was imported."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.attacks.rows import Rows
from engine.errors import EngineError
from engine.experiments.frames import frame
from engine.experiments.runs.kept import Kept, device_of
from engine.experiments.sources import opened
from engine.experiments.sweeps import Sweep
from engine.experiments.transfers.transfer import Transfer
from engine.experiments.units import Unit, images_of, images_task
from engine.work.kinds import KINDS
from engine.work.specs import from_json
from engine.work.store import Store

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


def units_in(spec: Any, run: int, rows: Rows) -> Iterator[Unit]:
    """The units on which the images of a run were made, one by one, as a look at all images may take long; none where
    the spec is about no sweep. Raises EngineError where its data or its model are not here."""
    if isinstance(spec, Transfer):
        sweep, attack = spec.making(run)
        yield from sweep.units(sweep.models[0], attack)
    elif (found := sweep_in(spec)) is not None:
        yield from found.units(found.model_of(rows), rows.spec)


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
    """What is kept of the run's images, batch by batch; raises EngineError as `units_in`."""
    yield from (_imported if kept.imported else _of_units)(store, kept)


def _of_units(store: Store, kept: Kept) -> Iterator[Pictures]:
    spec = spec_of(kept)
    for run, rows in enumerate(kept.runs):
        start = 0
        for unit in units_in(spec, run, rows):
            payload = images_task(unit, device_of(rows)).kept(store)
            if payload is not None:
                yield Pictures(run, start, images_of(payload)[0])
            start += len(unit.indices)


def _imported(store: Store, kept: Kept) -> Iterator[Pictures]:
    for run, start in kept.payload.facts.get(PICTURES, ()):
        name = name_of(run, start)
        payload = store.get(kept.entry.key, (name,))
        if payload is not None and name in payload.arrays:
            yield Pictures(run, start, payload.arrays[name])
