"""What every data set is: numbered images in [0,1] with a class each, in named splits."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from engine import digest
from engine.data.remote import Remote
from engine.errors import EngineError, UnknownName
from engine.registry import Registry

if TYPE_CHECKING:
    from engine.data.scan import Frame

SIZE = 224


@dataclass(frozen=True)
class DatasetInfo:
    """A data set's facts, shown wherever it is offered. `splits` maps a split's name to one plain sentence.

    `modality` is how the pictures were made, and of what, before a bracket what else is to be said; `population` whom
    they show, where that is some people only. `source` is what to cite, `terms` the licence, `obtain` how to get it,
    `layouts` the folders and files by which it is recognised below PERTURBSCOPE_DATA, `grouping` what is never parted
    by a split, `remote` where it can be downloaded from, if its licence allows that and its checksum is known;
    `findings` are the labels of which an image may have several, where there are such (`engine.data.findings`).
    """

    name: str
    title: str
    sentence: str
    classes: tuple[str, ...]
    splits: Mapping[str, str]
    source: str
    terms: str
    synthetic: bool = False
    default_split: str = "test"
    modality: str = ""
    population: str = ""
    obtain: str = ""
    layouts: tuple[str, ...] = ()
    grouping: str = ""
    remote: Remote | None = None
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Damaged:
    """A file that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Gaps:
    """What is wrong with the files: in a split those that are `damaged`, in the whole data set how many labels have no
    file, and how many files no label. None of them is among the images."""

    damaged: tuple[Damaged, ...] = ()
    without_file: int = 0
    without_label: int = 0


@dataclass(frozen=True)
class StoredUnits:
    """What a displayed intensity d in [0,1] means in the file: offset + scale * d, in "HU" or "stored value"."""

    name: str
    offset: float
    scale: float


@dataclass(frozen=True)
class Stored:
    """How a picture is stored: its pixels, channels, bits a channel, and the file's format ("": in no file of its own).
    """

    width: int
    height: int
    channels: int
    bits: int
    form: str = ""

    @property
    def depth(self) -> str:
        """All but the size, for people."""
        colour = "colour" if self.channels > 1 else "grey"
        return f"{colour}, {self.bits} bits{f', {self.form}' if self.form else ''}"

    @property
    def size(self) -> str:
        """The size, for people."""
        return f"{self.width:,} x {self.height:,}"


@dataclass(frozen=True)
class Header:
    """How a picture is stored, what else the head of its file says, and how many of that file's entries are not shown,
    as they may be about a person."""

    stored: Stored
    facts: tuple[tuple[str, str], ...] = ()
    hidden: int = 0


