"""Data sets that lie in folders, one folder a class."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from engine import digest
from engine.data.base import SIZE, Dataset, DatasetInfo
from engine.data.raster import enough_memory, grey, open_raster, resized, to_array
from engine.errors import EngineError
from engine.home import expanded

READING = 1  # raise it when the same file is read as other pixels than before
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


def data_home() -> Path | None:
    """Where the user keeps real data sets (PERTURBSCOPE_DATA), or None."""
    home = os.environ.get("PERTURBSCOPE_DATA")
    return expanded(home) if home else None


def find_layout(layouts: Iterable[str], folders: Iterable[str]) -> Path | None:
    """The first of data_home() and its `layouts` that holds all `folders`, or None."""
    home, needed = data_home(), list(folders)
    if home is None:
        return None
    candidates = [home, *(home / layout for layout in layouts)]
    return next((c for c in candidates if all(os.path.isdir(c / folder) for folder in needed)), None)


def not_here(advice: str) -> str:
    """Why a data set is not found, and what to do: the `advice`, unless PERTURBSCOPE_DATA itself is a mistake."""
    home = data_home()
    if home is not None and not os.path.isdir(home):
        return f"PERTURBSCOPE_DATA is '{home}', and that is no folder; set it to one that exists"
    return advice


def image_files(folder: Path) -> list[Path]:
    """The image files directly in `folder`, in a fixed order; hidden ones are left out. Raises EngineError."""
    return [p for p in listed(folder) if p.suffix.lower() in SUFFIXES and os.path.isfile(p)]


def listed(folder: Path) -> list[Path]:
    """What is in `folder` and not hidden, in a fixed order; raises EngineError where it cannot be read."""
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise EngineError(f"the folder '{folder}' cannot be read ({error.strerror}); change its permissions, or give "
                          "another") from None


def read_picture(path: Path, colour: bool = False) -> np.ndarray:
    """A picture file stretched to the square, float32 [1, 224, 224] (grey) or [3, 224, 224] in [0,1].

    Pictures of 8 bits stay in whole steps of n/255. Raises EngineError.
    """
    with enough_memory(path.name):
        picture = open_raster(path)
        pixels = to_array(resized(picture if colour else grey(picture), (SIZE, SIZE)))
    return np.repeat(pixels, 3, axis=0) if colour and len(pixels) == 1 else pixels


class FileDataset(Dataset):
    """Images read from files as they are asked for, grey unless `colour`."""

    def __init__(self, info: DatasetInfo, split: str, paths: Sequence[Path], labels: Sequence[int], root: Path,
                 colour: bool = False) -> None:
        super().__init__(info, split, np.asarray(labels, dtype=np.int64))
        self.paths = list(paths)
        self.root = root
        self.colour = colour

    def image(self, index: int) -> np.ndarray:
        return read_picture(self.paths[index], self.colour)

    def item_name(self, index: int) -> str:
        return self.paths[index].relative_to(self.root).as_posix()

    def origin(self, index: int) -> str:
        """The file's bytes, and how they are read; raises EngineError."""
        try:
            digested = digest.of_unchanged_file(self.paths[index])
        except OSError as error:
            raise EngineError(f"the picture {self.item_name(index)} cannot be read ({error.strerror}); put it back, "
                              "change its permissions, or choose others") from None
        return f"{READING} {'colour' if self.colour else 'grey'} {digested}"
