"""What may be marked on an image: for the attacks that are confined to it, and to be shown."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.data.base import Dataset


@dataclass(frozen=True)
class Mark:
    """What it is called in a sentence, and where a data set says it is on one of its images."""

    words: str
    find: Callable[[Dataset, int], np.ndarray | None]


MARKS = {
    "lesion": Mark("a lesion", lambda dataset, index: dataset.lesion(index)),
    "nuclei": Mark("the nuclei", lambda dataset, index: dataset.nuclei(index)),
    "lung": Mark("the lungs", lambda dataset, index: dataset.lungs(index)),
}


def marked(name: str, dataset: Dataset, index: int) -> np.ndarray | None:
    """Where the mark `name` is on an image, bool [224, 224], or None where nobody marked it, or marked nothing."""
    mask = MARKS[name].find(dataset, index)
    return mask if mask is not None and mask.any() else None