class Dataset(ABC):
    """One split of a data set. `labels` is int64 [N]; images are float32 [C, 224, 224] in [0,1], C 1 (grey) or 3.

    Those of a shrunk data set, or of one whose pictures are smaller, have fewer pixels a side, and so have their marks.
    """

    gaps = Gaps()
    bits = 8  # of a channel, where pictures lie in no files of their own

    def __init__(self, info: DatasetInfo, split: str, labels: np.ndarray) -> None:
        self.info = info
        self.split = split
        self.labels = labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self.info.classes

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def truth(self) -> np.ndarray:
        """Which of `info.findings` each image has: bool [N, F]."""
        return np.zeros((len(self), 0), bool)

    def findings(self, index: int) -> tuple[str, ...]:
        """Which of `info.findings` image `index` has."""
        return tuple(name for name, there in zip(self.info.findings, self.truth[index], strict=True) if there)

    @abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Image number `index` as float32 [C, 224, 224] in [0,1]."""

    @abstractmethod
    def item_name(self, index: int) -> str:
        """A short name without patient identifiers, such as 'test/17' or a public file name."""

    def patient(self, index: int) -> str | None:
        """Whom image `index` shows, or None where nobody knows: to be compared, never to be shown."""
        return None

    def stored(self, index: int) -> Stored:
        """How image `index` is stored; raises EngineError."""
        channels, height, width = self.image(index).shape
        return Stored(width, height, channels, self.bits)

    def header(self, index: int) -> Header:
        """What the head of image `index`'s file says, without what may name a person; raises EngineError."""
        return Header(self.stored(index))

    def leave_out(self, index: int, reason: str) -> None:
        """Image `index` cannot be read: where it has a file of its own, it is left out when the data set is opened
        again, unless that is only gone or locked."""
        return

    def files(self) -> Sequence[Path]:
        """The files that the images are in."""
        return ()

    def frame(self, index: int) -> "Frame | None":
        """What is stored of image `index`, to be looked at through other windows and written back, or None where that
        is the image itself; raises EngineError."""
        return None

    def stored_units(self, index: int) -> StoredUnits | None:
        """What the image's intensities mean in the units that it is stored in, or None where nobody knows."""
        return None

    def lesion(self, index: int) -> np.ndarray | None:
        """The true lesion as bool [224, 224], or None where nobody knows it."""
        return None

    def nuclei(self, index: int) -> np.ndarray | None:
        """The true nuclei of cells as bool [224, 224], or None where nobody knows them."""
        return None

    def lungs(self, index: int) -> np.ndarray | None:
        """The true lungs as bool [224, 224], or None where nobody knows them."""
        return None

    def groups(self, index: int) -> Mapping[str, str]:
        """What subgroups the image is in, where the data know any: a name for each way of grouping them."""
        return {}

    def images(self, indices: Sequence[int]) -> np.ndarray:
        """Several images as float32 [N, C, 224, 224] in [0,1]."""
        return np.stack([self.image(self.checked(i)) for i in indices])

    def thumbnail(self, index: int, side: int) -> np.ndarray:
        """A small picture: uint8 [side, side], or [side, side, 3] in colour; raises EngineError."""
        return small(self.image(index), side)

    def thumbnails(self, indices: Sequence[int], side: int = 96) -> np.ndarray:
        """Small pictures for a grid: uint8 [N, side, side], or [N, side, side, 3] in colour. In the place of one that
        cannot be read stands a cross."""
        found = [self._thumbnail(self.checked(index), side) for index in indices]
        if any(picture.ndim == 3 for picture in found):
            found = [picture if picture.ndim == 3 else picture[..., None].repeat(3, axis=2) for picture in found]
        return np.stack(found)

    def _thumbnail(self, index: int, side: int) -> np.ndarray:
        try:
            return self.thumbnail(index, side)
        except EngineError:  # whoever opens the picture itself is told why
            return crossed(side)

    def checked(self, index: int) -> int:
        """`index` if the split has it; raises EngineError."""
        if not 0 <= index < len(self):
            raise EngineError(f"{self.info.name}/{self.split} has images 0 to {len(self) - 1}, not {index}")
        return index

    @cached_property
    def digest(self) -> str:
        """Identifies which images these are, without reading every pixel: names, split and labels."""
        names = "\n".join(self.item_name(i) for i in range(len(self)))
        return digest.of_spec({"name": self.info.name, "split": self.split, "names": names,
                               "labels": self.labels.tolist()})


    def origin(self, index: int) -> str:
        """Identifies what image `index` is made from, in less time than making it where that is possible."""
        return digest.of_arrays(self.image(index))

    def digest_of(self, indices: Sequence[int]) -> str:
        """Identifies these very images and their classes, in this order."""
        return digest.of_spec({"origins": [self.origin(i) for i in indices],
                               "labels": [int(self.labels[i]) for i in indices]})


def crossed(side: int) -> np.ndarray:
    """A thumbnail [side, side] of what cannot be shown."""
    lines = np.eye(side, dtype=bool)
    return np.where(lines | lines[::-1], 150, 40).astype(np.uint8)


def small(image: np.ndarray, side: int) -> np.ndarray:
    """float32 [C, H, W] in [0,1] as a uint8 thumbnail [side, side], or [side, side, 3] in colour."""
    return np.asarray(Image.fromarray(eight_bit(image)).resize((side, side), Image.Resampling.BOX))


def eight_bit(image: np.ndarray) -> np.ndarray:
    """An image [C, H, W] in [0,1] as uint8 [H, W] or [H, W, 3], rounded."""
    pixels = np.rint(image * 255).astype(np.uint8)
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


@dataclass(frozen=True)
class DatasetEntry:
    """How the registry finds a data set. `missing()` says in one line why it is not here, or None.

    `sized(side)` is the same data set as its authors publish it in another size; without it pictures are shrunk.
    """

    info: DatasetInfo
    open: Callable[[str], Dataset]
    missing: Callable[[], str | None] = lambda: None
    sized: "Callable[[int], DatasetEntry] | None" = None

    def load(self, split: str | None = None) -> Dataset:
        """Open one split; raises EngineError where the files are missing or the split is unknown."""
        split = split or self.info.default_split
        if split not in self.info.splits:
            raise UnknownName(f"split of {self.info.name}", split, self.info.splits)
        if (reason := self.missing()) is not None:
            raise EngineError(reason)
        return self.open(split)


DATASETS: Registry[DatasetEntry] = Registry("data set")
