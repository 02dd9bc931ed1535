"""The embedded CT data set: synthetic axial chest slices in Hounsfield units whose lesions are known."""

import numpy as np

from engine.data import phantom_ct_scan
from engine.data.base import DATASETS, DatasetEntry, DatasetInfo, StoredUnits
from engine.data.phantom_common import ChestPhantoms

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
    modality="CT of the lungs (computed)",
)


class PhantomCt(ChestPhantoms[phantom_ct_scan.Phantom]):
    """Synthetic slices."""

    sizes = 0.07, 0.15  # a third of them each, about
    bits = 16

    def __init__(self, split: str) -> None:
        super().__init__(INFO, phantom_ct_scan.SERIES, phantom_ct_scan.VERSION, phantom_ct_scan.render, split)

    def image(self, index: int) -> np.ndarray:
        return self.shown(index).image[None]

    def stored_units(self, index: int) -> StoredUnits | None:
        return self.shown(index).units


DATASETS.add(INFO.name, DatasetEntry(INFO, PhantomCt))
