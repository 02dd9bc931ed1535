"""`finding:NAME:DATASET`: a data set whose images may have several labels at once, seen through one of them, which an
image has or has not. The name is written as in a link's address: %3A is a colon."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

import numpy as np

from engine.data.base import Dataset, DatasetEntry, DatasetInfo
from engine.data.classmap import Relabelled
from engine.errors import EngineError, UnknownName

PREFIX = "finding:"
_SAFE = " -_.()/"


@dataclass(frozen=True)
class Viewed:
    """The data set `inner`, and the one of its findings that is looked for."""

    inner: str
    finding: str

    @property
    def name(self) -> str:
        """How it is written as the name of a data set."""
        return f"{PREFIX}{quote(self.finding, _SAFE)}:{self.inner}"


def read(name: str) -> Viewed:
    """What a data set's name says; raises EngineError."""
    finding, _, inner = name.removeprefix(PREFIX).partition(":")
    if not finding or not inner or inner.startswith(PREFIX):
        raise EngineError(f"after {PREFIX} stand a finding and a data set, such as {PREFIX}effusion:chestmnist")
    return Viewed(inner, unquote(finding))


def names(info: DatasetInfo) -> tuple[str, ...]:
    """The data sets that look for one finding each among these images, in the order of the findings."""
    return tuple(Viewed(whole(info.name), finding).name for finding in info.findings)


def whole(name: str) -> str:
    """The data set that a name is a view of: itself where it is none."""
    return read(name).inner if name.startswith(PREFIX) else name


def classes(finding: str) -> tuple[str, str]:
    """What the two classes are called; the same as those of `engine.wrap(..., finding=...)`."""
    return f"no {finding}", finding


def among(known: Iterable[str], had: Iterable[Iterable[str]]) -> np.ndarray:
    """Which of the `known` findings each image has: bool [N, F]."""
    columns = list(known)
    places = {name: place for place, name in enumerate(columns)}
    rows = [[places[name] for name in one] for one in had]
    found = np.zeros((len(rows), len(columns)), bool)
    for row, there in zip(found, rows, strict=True):
        row[there] = True
    return found


def entry(name: str, find: Callable[[str], DatasetEntry]) -> DatasetEntry:
    """The data set `name`, whose inner one `find` finds; raises EngineError."""
    viewed = read(name)
    inner = find(viewed.inner)
    if not inner.info.findings:
        raise EngineError(f"the pictures of {inner.info.title} have one label each, so there is no finding to choose; "
                          f"take the data set as it is: {viewed.inner}")
    if viewed.finding not in inner.info.findings:
        raise UnknownName(f"finding of {inner.info.title}", viewed.finding, inner.info.findings)
    info = replace(inner.info, name=viewed.name, classes=classes(viewed.finding),
                   title=f"{inner.info.title}: {viewed.finding}",
                   sentence=f"{inner.info.sentence} Here: whether each shows {viewed.finding}.")
    place = inner.info.findings.index(viewed.finding)

    def opened(split: str) -> Dataset:
        data = inner.open(split)
        return Relabelled(data, info, data.truth[:, place].astype(np.int64))

    return replace(inner, info=info, sized=None, open=opened)
