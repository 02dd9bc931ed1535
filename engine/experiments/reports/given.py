"""What a report is made of: the run, and what belongs to it and is kept beside it. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.attacks.rows import Rows
from engine.attacks.spec import cost_of
from engine.data import Dataset
from engine.errors import EngineError
from engine.experiments.defending.judged import Judged, judged
from engine.experiments.defending.judging import defended_of
from engine.experiments.epsilon.eyes import eyes_of, eyes_task
from engine.experiments.epsilon.ladder import WORST, Curves
from engine.experiments.queries.walks import Walks, walks_of
from engine.experiments.runs.kept import Kept, device_of
from engine.experiments.runs.pictures import spec_of
from engine.experiments.runs.repeating import asked, split_of
from engine.experiments.runs.samples import missing
from engine.experiments.transfers.alignment import Alignment, alignment_task
from engine.experiments.transfers.transfer import Transfer
from engine.work.kinds import Task
from engine.work.store import Store


@dataclass(frozen=True, eq=False)
class Given:
    """A run; what was asked for (`spec`, None where this version does not know it, or the rows are others) and its
    split, where that is here and the run was computed here; and of what is kept besides what its kind has."""

    kept: Kept
    spec: Any = None
    data: Dataset | None = None
    eyes: np.ndarray | None = None
    alignment: Alignment | None = None
    walks: tuple[Walks, ...] = ()
    defenses: Judged | None = None

    @property
    def runs(self) -> list[Rows]:
        return self.kept.runs


def given(store: Store, kept: Kept) -> Given:
    """What is known of a run."""
    eyes, alignment = ((None if task is None else task.kept(store)) for task in (_eyes(kept), _alignment(kept)))
    return Given(kept, _spec(kept), split_of(kept), None if eyes is None else eyes_of(eyes),
                 None if alignment is None else Alignment.of(alignment), _walks(store, kept), _defenses(store, kept))


@dataclass(frozen=True)
class Missing:
    """What is not kept and would have to be computed for a report to have everything: so many passes of an image
    through a model, at most."""

    tasks: tuple[Task, ...]
    passes: int


def missing_of(store: Store, kept: Kept) -> Missing:
    """Of a run that was computed here; of one from elsewhere nothing is computed."""
    batches = missing(store, kept)
    besides = [task for task in (_eyes(kept), _alignment(kept)) if task is not None and task.kept(store) is None]
    passes = sum(batch.count * cost_of(kept.runs[batch.run].spec).passes for batch in batches)
    return Missing((*(batch.task for batch in batches), *besides), passes)


def _spec(kept: Kept) -> Any:
    """What was asked for, where the rows are those of it: a file from elsewhere may say anything."""
    try:
        spec = spec_of(kept)
    except EngineError:
        return None
    what = asked(spec)
    if what is None:
        return None
    count = len(what.attacks) * len(what.models) * len(what.sources or (1,)) * len(getattr(spec, "readings", (1,)))
    fits = len(kept.runs) == count and all(len(rows.labels) == len(what.indices) for rows in kept.runs)
    return spec if fits else None


def _eyes(kept: Kept) -> Task | None:
    """What finds the eye's eps of the images of curves in L-infinity."""
    if kept.imported or kept.entry.kind != "curves":
        return None
    try:
        spec: Curves = spec_of(kept)
        wanted = WORST in spec.readings and any(one.norm == "linf" for one in spec.sweep.attacks)
        return eyes_task(spec.sweep.dataset, spec.sweep.split, spec.sweep.indices) if wanted else None
    except EngineError:
        return None


def _alignment(kept: Kept) -> Task | None:
    """What compares the gradients of the models of a transfer."""
    if kept.imported or kept.entry.kind != "transfer":
        return None
    try:
        spec: Transfer = spec_of(kept)
        if len(spec.models) < 2:
            return None
        return alignment_task(spec.dataset, spec.split, spec.indices, spec.models, spec.names, device_of(kept.runs[0]))
    except EngineError:
        return None


def _walks(store: Store, kept: Kept) -> tuple[Walks, ...]:
    if kept.entry.kind != "query-curve":
        return ()
    payload = store.get(kept.entry.key, check=walks_of)
    return () if payload is None else tuple(walks_of(payload))


def _defenses(store: Store, kept: Kept) -> Judged | None:
    if kept.entry.kind != "defend":
        return None
    payload = store.get(kept.entry.key, check=defended_of)
    return None if payload is None else judged(defended_of(payload))
