"""Kinds of work: registered functions of a spec from which everything that they need can be loaded again.

A task names its kind and carries its spec, never a closure, so that it can be taken up after a crash, or elsewhere.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property
from inspect import isgeneratorfunction
from typing import Any, Generic, TypeVar

from engine import device as devices
from engine import digest
from engine.progress import Progress
from engine.registry import Registry
from engine.work.results import Result
from engine.work.specs import canonical, from_json, to_json
from engine.work.store import Payload, Store

FORMAT = 3  # raise it when the form of kept results changes: old ones are then computed anew

S = TypeVar("S")


@dataclass(frozen=True)
class Bench:
    """Where a piece of work is done: the device, the store for results on the way, and who is told how far it is.

    `recall` finds what a task gave before, wherever that is.
    """

    device: str
    store: Store
    progress: Progress
    recall: Callable[["Task"], Payload | None]

    def result(self, task: "Task") -> Payload:
        """What `task` gives, known already or else computed here and now; raises EngineError and Cancelled."""
        found = self.recall(task)
        return found if found is not None else KINDS[task.kind].perform(task.spec, self)


# What a kind's function gives: the result; or, of long work, the result after a yield between its units, where
# something else may have its turn.
Outcome = Payload | Generator[None, None, Payload]


@dataclass(frozen=True)
class Kind(Generic[S]):
    """One kind of work. `version` is raised when the same spec gives another result than before; with `keep` the
    result outlives the process. `result` is its form; without one, whatever was kept is taken as it is."""

    name: str
    spec: type[S]
    work: Callable[[S, Bench], Outcome]
    version: int = 1
    keep: bool = True
    result: type[Result] | None = None

    def check(self, payload: Payload) -> None:
        """Raises EngineError where `payload` is no result of this kind, or not any more."""
        if self.result is not None:
            self.result.of(payload)

    @property
    def patient(self) -> bool:
        """Whether it is long work in units, between which others have their turn."""
        return isgeneratorfunction(self.work)

    def perform(self, spec: S, bench: Bench) -> Payload:
        """All of the work at once."""
        outcome = self.work(spec, bench)
        if isinstance(outcome, Payload):
            return outcome
        while True:
            try:
                next(outcome)
            except StopIteration as end:
                payload: Payload = end.value
                return payload


KINDS: Registry[Kind[Any]] = Registry("kind of work")


def kind(name: str, spec: type[S], *, version: int = 1, keep: bool = True, result: type[Result] | None = None,
         ) -> Callable[[Callable[[S, Bench], Outcome]], Callable[[S, Bench], Outcome]]:
    """Decorator: the function does the work called `name`, which a `spec` (a frozen data class) describes. What was
    kept and is no such `result` is none."""
    def register(work: Callable[[S, Bench], Outcome]) -> Callable[[S, Bench], Outcome]:
        KINDS.add(name, Kind(name, spec, work, version, keep, result))
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

    def to_json(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        return {"kind": self.kind, "spec": to_json(self.spec), "title": self.title, "device": self.device}

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Task":
        """The task that `to_json` wrote; raises EngineError where this version does not know it."""
        spec = from_json(KINDS[str(values["kind"])].spec, values["spec"])
        return Task(str(values["kind"]), spec, str(values["title"]), str(values["device"]))
