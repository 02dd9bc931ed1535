"""A few images of a run, before and after, for a report. Does not import torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from engine import digest
from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows
from engine.data import Dataset
from engine.errors import EngineError
from engine.experiments.defended import behind
from engine.experiments.epsilon.ladder import WORST
from engine.experiments.runs.comparison import readings
from engine.experiments.runs.kept import Kept
from engine.experiments.runs.pictures import Batch, Pictures, batches_of, image_names, pictures_of
from engine.experiments.runs.repeating import asked_of, split_of
from engine.work.store import Store

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


def samples(store: Store, kept: Kept) -> list[Sample]:
    """Some images of a few runs, those first that fooled the model, as far as they are kept; none where the data set or
    the model are not here any more."""
    try:
        originals = _Originals.of(kept)
        return [sample for some in _pictures(store, kept, originals) for sample in _of(kept, some, originals)][:MOST]
    except EngineError:
        return []


def missing(store: Store, kept: Kept) -> list[Batch]:
    """The batches that would have to be made again for samples, as they are not kept: the same ones come of it."""
    try:
        return [] if kept.imported else [batch for batch in _chosen(store, kept, _Originals.of(kept))
                                         if batch.kept(store) is None]
    except EngineError:
        return []


@dataclass(frozen=True, eq=False)
class _Originals:
    """The images before the attack: those of `data`, None where it is not here, by their numbers."""

    data: Dataset | None
    indices: tuple[int, ...]

    @classmethod
    def of(cls, kept: Kept) -> Self:
        what = asked_of(kept)
        return cls(split_of(kept), () if what is None else what.indices)

    def image(self, rows: Rows, row: int) -> np.ndarray | None:
        """That of a row, where it has not changed since."""
        if self.data is None or len(self.indices) != len(rows.labels):
            return None
        image = self.data.image(self.indices[row])
        return image if digest.of_arrays(image) == rows.digests[row] else None


def _pictures(store: Store, kept: Kept, originals: _Originals) -> Iterator[Pictures]:
    if kept.imported:
        return _one_of_each(store, kept)
    return (some for batch in _chosen(store, kept, originals) if (some := batch.kept(store)) is not None)


def _one_of_each(store: Store, kept: Kept) -> Iterator[Pictures]:
    """Of those that came with a file the first of each run."""
    seen: set[int] = set()
    for some in pictures_of(store, kept):
        if some.run not in seen:
            seen.add(some.run)
            yield some


def _chosen(store: Store, kept: Kept, originals: _Originals) -> Iterator[Batch]:
    """A batch of each of a few runs: one that is kept where there is one, else the first with an image that fooled."""
    count = 0
    for run in _order(kept.runs):
        rows = kept.runs[run]
        wanted = [*np.flatnonzero(rows.success)[:200].tolist(), 0]
        batches = [batch for batch, _ in zip(batches_of(kept, run, wanted), range(_TRIED), strict=False)
                   if originals.image(rows, batch.start) is not None]
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


def _of(kept: Kept, some: Pictures, originals: _Originals) -> Iterator[Sample]:
    rows = kept.runs[some.run]
    places = range(some.start, some.start + len(some.images))
    for row in sorted(places, key=lambda row: not rows.success[row])[:EACH]:
        perturbed, clean = some.images[row - some.start], originals.image(rows, row)
        if kept.imported or (clean is not None and _counted(rows, row, clean, perturbed)):
            yield _sample(kept, some.run, row, clean, perturbed)


def _counted(rows: Rows, row: int, clean: np.ndarray, perturbed: np.ndarray) -> bool:
    """Whether this is the image that was counted, and not what a model makes of it that has changed since."""
    return clean.shape == perturbed.shape and bool(np.isclose(
        np.linalg.norm((perturbed - clean).astype(np.float64)), rows.l2[row], rtol=1e-4, atol=1e-6))


def _sample(kept: Kept, run: int, row: int, clean: np.ndarray | None, perturbed: np.ndarray) -> Sample:
    rows = kept.runs[run]
    name = image_names(kept, rows)[row]
    return Sample(name[:12] if _DIGEST.fullmatch(name) else name[:80], rows.classes[rows.labels[row]],
                  _attack(kept, run), _said(rows, rows.predicted_clean[row]),
                  _said(rows, rows.predicted_adversarial[row]), clean, perturbed)


def _attack(kept: Kept, run: int) -> str:
    rows = kept.runs[run]
    spec, reading = rows.spec, readings(kept.runs, kept.readings)[run]
    eps = "" if spec.eps is None else f" {'within' if reading == WORST else 'at'} {NORMS[spec.norm].text(spec.eps)}"
    source = f", made on {spec.surrogate}" if spec.surrogate else ""
    return f"{ATTACKS[spec.attack].info.title}{eps}{source}, shown to {rows.provenance.model}{behind(spec)}"


def _said(rows: Rows, predicted: int) -> str:
    return "nothing (it refused)" if predicted < 0 else rows.classes[predicted]
