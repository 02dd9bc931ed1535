"""The rows of several runs: as they come in, and as they are kept together. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from engine.attacks.rows import COLUMNS, Provenance, Rows, Tally, joined
from engine.attacks.spec import AttackSpec
from engine.errors import EngineError
from engine.work.specs import from_json
from engine.work.store import Payload

Join = Callable[[Sequence[Any]], Rows]


class Gathered:
    """The rows of `count` runs as far as there are any. The one who works adds to it, pages read it meanwhile. `join`
    makes one run of its pieces, where they are more than rows."""

    def __init__(self, count: int, steps: int, join: Join = joined) -> None:
        self.steps, self.done = steps, 0
        self._join = join
        self._pieces: list[dict[int, Rows]] = [{} for _ in range(count)]
        self._joined: list[tuple[int, Rows | None]] = [(0, None)] * count

    def add(self, runs: Sequence[int], place: int, rows: Sequence[Rows]) -> None:
        """The rows of these runs on the images number `place`."""
        for run, found in zip(runs, rows, strict=True):
            self._pieces[run][place] = found
        self.done += 1

    def runs(self) -> list[Rows | None]:
        """Of every run the rows there are, in the order of the images; None where there are none yet."""
        return [self._run(number) for number in range(len(self._pieces))]

    def whole(self) -> list[Rows]:
        """All rows of all runs, once every step is done."""
        return [rows for rows in self.runs() if rows is not None]

    def _run(self, number: int) -> Rows | None:
        pieces = dict(self._pieces[number])  # a copy: more may come in meanwhile
        count, rows = self._joined[number]
        if len(pieces) != count:
            rows = self._join([pieces[place] for place in sorted(pieces)])
            self._joined[number] = len(pieces), rows
        return rows


_WIDE = tuple(name for name in COLUMNS if name.startswith("logits_"))


def payload_of_runs(runs: Sequence[Rows]) -> Payload:
    """Runs as they are kept: their columns one after another, and every image's name and digest once."""
    images: dict[tuple[str, str], int] = {}
    numbers = [images.setdefault(image, len(images)) for rows in runs
               for image in zip(rows.identities, rows.digests, strict=True)]
    facts = [{"spec": asdict(rows.spec), "provenance": asdict(rows.provenance), "classes": list(rows.classes),
              "tally": asdict(rows.tally), "seconds": rows.seconds, "n": len(rows.labels)} for rows in runs]
    widest = max(len(rows.classes) for rows in runs)
    columns = {name: np.concatenate([_widened(getattr(rows, name), widest) if name in _WIDE else getattr(rows, name)
                                     for rows in runs]) for name in COLUMNS}
    names, digests = (np.array(values) for values in zip(*images, strict=True))
    return Payload({"runs": facts}, {"identities": names, "digests": digests,
                                     "images": np.array(numbers, np.int32), **columns})


def runs_of(payload: Payload) -> list[Rows]:
    """The runs that `payload_of_runs` wrote; raises EngineError for what is no such result."""
    try:
        return _runs_of(payload)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise EngineError(f"these are no rows of runs ({type(error).__name__})") from None


def _runs_of(payload: Payload) -> list[Rows]:
    arrays, runs, start = payload.arrays, [], 0
    names, digests = (arrays[name].tolist() for name in ("identities", "digests"))
    known: dict[bytes, tuple[tuple[str, ...], tuple[str, ...]]] = {}  # mostly all runs are on the same images
    for facts in payload.facts["runs"]:
        own = slice(start, start + facts["n"])
        images = arrays["images"][own]
        if (numbers := images.tobytes()) not in known:
            known[numbers] = tuple(names[image] for image in images), tuple(digests[image] for image in images)
        runs.append(_rows_of(facts, {name: arrays[name][own] for name in COLUMNS}, *known[numbers]))
        start = own.stop
    return runs


def _rows_of(facts: dict[str, Any], columns: dict[str, np.ndarray], identities: tuple[str, ...],
             digests: tuple[str, ...]) -> Rows:
    classes = tuple(facts["classes"])
    own = {name: values[:, :len(classes)] if name in _WIDE else values for name, values in columns.items()}
    return Rows(spec=from_json(AttackSpec, facts["spec"]), provenance=from_json(Provenance, facts["provenance"]),
                classes=classes, identities=identities, digests=digests, tally=from_json(Tally, facts["tally"]),
                seconds=facts["seconds"], **own)


def _widened(logits: np.ndarray, width: int) -> np.ndarray:
    """Logits [N, K] with NaN for the classes that another model has besides."""
    return np.pad(logits, ((0, 0), (0, width - logits.shape[1])), constant_values=np.nan)
