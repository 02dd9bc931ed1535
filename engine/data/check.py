"""What is wrong with a data set: damaged files, labels and files without each other, empty classes, and leaks, which
are patients or nearly identical pictures in two parts of one split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from engine.data import find as find_dataset
from engine.data import likeness, load
from engine.data.base import Damaged, Dataset
from engine.data.files import FileDataset
from engine.data.splits import PARTS
from engine.errors import EngineError
from engine.progress import Progress

EXAMPLES = 10


@dataclass(frozen=True)
class Part:
    """One split: how many images each class has, and how many patients there are (None: nobody knows)."""

    split: str
    images: int
    classes: Mapping[str, int]
    patients: int | None


@dataclass(frozen=True)
class Leak:
    """What two splits share: how many patients (None: unknown), with a picture of each as examples, and how many pairs
    of nearly identical pictures, with some of them and the bits in which they differ. No patient is named."""

    splits: tuple[str, str]
    patients: int | None
    examples: tuple[tuple[str, str], ...]
    near_identical: int
    pairs: tuple[tuple[str, str, int], ...]

    @property
    def dry(self) -> bool:
        return not self.patients and not self.near_identical


@dataclass(frozen=True)
class Checked:
    """What `check` found in a data set."""

    dataset: str
    parts: tuple[Part, ...]
    damaged: tuple[Damaged, ...]
    without_file: int
    without_label: int
    leaks: tuple[Leak, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Each trouble in a line."""
        return (
            *([f"{_several(len(self.damaged), 'damaged file', 'damaged files')}, such as {self.damaged[0].name}: "
               f"{self.damaged[0].reason}"]
              if self.damaged else []),
            *([f"{_several(self.without_file, 'label', 'labels')} without a file"] if self.without_file else []),
            *([f"{_several(self.without_label, 'file', 'files')} without a label"] if self.without_label else []),
            *(f"{part.split} has no image of the class {name}" for part in self.parts
              for name, count in part.classes.items() if not count),
            *(_told(leak) for leak in self.leaks if not leak.dry),
        )


def _told(leak: Leak) -> str:
    shared = [_several(leak.patients, "patient or case", "patients or cases")] if leak.patients else []
    if leak.near_identical:
        alike = _several(leak.near_identical, "pair", "pairs")
        shared.append(f"{alike} of nearly identical pictures, such as {leak.pairs[0][0]} and {leak.pairs[0][1]}")
    return f"{' and '.join(leak.splits)} share {', and '.join(shared)}"


def _several(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def check(name: str, progress: Progress | None = None) -> Checked:
    """Read every picture of a data set once, and compare its splits; those that cannot be read are left out from then
    on. Raises EngineError and Cancelled."""
    progress = progress or Progress()
    datasets = {split: data for split in find_dataset(name).info.splits if (data := _opened(name, split)) is not None}
    if not datasets:
        load(name)  # which says why it cannot be opened
    hashes, unread = _hashes(list(datasets.values()), progress)
    gaps = [data.gaps for data in datasets.values()]
    found = dict.fromkeys([*(damaged for gap in gaps for damaged in gap.damaged), *unread])
    leaks = [_leak(datasets[one], datasets[other], hashes) for one, other in _beside(list(datasets))]
    return Checked(name, tuple(map(_part, datasets.values())), tuple(found), max(gap.without_file for gap in gaps),
                   max(gap.without_label for gap in gaps), tuple(leaks))


def _opened(name: str, split: str) -> Dataset | None:
    """The split, or None where a small data set has no picture in it."""
    entry = find_dataset(name)
    if (reason := entry.missing()) is not None:
        raise EngineError(reason)
    try:
        return entry.load(split)
    except EngineError:
        return None


def _beside(splits: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of splits that are parts of one whole: train and test, random-train and random-test."""
    return [(one, other) for one, other in combinations(splits, 2)
            if one.rpartition("-")[0] == other.rpartition("-")[0]
            and {one.rpartition("-")[2], other.rpartition("-")[2]} <= set(PARTS)]


def _hashes(datasets: Sequence[Dataset], progress: Progress) -> tuple[dict[str, np.ndarray], list[Damaged]]:
    """What every picture looks like, by its name, and which cannot be read."""
    seen: dict[str, np.ndarray] = {}
    unread: dict[str, Damaged] = {}
    total, done = sum(map(len, datasets)), 0
    for dataset in datasets:
        for index in range(len(dataset)):
            progress.report(done / total, f"reading {dataset.info.name}")
            done += 1
            name = dataset.item_name(index)
            if name in seen or name in unread:
                continue
            try:
                seen[name] = likeness.seen(dataset.image(index))
            except EngineError as error:
                unread[name] = Damaged(name, str(error))
                if isinstance(dataset, FileDataset):
                    dataset.leave_out(index, str(error))
    return seen, list(unread.values())


def _part(dataset: Dataset) -> Part:
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    patients = {dataset.patient(i) for i in range(len(dataset))} - {None}
    return Part(dataset.split, len(dataset), dict(zip(dataset.classes, counts.tolist(), strict=True)),
                len(patients) or None)


def _leak(one: Dataset, other: Dataset, hashes: Mapping[str, np.ndarray]) -> Leak:
    some, others = _whose(one), _whose(other)
    shared = sorted(set(some) & set(others))
    names = [[name for i in range(len(data)) if (name := data.item_name(i)) in hashes] for data in (one, other)]
    arrays = [np.array([hashes[name] for name in each]).reshape(-1, likeness.BITS // 64) for each in names]
    alike = sorted(((names[0][i], names[1][j], bits) for i, j, bits in likeness.pairs(*arrays)), key=lambda p: p[2])
    return Leak((one.split, other.split), len(shared) if some and others else None,
                tuple((some[group], others[group]) for group in shared[:EXAMPLES]), len(alike),
                tuple(alike[:EXAMPLES]))


def _whose(dataset: Dataset) -> dict[str, str]:
    """A picture of every patient."""
    return {group: dataset.item_name(i) for i in reversed(range(len(dataset)))
            if (group := dataset.patient(i)) is not None}
