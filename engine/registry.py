"""A named list of things (attacks, data sets, models) from which pages, options and tests are generated."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from engine.errors import UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """An ordered mapping from name to item that explains itself when a name is unknown."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> T:
        """Register `item` under `name`; a name can be taken once."""
        if name in self._items:
            raise ValueError(f"{self.kind} '{name}' is registered twice")
        self._items[name] = item
        return item

    def __getitem__(self, name: str) -> T:
        """The item called `name`; raises UnknownName with the nearest known names."""
        try:
            return self._items[name]
        except KeyError:
            raise UnknownName(self.kind, name, self._items) from None

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def values(self) -> list[T]:
        return list(self._items.values())
