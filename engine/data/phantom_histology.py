"""The embedded histology data set: synthetic H&E tiles of the breast whose nuclei are known."""

from collections.abc import Mapping

import numpy as np

from engine.data import phantom_histology_tile
from engine.data.base import DATASETS, DatasetEntry, DatasetInfo
from engine.data.phantom_common import PhantomSet

INFO = DatasetInfo(
    name="phantom-histology",
    title="Phantom breast histology (SYNTHETIC)",
    sentence="H&E tiles in colour, computed from random tissue: benign glands or carcinoma, tumour and nuclei known. "
             "Stains differ from tile to tile, and both classes have crowded and sparse fields.",
    classes=phantom_histology_tile.SERIES.classes,
    splits=phantom_histology_tile.SERIES.sentences(),
    source="computed by this program",
    terms="free to use; no patient is shown",
    synthetic=True,
    modality="histology, H&E, RGB (computed)",
)


class PhantomHistology(PhantomSet[phantom_histology_tile.Phantom]):
    """Synthetic tiles."""

    channels = 3

    def __init__(self, split: str) -> None:
        super().__init__(INFO, phantom_histology_tile.SERIES, phantom_histology_tile.VERSION,
                         phantom_histology_tile.render, split)

    def image(self, index: int) -> np.ndarray:
        pixels = self.shown(index).image.transpose(2, 0, 1)
        return np.ascontiguousarray(pixels, np.float32) / np.float32(255)

    def nuclei(self, index: int) -> np.ndarray | None:
        return self.shown(index).nuclei

    def groups(self, index: int) -> Mapping[str, str]:
        return {"Growth pattern": self.shown(index).pattern}


DATASETS.add(INFO.name, DatasetEntry(INFO, PhantomHistology))
