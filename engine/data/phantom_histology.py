"""The embedded histology data set: synthetic H&E tiles of the breast whose nuclei are known."""

from collections.abc import Mapping
from functools import lru_cache

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
)


@lru_cache(maxsize=256)  # 64 MB; long training runs pass through it, a page's grid stays in it
def _render(split: str, index: int) -> phantom_histology_tile.Phantom:
    return phantom_histology_tile.render(split, index)


class PhantomHistology(PhantomSet):
    """Phantoms rendered as they are asked for, about 20 ms each."""

    def __init__(self, split: str) -> None:
        super().__init__(INFO, phantom_histology_tile.SERIES, phantom_histology_tile.VERSION, split)

    def image(self, index: int) -> np.ndarray:
        pixels = _render(self.split, index).image.transpose(2, 0, 1)
        return np.ascontiguousarray(pixels, np.float32) / np.float32(255)

    def lesion(self, index: int) -> np.ndarray | None:
        return _render(self.split, index).lesion if self.labels[index] else None

    def nuclei(self, index: int) -> np.ndarray | None:
        return _render(self.split, index).nuclei

    def groups(self, index: int) -> Mapping[str, str]:
        return {"Growth pattern": _render(self.split, index).pattern}


DATASETS.add(INFO.name, DatasetEntry(INFO, PhantomHistology))
