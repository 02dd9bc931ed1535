"""The embedded default data set: synthetic chest radiographs whose lesions are known."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from engine.data import phantom
from engine.data.base import DATASETS, DatasetEntry, DatasetInfo
from engine.data.phantom_common import PhantomSet

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

# What a lesion is called from that share of the lungs on; a third of them each, about.
SIZES = ((0.12, "large (over 12 % of the lungs)"), (0.08, "medium (8 to 12 %)"), (0.0, "small (under 8 %)"))


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
            return {}
        shown = _render(self.split, index)
        share = shown.lesion.sum() / shown.lungs.sum()
        return {"Size of the lesion": next(name for least, name in SIZES if share >= least)}


DATASETS.add(INFO.name, DatasetEntry(INFO, PhantomCxr))
