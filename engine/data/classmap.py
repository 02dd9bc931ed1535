"""How a model calls a data set's classes: matched by name, whatever their order, or as the user says."""

import csv
import io
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np

from engine.data.base import Dataset, DatasetInfo, Header, Stored, StoredUnits
from engine.data.scan import Frame
from engine.errors import EngineError, UnknownName

ALIKE = 0.5  # how alike two names must be, from 0 to 1, to be offered as a pair
OPEN = "?"
UNKNOWN = -1  # instead of the number of a class that a model does not know
MANY, FEW = 200, 8  # classes that are no longer compared and named one by one, and how many of them are named


@dataclass(frozen=True)
class ClassMap:
    """`places[i]` is the number among `model`, a model's classes, of what a data set calls `data[i]`, or UNKNOWN."""

    data: tuple[str, ...]
    model: tuple[str, ...]
    places: tuple[int, ...]

    @property
    def trivial(self) -> bool:
        """Whether both have the same classes in the same order."""
        return self.data == self.model and self.places == tuple(range(len(self.model)))

    @property
    def names(self) -> dict[str, str]:
        """The model's name for each of the data set's."""
        return {name: self.model[place] for name, place in zip(self.data, self.places, strict=True)
                if place != UNKNOWN}

    def number(self, name: str) -> int:
        """The model's number for a class, by the model's name for it or else the data set's; raises EngineError."""
        if (place := _found(name, self.model)) is not None:
            return place
        if (place := _found(name, self.data)) is not None and self.places[place] != UNKNOWN:
            return self.places[place]
        raise UnknownName("class", name, {*self.model, *self.data})


def match(data: Sequence[str], model: Sequence[str], title: str, renamed: Mapping[str, str] | None = None,
          some: bool = False) -> ClassMap:
    """Which of the model's classes each of the data set's is: by `renamed` (the data set's name to the model's), then
    by equal names, then by names that differ only in capitals, spaces, '_' and '-', if they point to one class alone.

    Several classes may be one by `renamed` only. Raises EngineError where a class is left over, with the pairs to give,
    if not `some` are enough; `title` is how it calls the model.
    """
    renamed = renamed or {}
    places = _places(data, model, renamed)
    if None in places and not some:
        raise EngineError(_unknown(data, model, title, renamed, places))
    return ClassMap(tuple(data), tuple(model), tuple(UNKNOWN if place is None else place for place in places))


def fits(data: Sequence[str], model: Sequence[str]) -> bool:
    """Whether the model knows every class of the data set by name."""
    return None not in _places(data, model, {})


def likeness(data: Sequence[str], model: Sequence[str]) -> float:
    """How alike the two are by name, from 0 to 1: the mean over the data set's classes, each paired with another; of
    very many the share that is called the same."""
    if len(data) > MANY:
        return len({*map(_loose, data)} & {*map(_loose, model)}) / len(data)
    return float(sum(alike for *_, alike in _pairs(data, model)) / len(data))


def read_map(text: str, data: Sequence[str], model: Sequence[str], title: str) -> dict[str, str]:
    """Pairs such as "COVID=COVID-19,NORMAL=Normal" as a mapping of the data set's names to the model's; a pair with a
    comma in it stands in double quotes. Raises EngineError."""
    pairs: dict[str, str] = {}
    for row in csv.reader([text], skipinitialspace=True):
        for pair in filter(None, map(str.strip, row)):
            left, right = _pair(pair, data, model, title)
            if left in pairs:
                raise EngineError(f"--map names '{left}' twice; give each class of the images once")
            pairs[left] = right
    return pairs


def _pair(text: str, data: Sequence[str], model: Sequence[str], title: str) -> tuple[str, str]:
    cuts = [(text[:i].strip(), text[i + 1:].strip()) for i, letter in enumerate(text) if letter == "="]
    if not cuts:
        raise EngineError(f"--map takes pairs such as COVID=COVID-19 with commas between them, not '{text}'")
    # A name may hold an equals sign of its own.
    known = [(_found(left, data), right) for left, right in cuts]
    left, right = next(((data[place], right) for place, right in known if place is not None), (None, ""))
    if left is None:
        raise UnknownName("class of the images in --map:", cuts[0][0], data)
    if (place := _found(right, model)) is None:
        raise UnknownName(f"class of {title} in --map:", right, model)
    return left, model[place]


def _loose(name: str) -> str:
    return "".join(c for c in name.casefold() if c not in "_-" and not c.isspace())


def _found(name: str, names: Sequence[str]) -> int | None:
    """Where `name` stands among `names`, as it is or else loosely, if only one is like it."""
    if name in names:
        return list(names).index(name)
    like = [i for i, other in enumerate(names) if _loose(other) == _loose(name)]
    return like[0] if len(like) == 1 else None


def _places(data: Sequence[str], model: Sequence[str], renamed: Mapping[str, str]) -> list[int | None]:
    named = Counter(_loose(name) for name in data if name not in renamed)
    return [list(model).index(renamed[name]) if name in renamed else
            # Two of the data set's names that are alike: neither is taken for the other's class.
            _found(name, model) if name in model or named[_loose(name)] == 1 else None
            for name in data]


