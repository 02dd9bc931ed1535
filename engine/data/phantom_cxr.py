"""The embedded default data set: synthetic chest radiographs whose lesions are known."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from engine.data import phantom
from engine.data.base import DATASETS, DatasetEntry, DatasetInfo
from engine.data.phantom_common import PhantomSet, size_group

INFO = DatasetInfo(
    name="phantom-cxr",
    title="Phantom chest X-rays (SYNTHETIC)",
    sentence="Radiographs computed from random anatomy: normal, pneumonia or COVID-19, with the lesion known.",
    classes=phantom.CLASSES,
    splits=phantom.SERIES.sentences(),
    source="computed by this program",
    terms="free to use; no patient is shown",
    synthetic=True,
)


@lru_cache(maxsize=256)  # 38 MB; long training runs pass through it, a page's grid stays in it
def _render(split: str, index: int) -> phantom.Phantom:
    return phantom.render(split, index)


class PhantomCxr(PhantomSet):
    """Phantoms rendered as they are asked for, about 20 ms each."""

    def __init__(self, split: str) -> None:
        super().__init__(INFO, phantom.SERIES, phantom.VERSION, split)

    def image(self, index: int) -> np.ndarray:
        return _render(self.split, index).image[None].astype(np.float32) / np.float32(255)

    def lesion(self, index: int) -> np.ndarray | None:
        return _render(self.split, index).lesion if self.labels[index] else None

    def lungs(self, index: int) -> np.ndarray | None:
        return _render(self.split, index).lungs

    def groups(self, index: int) -> Mapping[str, str]:
        if not self.labels[index]:
            return {}  # without rendering it
        shown = _render(self.split, index)
        return size_group(shown.lesion, shown.lungs, 0.08, 0.12)  # a third of them each, about


DATASETS.add(INFO.name, DatasetEntry(INFO, PhantomCxr))
