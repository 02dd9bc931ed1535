"""A few images of a run, before and after, for a report. Does not import torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine import digest
from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows
from engine.data import DATASETS, Dataset
from engine.errors import EngineError
from engine.experiments.epsilon.ladder import WORST
from engine.experiments.runs.comparison import readings
from engine.experiments.runs.kept import Kept
from engine.experiments.runs.pictures import Batch, Pictures, batches_of, image_names, pictures_of, spec_of
from engine.experiments.runs.repeating import Asked, asked
from engine.experiments.sources import opened
from engine.work.kinds import Bench
from engine.work.store import Store
from engine.zoo.registry import model_digest

_DIGEST = re.compile(r"[0-9a-f]{64}")
MOST, EACH = 6, 2  # samples in all, and of one run
_TRIED = 3  # batches of a run that are looked for


@dataclass(frozen=True, eq=False)
class Sample:
    """One image, float32 [C, H, W] in [0,1], and what is said of it; `clean` is None where its data set is not here."""

    name: str
    truth: str
    attack: str
    before: str
    after: str
    clean: np.ndarray | None
    perturbed: np.ndarray


def samples(store: Store, kept: Kept, bench: Bench | None = None) -> list[Sample]:
    """Some images of a few runs, those first that fooled the model: as far as they are kept, or on a `bench` made
    again, in the same batches. None where the data set or the model are not here any more."""
    try:
        return [sample for some in _pictures(store, kept, bench) for sample in _of(kept, some)][:MOST]
    except EngineError:
        return []


def missing(store: Store, kept: Kept) -> list[Batch]:
    """The batches that would have to be made again for samples, as they are not kept."""
    try:
        return [] if kept.imported else [batch for batch in _chosen(store, kept) if batch.kept(store) is None]
    except EngineError:
        return []


def _pictures(store: Store, kept: Kept, bench: Bench | None) -> Iterator[Pictures]:
    if kept.imported:
        yield from _one_of_each(store, kept)
        return
    chosen = list(_chosen(store, kept))
    for number, batch in enumerate(chosen):
        if bench is not None and batch.kept(store) is None:
            bench.piece(number, len(chosen)).result(batch.task)
        if (some := batch.kept(store)) is not None:
            yield some


def _one_of_each(store: Store, kept: Kept) -> Iterator[Pictures]:
    """Of those that came with a file the first of each run."""
    seen: set[int] = set()
    for some in pictures_of(store, kept):
        if some.run not in seen:
            seen.add(some.run)
            yield some


def _chosen(store: Store, kept: Kept) -> Iterator[Batch]:
    """A batch of each of a few runs: one that is kept where there is one, else the first with an image that fooled."""
    count = 0
    for run in _order(kept.runs):
        rows = kept.runs[run]
        wanted = [*np.flatnonzero(rows.success)[:200].tolist(), 0]
        batches = [batch for batch, _ in zip(batches_of(kept, run, wanted), range(_TRIED), strict=False)
                   if _unchanged(kept, batch)]
        if batches:
            fooled = [batch for batch in batches if rows.success[batch.start:batch.start + batch.count].any()]
            yield next((batch for batch in batches if batch.kept(store) is not None), (fooled or batches)[0])
            count += 1
        if count == MOST // EACH:
            return


def _order(runs: Sequence[Rows]) -> list[int]:
    """The numbers of the runs, strongest first: one of each attack on each model before the second of any, and what
    was made elsewhere before what was made on the model itself."""
    strongest = sorted(range(len(runs)), key=lambda run: -int(runs[run].success.sum()))
    seen: dict[tuple[str, str, str], int] = {}
    turns = {}
    for run in strongest:
        what = runs[run].spec.attack, runs[run].spec.surrogate, runs[run].provenance.model
        turns[run] = seen[what] = seen.get(what, -1) + 1
    return sorted(strongest, key=lambda run: (turns[run], not runs[run].spec.surrogate))


def _unchanged(kept: Kept, batch: Batch) -> bool:
    """Whether the data set and the model are still those that the rows are of."""
    data, what = _data(kept)
    unit, rows = getattr(batch.task.spec, "unit", batch.task.spec), kept.runs[batch.run]
    return (data is not None and what is not None and len(what.indices) == len(rows.labels)
            and digest.of_arrays(data.image(what.indices[batch.start])) == rows.digests[batch.start]
            and (bool(rows.spec.surrogate) or model_digest(unit.model) == rows.provenance.model_digest))


def _data(kept: Kept) -> tuple[Dataset | None, Asked | None]:
    """The split that the images come from; of imported runs only of a registered data set, as they may name any
    folder."""
    what = asked(spec_of(kept))
    if what is None or (kept.imported and what.dataset not in DATASETS):
        return None, None
    try:
        return opened(what.dataset, what.split), what
    except EngineError:
        return None, None


def _of(kept: Kept, some: Pictures) -> Iterator[Sample]:
    rows = kept.runs[some.run]
    data, what = _data(kept)
    places = range(some.start, some.start + len(some.images))
    for row in sorted(places, key=lambda row: not rows.success[row])[:EACH]:
        yield _sample(kept, some, row, data, what)


def _sample(kept: Kept, some: Pictures, row: int, data: Dataset | None, what: Asked | None) -> Sample:
    rows, perturbed = kept.runs[some.run], some.images[row - some.start]
    clean = None
    # Of an imported run nobody has checked that these are the same images.
    if data is not None and what is not None and not kept.imported and len(what.indices) == len(rows.labels):
        image = data.image(what.indices[row])
        clean = image if digest.of_arrays(image) == rows.digests[row] and image.shape == perturbed.shape else None
    name = image_names(kept, rows)[row]
    return Sample(name[:12] if _DIGEST.fullmatch(name) else name[:80], rows.classes[rows.labels[row]],
                  _attack(kept, some.run), _said(rows, rows.predicted_clean[row]),
                  _said(rows, rows.predicted_adversarial[row]), clean, perturbed)


def _attack(kept: Kept, run: int) -> str:
    rows = kept.runs[run]
    spec, reading = rows.spec, readings(kept.runs, kept.readings)[run]
    eps = "" if spec.eps is None else f" {'within' if reading == WORST else 'at'} {NORMS[spec.norm].text(spec.eps)}"
    source = f", made on {spec.surrogate}" if spec.surrogate else ""
    return f"{ATTACKS[spec.attack].info.title}{eps}{source}, shown to {rows.provenance.model}"


def _said(rows: Rows, predicted: int) -> str:
    return "nothing (it refused)" if predicted < 0 else rows.classes[predicted]
