"""Data sets that lie in folders, one folder a class."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from engine.data.base import SIZE, Dataset, DatasetInfo
from engine.data.raster import open_raster

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


def data_home() -> Path | None:
    """Where the user keeps real data sets (PERTURBSCOPE_DATA), or None."""
    home = os.environ.get("PERTURBSCOPE_DATA")
    return Path(home).expanduser() if home else None


def image_files(folder: Path) -> list[Path]:
    """The image files directly in `folder`, in a fixed order."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def read_grey(path: Path) -> np.ndarray:
    """A picture file as float32 [1, 224, 224] in [0,1], grey, stretched to the square; raises EngineError."""
    return resized(open_raster(path).convert("L"))[None]


def resized(picture: Image.Image, size: int = SIZE) -> np.ndarray:
    """A PIL picture stretched to size x size as float32 in [0,1], still in whole 8-bit steps."""
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.float32) / np.float32(255)


class FileDataset(Dataset):
    """Grey images read from files as they are asked for."""

    def __init__(self, info: DatasetInfo, split: str, paths: Sequence[Path], labels: Sequence[int], root: Path) -> None:
        super().__init__(info, split, np.asarray(labels, dtype=np.int64))
        self.paths = list(paths)
        self.root = root

    def image(self, index: int) -> np.ndarray:
        return read_grey(self.paths[index])

    def item_name(self, index: int) -> str:
        return self.paths[index].relative_to(self.root).as_posix()
