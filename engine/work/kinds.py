"""Kinds of work: registered functions of a spec from which everything that they need can be loaded again.

A task names its kind and carries its spec, never a closure, so that it can be taken up after a crash, or elsewhere.
"""

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from functools import cached_property
from inspect import isgeneratorfunction
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from engine import device as devices
from engine import digest
from engine.errors import EngineError
from engine.progress import Progress, to_the_end
from engine.registry import Registry
from engine.work.specs import canonical, from_json, to_json
from engine.work.store import Payload, Store

if TYPE_CHECKING:
    from engine.work.executors import Executor

FORMAT = 4  # raise it when the form of kept results changes: old ones are then computed anew

S = TypeVar("S")
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bench:
    """Where work is done: the device, the store for results, who is told how far it is, and who is told in one line
    that a result cannot be kept.

    `recall` finds what a task gave before, wherever that is. `publish` shows what long work has so far, which grows
    while it goes on. `executor` does the pieces of long work (None: they are done here). What cannot be kept is
    remembered for as long as that goes on.
    """

    device: str
    store: Store
    progress: Progress
    recall: Callable[["Task"], Payload | None]
    note: Callable[[str], None] = log.warning
    publish: Callable[[Any], None] = lambda found: None
    executor: "Executor | None" = None
    unkept: dict[str, Payload] = field(default_factory=dict)

    def result(self, task: "Task") -> Payload:
        """What `task` gives, known already or else computed here and now, and kept; raises EngineError and Cancelled.

        Where another process computes the same, its result is waited for.
        """
        found = self.unkept.get(task.key) or self.recall(task)
        if found is not None:
            return found
        if not task.keep:
            return _apart(KINDS[task.kind].perform(task.spec, self))
        with self.store.lease(task.key, self.progress):
            found = task.kept(self.store)
            if found is None:
                found = _apart(KINDS[task.kind].perform(task.spec, self))
                self.keep(task, found)
        return found

    def keep(self, task: "Task", payload: Payload) -> None:
        """`payload` is what `task` gives: the next to ask for it has it at once."""
        try:
            self.store.put(task.key, task.kind, task.title, to_json(task.spec), payload)
        except EngineError as error:
            self.unkept[task.key] = payload
            self.note(str(error))

    def part(self, start: float, end: float) -> "Bench":
        """The same for a piece of the work that fills `start` to `end` of its progress."""
        return replace(self, progress=self.progress.part(start, end))

    def piece(self, number: int, of: int) -> "Bench":
        """The same for piece `number` (from 0) of so many equal ones."""
        return self.part(number / of, (number + 1) / of)


def _apart(payload: Payload) -> Payload:
    """The same in memory of its own, now that what it was made with is gone. Small arrays that stay where large ones
    came and went between them leave holes into which the next large ones do not fit: long work would grow by as much
    with each of its units."""
    return replace(payload, arrays={name: values.copy() for name, values in payload.arrays.items()})


# What a kind's function gives: the result; or, of long work, the result after a yield between its units, where
# something else may have its turn.
Outcome = Payload | Generator[None, None, Payload]


@dataclass(frozen=True)
class Kind(Generic[S]):
    """One kind of work. `version` is raised when the same spec gives another result than before; with `keep` the
    result outlives the process. `reads` raises for what is no result of this kind, or not any more. Work that computes
    nothing has a worker of its own, its `lane`, and keeps nobody from a device."""

    name: str
    spec: type[S]
    work: Callable[[S, Bench], Outcome]
    version: int = 1
    keep: bool = True
    reads: Callable[[Payload], object] = lambda payload: payload
    lane: str = ""

    @property
    def patient(self) -> bool:
        """Whether it is long work in units, between which others have their turn."""
        return isgeneratorfunction(self.work)

    def perform(self, spec: S, bench: Bench) -> Payload:
        """All of the work at once."""
        return to_the_end(self.steps(spec, bench))

    def steps(self, spec: S, bench: Bench) -> Generator[None, None, Payload]:
        """The work, with a yield wherever something else may have its turn."""
        outcome = self.work(spec, bench)
        return outcome if isinstance(outcome, Payload) else (yield from outcome)


KINDS: Registry[Kind[Any]] = Registry("kind of work")


def kind(name: str, spec: type[S], *, version: int = 1, keep: bool = True,
         reads: Callable[[Payload], object] = lambda payload: payload, lane: str = "",
         ) -> Callable[[Callable[[S, Bench], Outcome]], Callable[[S, Bench], Outcome]]:
    """Decorator: the function does the work called `name`, which a `spec` (a frozen data class) describes. A kept
    result that `reads` raises for is none."""
    def register(work: Callable[[S, Bench], Outcome]) -> Callable[[S, Bench], Outcome]:
        KINDS.add(name, Kind(name, spec, work, version, keep, reads, lane))
        return work

    return register


@dataclass(frozen=True)
class Task:
    """Work to be done: its kind and its spec. `title` is for people and decides nothing."""

    kind: str
    spec: Any
    title: str
    device: str = "auto"

    @cached_property
    def key(self) -> str:
        """The name under which the result is kept; raises EngineError where the device does not exist."""
        how = KINDS[self.kind]
        return digest.of_spec({"format": FORMAT, "kind": how.name, "version": how.version,
                               "spec": canonical(self.spec), "device": devices.resolved(self.device)})

    @property
    def keep(self) -> bool:
        return KINDS[self.kind].keep

    def kept(self, store: Store) -> Payload | None:
        """What `store` has of it; None where there is nothing, or nothing that is a result of its kind any more."""
        return store.get(self.key, check=KINDS[self.kind].reads)

    def to_json(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        return {"kind": self.kind, "spec": to_json(self.spec), "title": self.title, "device": self.device}

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Task":
        """The task that `to_json` wrote; raises EngineError where this version does not know it."""
        spec = from_json(KINDS[str(values["kind"])].spec, values["spec"])
        return Task(str(values["kind"]), spec, str(values["title"]), str(values["device"]))
