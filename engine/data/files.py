"""Data sets that lie in folders, one folder a class."""

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine import digest
from engine.data.base import SIZE, Damaged, Dataset, DatasetInfo, Gaps, Header, Stored, StoredUnits, eight_bit
from engine.data.damage import fault, faults, remember
from engine.data.header import DICOM, header
from engine.data.raster import enough_memory, grey, open_raster, resized, to_array
from engine.data.scan import Frame
from engine.errors import EngineError
from engine.home import expanded, home

READING = 1  # raise it when the same file is read as other pixels than before
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


def data_home() -> Path | None:
    """Where the user keeps real data sets: PERTURBSCOPE_DATA, or where that is not set the folder that downloads went
    to; None where there is none."""
    if named := os.environ.get("PERTURBSCOPE_DATA"):
        return expanded(named)
    return own if os.path.isdir(own := home() / "data") else None


def find_layout(layouts: Iterable[str], folders: Iterable[str]) -> Path | None:
    """The first of data_home() and its `layouts` that holds all `folders`, or None."""
    root, needed = data_home(), list(folders)
    if root is None:
        return None
    candidates = [root, *(root / layout for layout in layouts)]
    return next((c for c in candidates if all(os.path.isdir(c / folder) for folder in needed)), None)


def not_here(advice: str) -> str:
    """Why a data set is not found, and what to do: the `advice`, unless PERTURBSCOPE_DATA itself is a mistake."""
    root = data_home()
    if root is not None and not os.path.isdir(root):
        return f"PERTURBSCOPE_DATA is '{root}', and that is no folder; set it to one that exists"
    return advice


def image_files(folder: Path) -> list[Path]:
    """The image files directly in `folder`, in a fixed order; hidden ones are left out. Raises EngineError."""
    return [folder / entry.name for entry in _entries(folder) if os.path.splitext(entry.name)[1].lower() in SUFFIXES
            and (entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path))]


