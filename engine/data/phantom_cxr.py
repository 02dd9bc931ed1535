"""The embedded default data set: synthetic chest radiographs whose lesions are known."""

import numpy as np

from engine.data import phantom
from engine.data.base import DATASETS, DatasetEntry, DatasetInfo
from engine.data.phantom_common import ChestPhantoms

INFO = DatasetInfo(
    name="phantom-cxr",
    title="Phantom chest X-rays (SYNTHETIC)",
    sentence="Radiographs computed from random anatomy: normal, pneumonia or COVID-19, with the lesion known.",
    classes=phantom.CLASSES,
    splits=phantom.SERIES.sentences(),
    source="computed by this program",
    terms="free to use; no patient is shown",
    synthetic=True,
    modality="radiograph of the chest (computed)",
)


class PhantomCxr(ChestPhantoms[phantom.Phantom]):
    """Synthetic radiographs."""

    sizes = 0.08, 0.12  # a third of them each, about

    def __init__(self, split: str) -> None:
        super().__init__(INFO, phantom.SERIES, phantom.VERSION, phantom.render, split)

    def image(self, index: int) -> np.ndarray:
        return self.shown(index).image[None].astype(np.float32) / np.float32(255)


DATASETS.add(INFO.name, DatasetEntry(INFO, PhantomCxr))
