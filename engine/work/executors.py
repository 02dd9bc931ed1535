"""Where the pieces of long work are computed: here, one after another, or on a Ray cluster, side by side."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Protocol

from engine.errors import EngineError
from engine.work.kinds import Bench, Task
from engine.work.store import Payload

HERE, RAY = "here", "ray"


class Executor(Protocol):
    """Does pieces of work. A piece is some tasks, done one after another by the same worker; what each of them leaves
    is kept in the bench's store, and what the last gives is the piece's result."""

    def results(self, pieces: Sequence[Sequence[Task]], bench: Bench) -> Iterator[tuple[int, Payload]]:
        """The result of every piece with its number, in the order in which they come in; raises EngineError and
        Cancelled."""
        ...


class Here:
    """One piece after another, in this process."""

    def results(self, pieces: Sequence[Sequence[Task]], bench: Bench) -> Iterator[tuple[int, Payload]]:
        for number, tasks in enumerate(pieces):
            part = bench.piece(number, len(pieces))
            *_, last = [part.result(task) for task in tasks]
            yield number, last


def executor_named(name: str) -> Executor:
    """"here", "ray" (one on this machine, or the cluster that RAY_ADDRESS names) or a cluster as "ray://host:port";
    raises EngineError where there is no such thing."""
    if name in ("", HERE):
        return Here()
    if name != RAY and not name.startswith(f"{RAY}://"):
        raise EngineError(f"there is no executor '{name}'; choose {HERE}, {RAY} or {RAY}://HOST:PORT")
    if find_spec(RAY) is None:
        raise EngineError("Ray is not installed; install it with: pip install -r requirements-ray.txt")
    from engine.work.cluster import Cluster

    return Cluster("" if name == RAY else name)
