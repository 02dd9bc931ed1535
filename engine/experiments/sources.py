"""Where a picture comes from, and the picture as a page and a model see it. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from engine import digest
from engine.data import Dataset, damage, imaging
from engine.data import load as load_dataset
from engine.data.base import StoredUnits
from engine.data.classmap import ClassMap, labelled, match
from engine.data.marks import MARKS, marked
from engine.data.stored import Stored, remarks, stored_of
from engine.data.upload import load_upload
from engine.zoo.registry import model_card


@dataclass(frozen=True)
class Source:
    """Where an image comes from: number `index` of a data set's split, or an upload known by its digest.

    An upload, too, names a data set: the one whose models shall look at it. Of an upload of several `frame` is the one
    that is meant, from 1 (0: the middle one), and `window` says how it is looked at (`engine.data.windows.looked_at`).
    """

    dataset: str
    split: str
    index: int = 0
    upload: str = ""
    frame: int = 0
    window: str = ""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image to explore: float32 [C, H, W] in [0,1]; `label` is None where the true class is unknown.

    `marks`: of what is marked on it, by its name among MARKS, where. `stored`: how it lies in its file, if pictures
    like it can be written there. `imaging` and `population` are as those of data sets, "" where nobody knows.
    """

    image: np.ndarray
    label: int | None
    name: str
    synthetic: bool = False
    marks: Mapping[str, np.ndarray] = field(default_factory=dict)
    stored_units: StoredUnits | None = None
    notes: tuple[str, ...] = ()
    stored: Stored | None = None
    imaging: str = ""
    population: str = ""

    @property
    def lesion(self) -> np.ndarray | None:
        return self.marks.get("lesion")

    @property
    def digest(self) -> str:
        """Identifies the image, and the file's values behind it."""
        pixels = digest.of_arrays(self.image)
        return pixels if self.stored is None else digest.of_spec({"image": pixels, "stored": self.stored.digest})


def opened(name: str, split: str) -> Dataset:
    """One split of a data set, listed once for as long as no further file is found to be damaged; raises EngineError.
    """
    return _opened(name, split, damage.known())


@lru_cache(maxsize=8)
def _opened(name: str, split: str, damaged: int) -> Dataset:
    return load_dataset(name, split)


def picture(source: Source) -> Picture:
    """The image a source names; raises EngineError."""
    return _picture(source, damage.known())


@lru_cache(maxsize=64)
def _picture(source: Source, damaged: int) -> Picture:
    if source.upload:
        upload = load_upload(source.upload, source.frame, source.window)
        return Picture(upload.image, None, f"upload {source.upload[:8]}", stored_units=upload.stored_units,
                       notes=upload.notes, stored=upload.stored, imaging=imaging.IN_DICOM.get(upload.modality, ""))
    dataset = opened(source.dataset, source.split)
    index = dataset.checked(source.index)
    marks = {name: mask for name in MARKS if (mask := marked(name, dataset, index)) is not None}
    image = dataset.image(index)
    frame = dataset.frame(index) if len(image) == 1 else None  # in colour it is no longer what the file has
    shown = None if frame is None else frame.shown()
    stored = None if frame is None or shown is None else stored_of(frame, shown)
    notes = () if shown is None else shown.notes
    more = () if frame is None else remarks(frame, stored)
    return Picture(image, int(dataset.labels[index]), dataset.item_name(index), dataset.info.synthetic, marks,
                   dataset.stored_units(index), (*notes, *more), stored, imaging=imaging.of(dataset.info),
                   population=dataset.info.population)


def seen_by(model: str, source: Source) -> tuple[Picture, Dataset]:
    """The image a source names and its data set, with the classes of the model of that name; raises EngineError."""
    chosen, dataset = picture(source), seen(source.dataset, source.split, model, some=bool(source.upload))
    if chosen.label is not None:
        chosen = replace(chosen, label=int(dataset.labels[source.index]))
    return chosen, dataset


def seen(name: str, split: str, model: str, names: Iterable[tuple[str, str]] = (), some: bool = False) -> Dataset:
    """One split of a data set with the classes of the model of that name, which are matched by name; `names` says
    otherwise, as pairs of the data set's name and the model's. Raises EngineError where the model does not know all of
    them, if not `some` are enough, as for an upload, which is none of the data set's images."""
    dataset = opened(name, split)
    return _labelled(dataset, match(dataset.classes, model_card(model).classes, model, dict(names), some))


@lru_cache(maxsize=8)
def _labelled(dataset: Dataset, class_map: ClassMap) -> Dataset:
    return labelled(dataset, class_map)


def unmarked(mask: str, chosen: Picture) -> str | None:
    """Why the picture cannot be attacked within `mask`, or None where it can."""
    if mask not in MARKS or mask in chosen.marks:
        return None
    return f"nobody marked {MARKS[mask].words} on this picture"
