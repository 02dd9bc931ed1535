"""What a data set has, seen without reading its pixels: images of every class, patients, sizes, bit depths, gaps."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.data import find as find_dataset
from engine.data.base import Damaged, Dataset, Gaps, Stored
from engine.data.splits import evenly
from engine.errors import EngineError
from engine.wording import counted

LOOKED_AT = 200  # pictures whose files are asked for their size, spread evenly over a split


@dataclass(frozen=True)
class Part:
    """One split: how many images each class has, how many patients there are (None: nobody knows), and, where an image
    may have several labels, how many have each."""

    split: str
    images: int
    classes: Mapping[str, int]
    patients: int | None
    findings: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Sizes:
    """How so many pictures are stored: the smallest, the middle and the largest of them by their pixels, and how many
    have which colours, bits and format."""

    looked_at: int
    smallest: str
    median: str
    largest: str
    depths: Mapping[str, int]


@dataclass(frozen=True)
class Overview:
    """A data set as it lies here; `closed` are splits that cannot be opened, and why. None of the pictures that were
    looked at may be readable: then there are no `sizes`."""

    dataset: str
    parts: tuple[Part, ...]
    gaps: Gaps
    sizes: Sizes | None
    closed: Mapping[str, str]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Each trouble in a line."""
        return (*gap_lines(self.gaps), *empty_classes(self.parts))


def overview(name: str) -> Overview:
    """What the data set `name` has; raises EngineError where no split of it can be opened."""
    opened, closed = opened_splits(name)
    if not opened:
        raise EngineError(next(iter(closed.values())))
    found: Counter[Stored] = Counter()
    seen: set[str] = set()  # splits of several schemes have pictures in common
    for data in opened:
        chosen = {data.item_name(i): i for i in evenly(range(len(data)), -(-LOOKED_AT // len(opened)))}
        found += stored_as(data, [i for item, i in chosen.items() if item not in seen])
        seen |= chosen.keys()
    return Overview(name, tuple(map(part_of, opened)), gaps_of(opened), sizes_of(found), closed)


def opened_splits(name: str) -> tuple[list[Dataset], dict[str, str]]:
    """The splits of a data set, and why the others cannot be opened, such as for being empty; raises EngineError where
    the data set is not here."""
    entry = find_dataset(name)
    if (reason := entry.missing()) is not None:
        raise EngineError(reason)
    opened: list[Dataset] = []
    closed: dict[str, str] = {}
    for split in entry.info.splits:
        try:
            opened.append(entry.load(split))
        except EngineError as error:
            closed[split] = str(error)
    return opened, closed


def part_of(dataset: Dataset) -> Part:
    """What a split has."""
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    patients = {dataset.patient(i) for i in range(len(dataset))} - {None}
    return Part(dataset.split, len(dataset), dict(zip(dataset.classes, counts.tolist(), strict=True)),
                len(patients) or None,
                dict(zip(dataset.info.findings, dataset.truth.sum(axis=0).tolist(), strict=True)))


def stored_as(dataset: Dataset, indices: Sequence[int]) -> Counter[Stored]:
    """How many of these pictures are stored in which way, by their files' heads; what cannot be read is not counted."""
    found: Counter[Stored] = Counter()
    for index in indices:
        try:
            found[dataset.stored(index)] += 1
        except EngineError:  # whoever opens the picture says so
            continue
    return found


def sizes_of(found: Counter[Stored]) -> Sizes | None:
    """What so many pictures, stored in these ways, have in common; None of none."""
    if not found:
        return None
    ordered = sorted(found.elements(), key=lambda one: (one.width * one.height, one.width))
    depths = Counter(one.depth for one in ordered)
    return Sizes(len(ordered), ordered[0].size, ordered[len(ordered) // 2].size, ordered[-1].size,
                 dict(depths.most_common()))


def gaps_of(splits: Sequence[Dataset]) -> Gaps:
    """What is wrong with the files of all splits together, each damaged file once."""
    gaps = [data.gaps for data in splits]
    damaged: dict[Damaged, None] = dict.fromkeys(one for gap in gaps for one in gap.damaged)
    return Gaps(tuple(damaged), max(gap.without_file for gap in gaps), max(gap.without_label for gap in gaps))


def gap_lines(gaps: Gaps) -> list[str]:
    """What is wrong with the files, each trouble in a line."""
    lines = []
    if gaps.damaged:
        first = gaps.damaged[0]
        lines.append(f"{counted(len(gaps.damaged), 'damaged file', 'damaged files')}, such as {first.name}: "
                     f"{first.reason}")
    if gaps.without_file:
        lines.append(f"{counted(gaps.without_file, 'label', 'labels')} without a file")
    if gaps.without_label:
        lines.append(f"{counted(gaps.without_label, 'file', 'files')} without a label")
    return lines


def empty_classes(parts: Sequence[Part], most: int = 5) -> list[str]:
    """Which splits lack which classes; of many classes some are named."""
    lines = []
    for part in parts:
        empty = [name for name, count in part.classes.items() if not count]
        more = [f"{part.split} has no image of {len(empty) - most:,} further classes"] if len(empty) > most else []
        lines += [*(f"{part.split} has no image of the class {name}" for name in empty[:most]), *more]
    return lines
