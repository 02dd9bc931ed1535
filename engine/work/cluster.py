"""Pieces of work on a Ray cluster: the same results under the same keys as here, whoever computes them.

A worker that sees this process's store works in it. One that does not has a store of its own for as long as it lives,
and what it leaves there is sent back. Every node needs the project's environment, and the data sets and trained models
under the same names; what is not the same there is told by its digest.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from engine import device as devices
from engine.errors import EngineError
from engine.home import home
from engine.progress import Progress
from engine.work.kinds import KINDS, Bench, Task
from engine.work.store import Payload, Store

_ROOT = Path(__file__).resolve().parents[2]
_TRIES = 5  # how often a piece is begun again whose worker has died
_AHEAD = 2  # pieces under way for each processor, so that none waits for the next
_LOOK = 0.3  # seconds between two looks at what has come in
_LEFT_OUT = [".git", ".venv", "tests", "*.md", ".mypy_cache", ".ruff_cache", ".pytest_cache"]


class Cluster:
    """A Ray cluster at `address`, or the one that RAY_ADDRESS names, or else one on this machine."""

    def __init__(self, address: str = "") -> None:
        self._address = address

    def results(self, pieces: Sequence[Sequence[Task]], bench: Bench) -> Iterator[tuple[int, Payload]]:
        """As Executor says. Pieces whose worker dies are begun again by another."""
        missing = {}
        for number, tasks in enumerate(pieces):
            known = [bench.recall(task) for task in tasks]
            if all(payload is not None for payload in known):
                yield number, known[-1]  # type: ignore[misc]
            else:
                missing[number] = tasks
        if missing:
            yield from self._computed(missing, len(pieces), bench)

    def _computed(self, missing: dict[int, Sequence[Task]], total: int, bench: Bench
                  ) -> Iterator[tuple[int, Payload]]:
        ray = self._connected()
        work = ray.remote(max_retries=_TRIES)(_perform)
        most = max(1, int(ray.cluster_resources().get("CPU", 1))) * _AHEAD
        waiting, done, shared = list(missing.items()), total - len(missing), str(bench.store.folder)
        under_way: dict[Any, tuple[int, Sequence[Task]]] = {}
        try:
            while waiting or under_way:
                while waiting and len(under_way) < most:
                    number, tasks = waiting.pop(0)
                    under_way[work.remote(*_written(tasks), shared)] = number, tasks
                bench.progress.report(done / total, f"{done} of {total} pieces, {len(under_way)} under way")
                ready, _ = ray.wait(list(under_way), timeout=_LOOK)
                for one in ready:
                    number, tasks = under_way.pop(one)
                    done += 1
                    yield number, _taken_in(_got(ray, one), tasks, bench)
        finally:
            for one in under_way:
                ray.cancel(one, force=True)

    def _connected(self) -> Any:
        """Ray, connected."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
        import ray

        if not ray.is_initialized():
            here = {name: os.environ[name] for name in ("PERTURBSCOPE_DATA",) if name in os.environ}
            told = {**here, "PERTURBSCOPE_HOME": str(home())}
            far = bool(self._address or os.environ.get("RAY_ADDRESS"))
            environment: dict[str, Any] = {"env_vars": {} if far else {**told, "PYTHONPATH": str(_ROOT)}}
            if far:
                environment |= {"working_dir": str(_ROOT), "excludes": _LEFT_OUT}
            try:
                ray.init(address=self._address or None, runtime_env=environment, log_to_driver=False,
                         include_dashboard=None if far else False)
            except (ConnectionError, OSError, RuntimeError, ValueError) as error:
                raise EngineError(f"the Ray cluster {self._address or 'on this machine'} cannot be reached "
                                  f"({type(error).__name__}); is it running, and is the address right?") from None
        return ray


def _written(tasks: Sequence[Task]) -> tuple[list[dict[str, Any]], list[str]]:
    """Tasks as they travel, on a device that is named, and the modules in which their kinds are registered."""
    return ([replace(task, device=devices.resolved(task.device)).to_json() for task in tasks],
            sorted({KINDS[task.kind].work.__module__ for task in tasks}))


def _got(ray: Any, one: Any) -> "_Done":
    try:
        done: _Done = ray.get(one)
        return done
    except ray.exceptions.RayError as error:
        raise EngineError(f"a piece of the work failed on the cluster ({type(error).__name__}); Ray's logs have the "
                          "details") from None


# What a worker sends back: the payload, what else was kept (as Store.put takes it), and what went wrong in one line.
_Done = tuple[Payload | None, list[tuple[Any, ...]], str]


def _taken_in(done: "_Done", tasks: Sequence[Task], bench: Bench) -> Payload:
    """The piece's result; what a worker without this store has kept is kept in it."""
    payload, kept, wrong = done
    if payload is None:
        raise EngineError(wrong)
    for entry in kept:
        if not bench.store.has(entry[0]):
            bench.store.put(*entry)
    return payload


# ---- on a worker


class _Noting(Store):
    """A store that notes what is put into it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.noted_puts: list[tuple[Any, ...]] = []

    def put(self, key: str, kind: str, title: str, spec: dict[str, Any], payload: Payload) -> None:
        super().put(key, kind, title, spec, payload)
        self.noted_puts.append((key, kind, title, spec, payload))


@cache
def _own_store() -> _Noting:
    return _Noting(Path(mkdtemp(prefix="perturbscope-")) / "runs")


def _perform(written: list[dict[str, Any]], modules: list[str], shared: str) -> "_Done":
    """One piece of work, on whatever machine."""
    for module in modules:
        import_module(module)
    seen = os.path.isdir(shared)
    store = Store(Path(shared)) if seen else _own_store()
    bench = Bench("auto", store, Progress(), lambda task: task.kept(store))
    try:
        payload = None
        for task in map(Task.from_json, written):
            payload = replace(bench, device=task.device).result(task)
    except EngineError as error:
        return None, [], str(error)
    if not isinstance(store, _Noting):
        return payload, [], ""
    kept, store.noted_puts = store.noted_puts, []
    return payload, kept, ""
