"""A data set looked over as long work: kept until any of its files changes. Does not import torch."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import digest
from engine.data.base import Dataset
from engine.data.check import Checked, checking
from engine.data.overview import opened_splits
from engine.errors import EngineError
from engine.work.kinds import Bench, Task, kind
from engine.work.specs import from_json, to_json
from engine.work.store import Payload


@dataclass(frozen=True)
class Checking:
    """Which data set; `contents` identifies its files as they are now."""

    dataset: str
    contents: str

    def canonical(self) -> dict[str, Any]:
        """Damage is named by the files' names, so that the data set's own belongs to it."""
        return {"dataset": self.dataset, "contents": self.contents}


def contents_of(dataset: Dataset) -> str:
    """Identifies a split's files by their names, classes, sizes and times, without reading them."""
    return digest.of_spec({"images": dataset.digest, "files": list(map(_facts, dataset.files()))})


def _facts(path: Path) -> list[int]:
    try:
        facts = path.stat()
    except OSError:  # gone meanwhile
        return []
    return [facts.st_size, facts.st_mtime_ns]


def checking_task(name: str) -> Task:
    """The job that looks a data set over, as it is now; raises EngineError."""
    splits, closed = opened_splits(name)
    if not splits:
        raise EngineError(next(iter(closed.values())))
    contents = digest.of_spec({"splits": [contents_of(data) for data in splits]})
    return Task("check", Checking(name, contents), f"check of {name}")


def checked_of(payload: Payload) -> Checked:
    """What was found."""
    return from_json(Checked, payload.facts)


@kind("check", Checking, reads=checked_of, lane="disk")  # so that PyTorch need not be loaded for it
def _check(asked: Checking, bench: Bench) -> Generator[None, None, Payload]:
    found = yield from checking(asked.dataset, bench.progress)
    payload = Payload(to_json(found), {})
    if (after := checking_task(asked.dataset)).spec != asked:  # what was found to be damaged is left out by now
        bench.keep(after, payload)
    return payload
