"""What is wrong with a data set: damaged files, labels and files without each other, empty classes, and leaks, which
are patients or nearly identical pictures in two parts of one split."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from engine.data import likeness, load
from engine.data.base import Damaged, Dataset, Gaps, Stored
from engine.data.overview import (
    Part,
    Sizes,
    empty_classes,
    gap_lines,
    gaps_of,
    opened_splits,
    part_of,
    sizes_of,
)
from engine.data.splits import PARTS
from engine.errors import EngineError
from engine.progress import Progress, to_the_end
from engine.wording import counted

EXAMPLES = 10
TOGETHER = 16  # pictures that are read before something else may have its turn


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
    sizes: Sizes | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Each trouble in a line."""
        return (*gap_lines(Gaps(self.damaged, self.without_file, self.without_label)), *empty_classes(self.parts),
                *(_told(leak) for leak in self.leaks if not leak.dry))


def _told(leak: Leak) -> str:
    shared = [counted(leak.patients, "patient or case", "patients or cases")] if leak.patients else []
    if leak.near_identical:
        alike = counted(leak.near_identical, "pair", "pairs")
        shared.append(f"{alike} of nearly identical pictures, such as {leak.pairs[0][0]} and {leak.pairs[0][1]}")
    return f"{' and '.join(leak.splits)} share {', and '.join(shared)}"


def check(name: str, progress: Progress | None = None) -> Checked:
    """Read every picture of a data set once, and compare its splits; those that cannot be read are left out from then
    on. Raises EngineError and Cancelled."""
    return to_the_end(checking(name, progress or Progress()))


def checking(name: str, progress: Progress) -> Generator[None, None, Checked]:
    """The same, with a yield now and then, where something else may have its turn."""
    splits, _ = opened_splits(name)
    if not splits:
        load(name)  # which says why it cannot be opened
    read = yield from _read(splits, progress)
    datasets = {data.split: data for data in splits}
    gaps = gaps_of(splits)
    found = dict.fromkeys([*gaps.damaged, *read.unread])
    leaks = []
    for one, other in _beside(list(datasets)):
        progress.report(1.0, f"comparing {one} and {other}")
        leaks.append(_leak(datasets[one], datasets[other], read.hashes))
        yield
    return Checked(name, tuple(map(part_of, splits)), tuple(found), gaps.without_file, gaps.without_label,
                   tuple(leaks), sizes_of(read.stored))


def _beside(splits: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of splits that are parts of one whole: train and test, random-train and random-test."""
    return [(one, other) for one, other in combinations(splits, 2)
            if one.rpartition("-")[0] == other.rpartition("-")[0]
            and {one.rpartition("-")[2], other.rpartition("-")[2]} <= set(PARTS)]


@dataclass
class _Read:
    """What every picture looks like, by its name, which cannot be read, and how those that can are stored."""

    hashes: dict[str, np.ndarray] = field(default_factory=dict)
    unread: list[Damaged] = field(default_factory=list)
    stored: Counter[Stored] = field(default_factory=Counter)

    def look(self, dataset: Dataset, index: int) -> None:
        name = dataset.item_name(index)
        try:
            self.hashes[name] = likeness.seen(dataset.image(index))
            self.stored[dataset.stored(index)] += 1
        except EngineError as error:
            self.unread.append(Damaged(name, str(error)))
            dataset.leave_out(index, str(error))


def _read(datasets: Sequence[Dataset], progress: Progress) -> Generator[None, None, _Read]:
    """A look at every picture, once where several splits have it."""
    read, looked_at = _Read(), set()
    total, done = sum(map(len, datasets)), 0
    for dataset in datasets:
        for index in range(len(dataset)):
            progress.report(done / total, f"reading {dataset.info.name}")
            done += 1
            if (name := dataset.item_name(index)) in looked_at:
                continue
            looked_at.add(name)
            read.look(dataset, index)
            if not len(looked_at) % TOGETHER:
                yield
    return read


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
