"""Runs: the kept results of long work, each a list of rows, from which all else about them follows. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from engine.attacks.rows import COLUMNS, Rows
from engine.errors import EngineError, shortened
from engine.experiments.gathered import runs_of
from engine.work.entries import Entry
from engine.work.kinds import KINDS
from engine.work.store import Payload, Store

IMPORTED = "-imported"  # how the keys end of runs that were computed elsewhere
ARRAYS = ("identities", "digests", "images", *COLUMNS)  # of payload_of_runs; runs may have others besides


_DEVICES = {"cpu": "cpu", "apple gpu": "mps"}  # what devices are called in provenances; all others are CUDA's


def device_of(rows: Rows) -> str:
    """The kind of device that these rows were computed on, as tasks name it."""
    return _DEVICES.get(rows.provenance.device.casefold(), "cuda")


@dataclass(frozen=True, eq=False)
class Kept:
    """A run as it is kept: what the index knows of it, its facts and rows, and the rows as they are read."""

    entry: Entry
    payload: Payload
    runs: list[Rows]

    @property
    def readings(self) -> tuple[str, ...]:
        """What the readings of the same runs are called, where they were read in more than one way."""
        said = self.entry.spec.get("readings", ())
        return tuple(map(str, said)) if isinstance(said, list | tuple) else ()

    @property
    def imported(self) -> bool:
        return is_imported(self.entry.key)


# Kinds whose results are rows and more besides, which they read in a way of their own.
_MORE = ("query-curve", "defend")


def run_kinds() -> tuple[str, ...]:
    """The kinds of long work whose results are runs."""
    return tuple(how.name for how in KINDS.values()
                 if how.keep and how.patient and (how.reads is runs_of or how.name in _MORE))


def is_imported(key: str) -> bool:
    """Whether what is kept under this key came as a file from elsewhere: nobody here computed it, and nothing here
    takes it for what was computed."""
    return key.endswith(IMPORTED)


def read(store: Store, key: str) -> Kept:
    """The run kept under this key, or under the one key that begins so; raises EngineError."""
    entry = checked(store.entry(key))
    payload = store.get(entry.key, ARRAYS, check=runs_of)
    if payload is None:
        raise EngineError(f"the run {shortened(entry.key, 20)} cannot be read; compute it again")
    return Kept(entry, payload, runs_of(payload))


def checked(entry: Entry) -> Entry:
    """The entry, if it is a run's; raises EngineError."""
    if entry.kind not in run_kinds():
        raise EngineError(f"{shortened(entry.key, 20)} is no run but of the kind {shortened(entry.kind)}; runs are of "
                          f"the kinds {', '.join(run_kinds())}")
    return entry
