"""A few images of a run, before and after, for a report. Does not import torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows
from engine.data import DATASETS, Dataset
from engine.errors import EngineError
from engine.experiments.runs.kept import Kept
from engine.experiments.runs.pictures import Pictures, image_names, pictures_of, spec_of
from engine.experiments.runs.repeating import Asked, asked
from engine.experiments.sources import opened
from engine.work.store import Store

_DIGEST = re.compile(r"[0-9a-f]{64}")
MOST, EACH = 6, 2  # samples in all, and of one batch of images


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


def samples(store: Store, kept: Kept, most: int = MOST) -> list[Sample]:
    """Some of the images that are kept with the run, those first that fooled the model; none where none is kept."""
    try:
        return list(islice(_samples(store, kept), most))
    except EngineError:  # its data set or its model are not here any more
        return []


def _samples(store: Store, kept: Kept) -> Iterator[Sample]:
    data, what = _data(kept)
    seen: set[int] = set()
    for some in pictures_of(store, kept):
        if some.run in seen:  # one batch of every run, so that runs are shown beside each other
            continue
        seen.add(some.run)
        rows = kept.runs[some.run]
        places = range(some.start, some.start + len(some.images))
        for row in sorted(places, key=lambda row: not rows.success[row])[:EACH]:
            yield _sample(kept, rows, some, row, data, what)


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


def _sample(kept: Kept, rows: Rows, some: Pictures, row: int, data: Dataset | None, what: Asked | None) -> Sample:
    perturbed = some.images[row - some.start]
    clean = None
    # Of an imported run nobody has checked that these are the same images.
    if data is not None and what is not None and not kept.imported and len(what.indices) == len(rows.labels):
        image = data.image(what.indices[row])
        clean = image if image.shape == perturbed.shape else None
    spec = rows.spec
    eps = "" if spec.eps is None else f" at {NORMS[spec.norm].text(spec.eps)}"
    name = image_names(kept, rows)[row]
    return Sample(name[:12] if _DIGEST.fullmatch(name) else name[:80], rows.classes[rows.labels[row]],
                  f"{ATTACKS[spec.attack].info.title}{eps}", _said(rows, rows.predicted_clean[row]),
                  _said(rows, rows.predicted_adversarial[row]), clean, perturbed)


def _said(rows: Rows, predicted: int) -> str:
    return "nothing (it refused)" if predicted < 0 else rows.classes[predicted]
