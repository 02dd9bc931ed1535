"""The embedded CT data set: synthetic axial chest slices in Hounsfield units whose lesions are known."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from engine.data import phantom_ct_scan
from engine.data.base import DATASETS, DatasetEntry, DatasetInfo, StoredUnits
from engine.data.phantom_common import PhantomSet, size_group

INFO = DatasetInfo(
    name="phantom-ct",
    title="Phantom chest CT slices (SYNTHETIC)",
    sentence="Axial slices computed from random anatomy, in HU, in a lung window: with or without COVID-19's ground "
             "glass, the lesion known. Scars, nodules and lung that was lain upon occur in both classes.",
    classes=phantom_ct_scan.SERIES.classes,
    splits=phantom_ct_scan.SERIES.sentences(),
    source="computed by this program",
    terms="free to use; no patient is shown",
    synthetic=True,
)


@lru_cache(maxsize=256)  # 51 MB; long training runs pass through it, a page's grid stays in it
def _render(split: str, index: int) -> phantom_ct_scan.Phantom:
    return phantom_ct_scan.render(split, index)


class PhantomCt(PhantomSet):
    """Phantoms rendered as they are asked for, about 20 ms each."""

    def __init__(self, split: str) -> None:
        super().__init__(INFO, phantom_ct_scan.SERIES, phantom_ct_scan.VERSION, split)

    def image(self, index: int) -> np.ndarray:
        return _render(self.split, index).image[None]

    def stored_units(self, index: int) -> StoredUnits | None:
        return _render(self.split, index).units

    def lesion(self, index: int) -> np.ndarray | None:
        return _render(self.split, index).lesion if self.labels[index] else None

    def lungs(self, index: int) -> np.ndarray | None:
        return _render(self.split, index).lungs

    def groups(self, index: int) -> Mapping[str, str]:
        if not self.labels[index]:
            return {}  # without rendering it
        shown = _render(self.split, index)
        return size_group(shown.lesion, shown.lungs, 0.07, 0.15)  # a third of them each, about


DATASETS.add(INFO.name, DatasetEntry(INFO, PhantomCt))
