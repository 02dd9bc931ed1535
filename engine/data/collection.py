"""Data sets of picture files: what each file shows, and the ways in which the files are parted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.data import splits
from engine.data.base import DATASETS, Dataset, DatasetEntry, DatasetInfo, Gaps
from engine.data.files import FileDataset, not_here
from engine.errors import EngineError


@dataclass(frozen=True)
class Item:
    """A picture file. `group` is whom splits keep together, the patient ("": unknown); `part` is the published one."""

    path: Path
    label: int
    group: str
    part: str = ""


@dataclass(frozen=True)
class Listing:
    """A data set's files, and how many labels have no file, or files no label."""

    items: tuple[Item, ...]
    without_file: int = 0
    without_label: int = 0


@dataclass(frozen=True)
class Scheme:
    """One way to part a data set: a sentence for each part, and for items the part of each ("" for none)."""

    sentences: Mapping[str, str]
    part: Callable[[Sequence[Item]], Sequence[str]]


def grouped(what: str, note: str = "") -> Scheme:
    """80/10/10 of each class, whole groups together; `what` says what they are, such as "patients"."""
    note = f" {note}" if note else ""
    return Scheme({"train": f"80 % of each class, whole {what} together.{note}",
                   "validation": f"10 % of each class by {what}, for choosing the epoch.",
                   "test": f"10 % of each class by {what}, never trained on."},
                  lambda items: splits.draw_whole([i.group or i.path.name for i in items], [i.label for i in items]))


def at_random() -> Scheme:
    """80/10/10 of the files."""
    return Scheme({"train": "80 % of all pictures drawn at random; one patient may be in several parts.",
                   "validation": "10 % of all pictures drawn at random.",
                   "test": "10 % of all pictures drawn at random."},
                  lambda items: splits.draw([i.path.name for i in items]))


def whole() -> Scheme:
    """One part with everything in it."""
    return Scheme({"all": "All pictures."}, lambda items: ["all"] * len(items))


def published(**sentences: str) -> Scheme:
    """The parts that the authors made."""
    return Scheme(sentences, lambda items: [i.part for i in items])


def counted(counts: Mapping[str, Sequence[int]], source: str, chosen: Callable[[Item], bool] = lambda item: True
            ) -> Scheme:
    """As many pictures a class as a paper had, drawn at random among those that are `chosen`: the paper did not say
    which, nor part patients."""
    def part(items: Sequence[Item]) -> list[str]:
        pool = [i for i, item in enumerate(items) if chosen(item)]
        drawn = splits.counted([items[i].path.name for i in pool], [items[i].label for i in pool], counts)
        parts = [""] * len(items)
        for i, name in zip(pool, drawn, strict=True):
            parts[i] = name
        return parts

    return Scheme({name: f"{' + '.join(f'{n:,}' for n in sizes)} pictures at random, as many as in {source} (fewer "
                         "where there are too few here); one patient may be in several parts."
                   for name, sizes in counts.items()}, part)


@dataclass(frozen=True)
class Collection:
    """A data set of files. `find` gives the folder that holds it, or None; `listing` what is in there.

    A split's name is that of its scheme, if it has one of its own, and of its part, with a hyphen between.
    """

    info: DatasetInfo
    find: Callable[[], Path | None]
    listing: Callable[[Path], Listing]
    schemes: Mapping[str, Scheme]
    colour: bool = False
    opened: type[FileDataset] = FileDataset

    def register(self) -> None:
        """Offer it under its name."""
        entry = self.entry()
        DATASETS.add(entry.info.name, entry)

    def entry(self) -> DatasetEntry:
        """How the registry finds it."""
        info = replace(self.info, splits={name: scheme.sentences[part]
                                          for name, (scheme, part) in self._splits().items()})
        return DatasetEntry(info, lambda split: self._open(info, split), self._missing)

    def _splits(self) -> dict[str, tuple[Scheme, str]]:
        return {part if name in ("", part) else f"{name}-{part}": (scheme, part)
                for name, scheme in self.schemes.items() for part in scheme.sentences}

    def _open(self, info: DatasetInfo, split: str) -> Dataset:
        root = self.find()
        assert root is not None  # DatasetEntry.load asks missing() first
        found = self.listing(root)
        scheme, part = self._splits()[split]
        chosen = [item for item, name in zip(found.items, scheme.part(found.items), strict=True) if name == part]
        if not chosen:
            raise EngineError(f"{info.name} has too few pictures here ({len(found.items)}) to draw a {split} split; "
                              + ("use the split all" if "all" in info.splits else "complete it"))
        return self.opened(info, split, [i.path for i in chosen], [i.label for i in chosen], root, self.colour,
                           [i.group for i in chosen], Gaps((), found.without_file, found.without_label))

    def _missing(self) -> str | None:
        if self.find() is not None:
            return None
        return not_here(f"{self.info.name} is not here: {self.info.obtain}, and set PERTURBSCOPE_DATA to the folder "
                        f"that holds {self.info.layouts[0]}")
