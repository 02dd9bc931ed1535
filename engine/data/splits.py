"""Splits drawn once and for ever: the same names and seed give the same parts on every machine."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

PARTS = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)


def _rank(name: str, seed: int) -> str:
    # A hash of the name, not a shuffled list: an image more or less leaves every other image where it was.
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def draw(groups: Sequence[str], seed: int = 0) -> list[str]:
    """The part ("train", "validation", "test": 80/10/10) of each item, whole groups together.

    `groups` names each item's group: the patient for a patient-level split, the file for a random one.
    """
    order = sorted(set(groups), key=lambda g: _rank(g, seed))
    sizes = dict.fromkeys(order, 0)
    for group in groups:
        sizes[group] += 1
    part_of, taken = {}, 0
    for group in order:
        share = taken / len(groups)
        part_of[group] = PARTS[0] if share < SHARES[0] else PARTS[1] if share < SHARES[0] + SHARES[1] else PARTS[2]
        taken += sizes[group]
    return [part_of[g] for g in groups]


def draw_by_class(groups: Sequence[str], labels: Sequence[int], seed: int = 0) -> list[str]:
    """As `draw`, but within each class, so that small classes keep their share of every part."""
    parts = [""] * len(groups)
    for places in _by_label(labels):
        for place, part in zip(places, draw([groups[i] for i in places], seed), strict=True):
            parts[place] = part
    return parts


def _by_label(labels: Sequence[int]) -> list[list[int]]:
    """The places of each label."""
    found: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        found.setdefault(label, []).append(place)
    return list(found.values())


def draw_whole(groups: Sequence[str], labels: Sequence[int], seed: int = 0) -> list[str]:
    """As `draw_by_class`, but a group with several classes stays together, too: it counts as the one it has most of."""
    most: dict[str, tuple[int, int]] = {}
    for (group, label), count in Counter(zip(groups, labels, strict=True)).items():
        most[group] = max(most.get(group, (0, 0)), (count, -label))
    return draw_by_class(groups, [-most[group][1] for group in groups], seed)


def counted(names: Sequence[str], labels: Sequence[int], counts: Mapping[str, Sequence[int]], seed: int = 0
            ) -> list[str]:
    """The part of each item, or "", where part P shall have `counts[P][K]` items of class K, drawn at random.

    Where a class has fewer items than that in all, each part gets its share of them.
    """
    parts = [""] * len(names)
    for label in set(labels):
        order = sorted((i for i, other in enumerate(labels) if other == label), key=lambda i: _rank(names[i], seed))
        wanted = sum(sizes[label] for sizes in counts.values())
        kept, passed = min(1.0, len(order) / wanted), 0
        for part, sizes in counts.items():
            start, passed = passed, passed + sizes[label]
            for place in order[round(start * kept):round(passed * kept)]:
                parts[place] = part
    return parts


def evenly_of_each(labels: np.ndarray, limit: int | None, allowed: np.ndarray | None = None) -> list[int]:
    """The places of `limit` of each label [N], spread evenly over it, label by label; all where None. Of `allowed`
    places, bool [N], where only some are."""
    usable = np.ones(len(labels), bool) if allowed is None else allowed
    return [place for label in np.unique(labels)
            for place in evenly(np.flatnonzero(usable & (labels == label)).tolist(), limit)]


def evenly(numbers: Sequence[int], limit: int | None) -> list[int]:
    """`limit` of the numbers, spread evenly over them; all where None."""
    total = len(numbers)
    if limit is None or limit >= total:
        return list(numbers)
    return [numbers[int(place)] for place in np.floor((np.arange(limit) + 0.5) * total / limit)]
