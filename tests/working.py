"""Kinds of work for tests of the queue: what they do is a function that the test gives under a name."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from engine.home import home
from engine.progress import Progress
from engine.work.kinds import KINDS, Bench, Task, kind
from engine.work.store import Payload, Store

_functions: dict[str, Callable[[Progress], Any]] = {}


@dataclass(frozen=True)
class Named:
    """Work known by its name."""

    name: str


@kind("test", Named)
def _work(spec: Named, bench: Bench) -> Payload:
    payload: Payload = _functions[spec.name](bench.progress)
    return payload


@kind("test unkept", Named, keep=False)
def _unkept(spec: Named, bench: Bench) -> Payload:
    return _work(spec, bench)  # type: ignore[return-value]


@kind("test lane", Named, keep=False, lane="aside")
def _aside(spec: Named, bench: Bench) -> Payload:
    return _work(spec, bench)  # type: ignore[return-value]


@kind("test patient", Named)
def _patient(spec: Named, bench: Bench) -> Generator[None, None, Payload]:
    return (yield from _functions[spec.name](bench.progress))


def perform(task: Task, progress: Progress | None = None) -> Payload:
    """What the task gives, computed here and now; nothing is kept."""
    bench = Bench(task.device, Store(home() / "runs"), progress or Progress(), lambda task: None)
    return KINDS[task.kind].perform(task.spec, bench)


def task(work: Callable[[Progress], Any], name: str = "a", *, kind: str = "test", device: str = "auto") -> Task:
    """A task that does `work`; of the kind "test patient" it is a generator function."""
    _functions[name] = work
    return Task(kind, Named(name), name, device)