def images_below(folder: Path) -> list[Path]:
    """The image files in `folder` and in all folders below it, in a fixed order; hidden ones, and folders that are
    links, are left out."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in sorted(names)
                  if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES]
    return found


def listed(folder: Path) -> list[Path]:
    """What is in `folder` and not hidden, in a fixed order; raises EngineError where it cannot be read."""
    return [folder / entry.name for entry in _entries(folder)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The same as the system has them, by which ten thousand are gone through without looking at each file."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise EngineError(f"the folder '{folder}' cannot be read ({error.strerror}); change its permissions, or give "
                          "another") from None


def read_picture(path: Path, colour: bool = False) -> np.ndarray:
    """A picture file stretched to the square, float32 [1, 224, 224] (grey) or [3, 224, 224] in [0,1].

    Pictures of 8 bits stay in whole steps of n/255; DICOM files are read as uploads are. Raises EngineError.
    """
    if path.suffix.lower() == DICOM:
        return _read_dicom(path, colour)
    with enough_memory(path.name):
        picture = open_raster(path)
        pixels = to_array(resized(picture if colour else grey(picture), (SIZE, SIZE)))
    return np.repeat(pixels, 3, axis=0) if colour and len(pixels) == 1 else pixels


def _read_dicom(path: Path, colour: bool) -> np.ndarray:
    from engine.data.upload import read_limited  # pydicom takes a while to import

    pixels = read_limited(path).image
    return np.repeat(pixels, 3, axis=0) if colour else pixels


@lru_cache(maxsize=256)  # at most 150 MB, in colour
def _decoded(path: Path, colour: bool, modified: int, size: int) -> np.ndarray:
    return read_picture(path, colour)


@lru_cache(maxsize=4)
def _framed(path: Path, modified: int, size: int) -> Frame:
    from engine.data.upload import frame_in  # as for _read_dicom

    return frame_in(path)


class FileDataset(Dataset):
    """Images read from files as they are asked for, grey unless `colour`; damaged files are left out.

    `patients` says whom each file shows ("": unknown), `gaps` what is wrong with the data set's other files, those of
    the split that are left out already among them.
    """

    def __init__(self, info: DatasetInfo, split: str, paths: Sequence[Path], labels: Sequence[int], root: Path,
                 colour: bool = False, patients: Sequence[str] | None = None, gaps: Gaps | None = None) -> None:
        found = faults(paths)
        whole = [i for i, reason in enumerate(found) if reason is None]
        super().__init__(info, split, np.asarray([labels[i] for i in whole], dtype=np.int64))
        self.paths = [paths[i] for i in whole]
        self.root = root
        self.colour = colour
        self.patients = None if patients is None else [patients[i] for i in whole]
        before = gaps or Gaps()
        self.gaps = replace(before, damaged=(*before.damaged, *(
            Damaged(self._name(path), reason) for path, reason in zip(paths, found, strict=True) if reason)))
        if not whole and paths:
            raise EngineError(f"all {len(paths)} pictures of {info.name}/{split} are damaged, first of all "
                              f"{self.gaps.damaged[0].name}: {self.gaps.damaged[0].reason}")

    def image(self, index: int) -> np.ndarray:
        path = self.paths[index]
        try:
            facts = path.stat()
        except OSError:
            return read_picture(path, self.colour)  # which says what is wrong
        return _decoded(path, self.colour, facts.st_mtime_ns, facts.st_size).copy()

    def images(self, indices: Sequence[int]) -> np.ndarray:
        """As of any data set; one that is damaged inside is left out from then on, and that is said."""
        return np.stack([self._found(self.checked(index)) for index in indices])

    def _found(self, index: int) -> np.ndarray:
        try:
            return self.image(index)
        except EngineError as error:
            self.leave_out(index, str(error))
            left_out = fault(self.paths[index]) is not None
            raise EngineError(f"{error}. It is left out from now on: start again" if left_out else str(error)) from None

    def thumbnail(self, index: int, side: int) -> np.ndarray:
        """A JPEG is decoded no larger than it has to be."""
        path = self.paths[index]
        if path.suffix.lower() == DICOM:
            return super().thumbnail(index, side)
        with enough_memory(path.name):
            picture = open_raster(path, at_least=2 * side)
            return eight_bit(to_array(resized(picture if self.colour else grey(picture), (side, side))))

    def item_name(self, index: int) -> str:
        return self._name(self.paths[index])

    def _name(self, path: Path) -> str:
        name, within = str(path), os.path.join(self.root, "")
        if name.startswith(within):  # nearly always, and ten times as quick
            return name.removeprefix(within).replace(os.sep, "/")
        return path.relative_to(self.root).as_posix()

    def stored(self, index: int) -> Stored:
        return self.header(index).stored

    def header(self, index: int) -> Header:
        return header(self.paths[index])

    def frame(self, index: int) -> Frame | None:
        path = self.paths[index]
        if path.suffix.lower() != DICOM:
            return None
        try:
            facts = path.stat()
        except OSError:
            return _framed(path, 0, 0)  # which says what is wrong
        return _framed(path, facts.st_mtime_ns, facts.st_size)

    def stored_units(self, index: int) -> StoredUnits | None:
        frame = self.frame(index)
        return None if frame is None else frame.shown().stored_units

    def files(self) -> Sequence[Path]:
        return self.paths

    def leave_out(self, index: int, reason: str) -> None:
        with contextlib.suppress(OSError):  # it will be found again
            if os.access(self.paths[index], os.R_OK):
                remember(self.paths[index], reason)

    def patient(self, index: int) -> str | None:
        return (self.patients[index] or None) if self.patients else None

    def origin(self, index: int) -> str:
        """The file's bytes, and how they are read; raises EngineError."""
        try:
            digested = digest.of_unchanged_file(self.paths[index])
        except OSError as error:
            raise EngineError(f"the picture {self.item_name(index)} cannot be read ({error.strerror}); put it back, "
                              "change its permissions, or choose others") from None
        return f"{READING} {'colour' if self.colour else 'grey'} {digested}"
