"""Which images of a split a sweep is about. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

from engine.data import Dataset
from engine.data.splits import evenly, evenly_of_each
from engine.errors import EngineError


@dataclass(frozen=True)
class Selection:
    """All images of a split; or `limit` of them, spread evenly; or `per_class` of every class, spread evenly; or those
    numbered `indices`, in that order."""

    limit: int | None = None
    per_class: int | None = None
    indices: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        asked = {"a limit": self.limit is not None, "a number of every class": self.per_class is not None,
                 "image numbers": bool(self.indices)}
        chosen = [words for words, given in asked.items() if given]
        if len(chosen) > 1:
            raise EngineError(f"choose the images by {' or by '.join(chosen)}, not by both")
        for words, number in (("limit", self.limit), ("per class", self.per_class)):
            if number is not None and number < 1:
                raise EngineError(f"{words} must be at least 1, not {number}")

    def of(self, dataset: Dataset) -> tuple[int, ...]:
        """The numbers of the chosen images; raises EngineError."""
        if self.indices:
            return tuple(dataset.checked(index) for index in self.indices)
        if self.per_class is None:
            return tuple(evenly(range(len(dataset)), self.limit))
        return tuple(sorted(evenly_of_each(dataset.labels, self.per_class)))
