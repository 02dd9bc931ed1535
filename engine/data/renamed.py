"""`map:A=B,C=D:NAME`: another data set whose classes are called otherwise, so that a model knows them.

Several may be one. The names are written as in a link's address: %3D is an equals sign.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

import numpy as np

from engine.data.base import Dataset, DatasetEntry
from engine.data.classmap import Relabelled
from engine.errors import EngineError, UnknownName

PREFIX = "map:"
_SAFE = " -_.()"


@dataclass(frozen=True)
class Renaming:
    """The data set `inner`, and what its classes are called now."""

    inner: str
    names: Mapping[str, str]

    @property
    def name(self) -> str:
        """How it is written as the name of a data set."""
        pairs = ",".join(f"{quote(old, _SAFE)}={quote(new, _SAFE)}" for old, new in self.names.items())
        return f"{PREFIX}{pairs}:{self.inner}"


def read(name: str) -> Renaming:
    """What a data set's name says; raises EngineError."""
    pairs, sign, inner = name.removeprefix(PREFIX).partition(":")
    names = {}
    for pair in filter(None, pairs.split(",")):
        old, equals, new = pair.partition("=")
        if not equals or not new:
            raise EngineError(f"'{pair}' is no pair of class names; write {PREFIX}COVID=COVID-19:folder:PATH, for one")
        names[unquote(old)] = unquote(new)
    if not sign or not inner or not names or inner.startswith(PREFIX):
        raise EngineError(f"after {PREFIX} stand pairs of class names and a data set, such as "
                          f"{PREFIX}COVID=COVID-19,NORMAL=Normal:folder:PATH")
    return Renaming(inner, names)


def entry(name: str, find: Callable[[str], DatasetEntry]) -> DatasetEntry:
    """The data set `name`, whose inner one `find` finds; raises EngineError."""
    renaming = read(name)
    inner = find(renaming.inner)
    for old in renaming.names:
        if old not in inner.info.classes:
            raise UnknownName(f"class of {inner.info.title}", old, inner.info.classes)
    called = [renaming.names.get(old, old) for old in inner.info.classes]
    classes = tuple(dict.fromkeys(called))
    info = replace(inner.info, name=renaming.name, classes=classes, title=f"{inner.info.title}, classes renamed")
    numbers = {new: number for number, new in enumerate(classes)}
    places = np.array([numbers[new] for new in called], np.int64)

    def opened(split: str) -> Dataset:
        data = inner.open(split)
        return Relabelled(data, info, places[data.labels])

    return replace(inner, info=info, sized=None, open=opened)
