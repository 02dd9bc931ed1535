"""Which further images attacker and defender have, beside the attacked ones. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.data.base import Dataset
from engine.data.classmap import class_map_of, labelled
from engine.errors import EngineError
from engine.experiments.sources import opened

REFERENCE_EACH = 100  # clean images of each class, by which a detector's threshold is set


def chosen_others(dataset: Dataset, indices: Sequence[int], each: int) -> tuple[Dataset, tuple[int, ...]]:
    """Up to `each` images of every class, spread evenly over the training split that belongs to `dataset`'s split, as
    that split and their numbers there; raises EngineError.

    Where there is none, they come from the split itself, without the images `indices`.
    """
    pool = training_split(dataset)
    chosen = _spread(pool, each, set(indices) if pool is dataset else set())
    if not chosen:
        raise EngineError(f"this attack needs further images, and {dataset.info.name}/{dataset.split} has none beside "
                          "those attacked; attack fewer")
    return pool, chosen


def chosen_reference(dataset: Dataset) -> tuple[Dataset, tuple[int, ...]]:
    """The clean images that the defender of a model for `dataset`'s split has to fit a detector, of every class
    REFERENCE_EACH or as many as there are, as the validation split and their numbers there; raises EngineError."""
    name = dataset.split.replace("test", "validation").replace("train", "validation")
    if name == dataset.split or name not in dataset.info.splits:
        raise EngineError(f"a detector is fitted on clean images of a validation split beside those attacked, and "
                          f"{dataset.info.name}/{dataset.split} has none; take another split, or another defense")
    pool = labelled(opened(dataset.info.name, name), class_map_of(dataset))
    return pool, _spread(pool, REFERENCE_EACH, set())


def _spread(pool: Dataset, each: int, taken: set[int]) -> tuple[int, ...]:
    """Up to `each` images of every class, spread evenly over the split, without those `taken`."""
    chosen: list[int] = []
    for label in range(len(pool.classes)):
        own = [int(i) for i in np.flatnonzero(pool.labels == label) if int(i) not in taken]
        if own:
            chosen += [own[round(place)] for place in np.linspace(0, len(own) - 1, min(each, len(own)))]
    return tuple(chosen)


def training_split(dataset: Dataset) -> Dataset:
    """The split that a model for `dataset`'s split was trained on, or `dataset` itself where there is none."""
    name = dataset.split.replace("test", "train").replace("validation", "train")
    if name == dataset.split or name not in dataset.info.splits:
        return dataset
    return labelled(opened(dataset.info.name, name), class_map_of(dataset))