def _unknown(data: Sequence[str], model: Sequence[str], title: str, renamed: Mapping[str, str],
             places: Sequence[int | None]) -> str:
    missing = [name for name, place in zip(data, places, strict=True) if place is None]
    if len(missing) > MANY:
        return (f"{title} tells apart {len(model):,} classes, and no class of it is called {', '.join(missing[:FEW])} "
                f"or as {len(missing) - FEW:,} more of these images are; choose another model")
    offered = _offered(missing, [name for i, name in enumerate(model) if i not in places])
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(f"{a}={b}" for a, b in {**renamed, **offered}.items())
    then = "a name instead of each ?" if OPEN in offered.values() else "check the pairs first"
    return (f"{title} tells apart {', '.join(model)}, and no class of it is called {', '.join(missing)} as these "
            f"images are; choose another model, or say on the command line which is which ({then}): "
            f"--map {shlex.quote(written.getvalue())}")


def guesses(data: Sequence[str], model: Sequence[str]) -> dict[str, str]:
    """What the model most likely calls each of the data set's classes: the same name, or else the most alike of those
    that are free, each once; those of which there is no telling are left out."""
    places = _places(data, model, {})
    known = {name: model[place] for name, place in zip(data, places, strict=True) if place is not None}
    offered = _offered([name for name in data if name not in known],
                       [name for i, name in enumerate(model) if i not in places])
    return known | {name: guess for name, guess in offered.items() if guess != OPEN}


def _offered(missing: Sequence[str], free: Sequence[str]) -> dict[str, str]:
    """A guess for every missing name: the most alike of the names that are free, each once, or OPEN."""
    return dict.fromkeys(missing, OPEN) | {a: b for a, b, alike in _pairs(missing, free) if alike >= ALIKE}


def _pairs(some: Sequence[str], others: Sequence[str]) -> list[tuple[str, str, float]]:
    """Each name in at most one pair, the pairs as alike as they can be, with how alike they are."""
    from scipy.optimize import linear_sum_assignment  # takes a moment to import

    if not some or not others:
        return []
    alike = np.array([[SequenceMatcher(None, _loose(a), _loose(b)).ratio() for b in others] for a in some])
    return [(some[i], others[j], float(alike[i, j])) for i, j in zip(*linear_sum_assignment(-alike), strict=True)]


class Relabelled(Dataset):
    """A data set whose images have other classes: those of `labels`, int64 [N]."""

    def __init__(self, inner: Dataset, info: DatasetInfo, labels: np.ndarray) -> None:
        super().__init__(info, inner.split, labels)
        self.inner, self.gaps = inner, inner.gaps

    @property
    def truth(self) -> np.ndarray:
        return self.inner.truth

    def findings(self, index: int) -> tuple[str, ...]:
        return self.inner.findings(index)

    def image(self, index: int) -> np.ndarray:
        return self.inner.image(index)

    def images(self, indices: Sequence[int]) -> np.ndarray:
        return self.inner.images(indices)

    def thumbnail(self, index: int, side: int) -> np.ndarray:
        return self.inner.thumbnail(index, side)

    def stored(self, index: int) -> Stored:
        return self.inner.stored(index)

    def header(self, index: int) -> Header:
        return self.inner.header(index)

    def leave_out(self, index: int, reason: str) -> None:
        self.inner.leave_out(index, reason)

    def files(self) -> Sequence[Path]:
        return self.inner.files()

    def item_name(self, index: int) -> str:
        return self.inner.item_name(index)

    def origin(self, index: int) -> str:
        return self.inner.origin(index)

    def frame(self, index: int) -> Frame | None:
        return self.inner.frame(index)

    def stored_units(self, index: int) -> StoredUnits | None:
        return self.inner.stored_units(index)

    def lesion(self, index: int) -> np.ndarray | None:
        return self.inner.lesion(index)

    def nuclei(self, index: int) -> np.ndarray | None:
        return self.inner.nuclei(index)

    def lungs(self, index: int) -> np.ndarray | None:
        return self.inner.lungs(index)

    def patient(self, index: int) -> str | None:
        return self.inner.patient(index)

    def groups(self, index: int) -> Mapping[str, str]:
        return self.inner.groups(index)


class Labelled(Relabelled):
    """A data set whose images have a model's classes."""

    def __init__(self, inner: Dataset, class_map: ClassMap) -> None:
        super().__init__(inner, replace(inner.info, classes=class_map.model),
                         np.array(class_map.places, np.int64)[inner.labels])
        self.class_map = class_map


def labelled(dataset: Dataset, class_map: ClassMap) -> Dataset:
    """`dataset` with the model's classes: itself where they are its own."""
    return dataset if class_map.trivial else Labelled(dataset, class_map)


def class_map_of(dataset: Dataset) -> ClassMap:
    """What made `dataset`'s classes those that they are."""
    if isinstance(dataset, Labelled):
        return dataset.class_map
    return ClassMap(dataset.classes, dataset.classes, tuple(range(len(dataset.classes))))
