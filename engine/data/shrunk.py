"""`NAME@SIDE`: a registered data set's pictures made smaller, for what would take too long on whole ones."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from engine.data.base import DATASETS, SIZE, Dataset, DatasetEntry, Header, StoredUnits
from engine.errors import EngineError, shortened

SEPARATOR = "@"
LEAST = 8


class Shrunk(Dataset):
    """The same pictures with `side` x `side` pixels, each the mean of those that it covers."""

    def __init__(self, whole: Dataset, side: int) -> None:
        super().__init__(replace(whole.info, name=f"{whole.info.name}{SEPARATOR}{side}"), whole.split, whole.labels)
        self._whole, self._side, self.gaps = whole, side, whole.gaps

    def image(self, index: int) -> np.ndarray:
        return np.stack([_means(channel, self._side) for channel in self._whole.image(index)])

    def item_name(self, index: int) -> str:
        return self._whole.item_name(index)

    def header(self, index: int) -> Header:
        return self._whole.header(index)

    def leave_out(self, index: int, reason: str) -> None:
        self._whole.leave_out(index, reason)

    def files(self) -> Sequence[Path]:
        return self._whole.files()

    def origin(self, index: int) -> str:
        return f"{self._whole.origin(index)} by area to {self._side}"

    def patient(self, index: int) -> str | None:
        return self._whole.patient(index)

    def stored_units(self, index: int) -> StoredUnits | None:
        return self._whole.stored_units(index)

    def groups(self, index: int) -> Mapping[str, str]:
        return self._whole.groups(index)

    def lesion(self, index: int) -> np.ndarray | None:
        return self._mark(self._whole.lesion(index))

    def nuclei(self, index: int) -> np.ndarray | None:
        return self._mark(self._whole.nuclei(index))

    def lungs(self, index: int) -> np.ndarray | None:
        return self._mark(self._whole.lungs(index))

    def _mark(self, mask: np.ndarray | None) -> np.ndarray | None:
        """The pixels of which half is marked; of a mark that is smaller than that, those of which most is."""
        if mask is None or not mask.any():
            return None if mask is None else np.zeros((self._side, self._side), bool)
        shares = _means(mask.astype(np.float32), self._side)
        return shares >= min(0.5, shares.max())


def entry(name: str) -> DatasetEntry:
    """The data set `name`, such as kermany@64; raises EngineError."""
    whole_name, _, side = name.rpartition(SEPARATOR)
    whole = DATASETS[whole_name]
    if not re.fullmatch("[1-9][0-9]{0,3}", side) or not LEAST <= int(side) <= SIZE:
        raise EngineError(f"after {whole_name}{SEPARATOR} stands how many pixels a side its pictures shall have, a "
                          f"whole number from {LEAST} to {SIZE}, not '{shortened(side)}'")
    if whole.sized is not None:
        return whole.sized(int(side))
    info = replace(whole.info, name=name, title=f"{whole.info.title}, {side} x {side}",
                   sentence=f"{whole.info.sentence} Shrunk to {side} x {side} pixels.")
    return DatasetEntry(info, lambda split: Shrunk(whole.load(split), int(side)), whole.missing)


def _means(pixels: np.ndarray, side: int) -> np.ndarray:
    """float32 [H, W] as [side, side], each value the mean of those whose centres it covers."""
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX))
