"""Sweeps on a Ray cluster: the same rows under the same keys as here, though a worker dies, on one disk or several."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.attacks.rows import COLUMNS, Rows
from engine.attacks.spec import make_spec
from engine.errors import Cancelled, EngineError
from engine.experiments.sweeps import Sweep, performed, steps_of, sweep_of
from engine.progress import Progress, to_the_end
from engine.work import cluster
from engine.work.cluster import Cluster
from engine.work.executors import Executor, Here, executor_named
from engine.work.kinds import Bench
from engine.work.store import Store

ray = pytest.importorskip("ray")
WORKERS = 2


@pytest.fixture(scope="module", autouse=True)
def local_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster of two workers on this machine."""
    root = str(Path(cluster.__file__).parents[2])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # At Ray's niceness of 15 the tests beside this one leave the workers next to nothing.
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, _system_config={"worker_niceness": 0},
             runtime_env={"env_vars": {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}})
    yield
    ray.shutdown()


def sweep(seed: int = 0) -> Sweep:
    spec = make_spec("pgd", eps=2 / 255, batch=1, params={"steps": 20}, seed=seed)
    return sweep_of("phantom-cxr", "test", (5, 0, 17, 3, 40, 8), ("phantom-cxr/resnet18",), (spec,))


def bench(home: Path, executor: Executor, progress: Progress | None = None) -> Bench:
    store = Store(home / "runs")
    return Bench("cpu", store, progress or Progress(), lambda task: task.kept(store), executor=executor)


def done(at: Bench, seed: int = 0) -> list[Rows]:
    return to_the_end(performed(steps_of(sweep(seed).plan(), at.device), at))


def same(some: Rows, others: Rows) -> bool:
    return some.digests == others.digests \
        and all(getattr(some, name).tobytes() == getattr(others, name).tobytes() for name in COLUMNS)


def workers() -> list[int]:
    """The processes that do a piece of work now."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(b"ray::_perform"):
                found.append(int(entry.name))
        except OSError:  # over meanwhile
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
def test_the_rows_are_those_of_one_process_though_a_worker_is_killed(tmp_path: Path) -> None:
    """The worker is killed once a first piece has come in, so in the middle of its second one, or of a later one."""
    killed: list[int] = []

    def kill() -> None:
        at = time.monotonic() + 120
        while not killed and time.monotonic() < at:
            if store.search().total and (found := workers()):
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
            time.sleep(0.02)

    there = bench(tmp_path / "ray", Cluster())
    store = there.store
    killer = threading.Thread(target=kill)
    killer.start()
    rows, = done(there)
    killer.join()
    here, = done(bench(tmp_path / "here", Here()))
    assert killed and same(rows, here)
    again, = done(bench(tmp_path / "ray", Here()))  # what the cluster kept, this process has
    assert same(again, rows) and again.seconds == rows.seconds


def test_workers_that_do_not_see_the_store_send_back_what_they_kept(tmp_path: Path) -> None:
    """As on other machines: the store's folder is not there for the worker."""
    at = bench(tmp_path, Cluster())
    at.store.folder = Path("/nowhere/at/all")  # all that a worker is told of the store
    rows, = done(at, seed=3)
    kept, = done(bench(tmp_path, Here()), seed=3)
    assert same(rows, kept) and rows.seconds == kept.seconds


def test_what_goes_wrong_on_a_worker_is_told_in_its_words(tmp_path: Path) -> None:
    steps = steps_of(sweep(seed=9).plan(), "cpu")
    gone = str(tmp_path / "gone.safetensors")
    broken = [replace(step, task=replace(step.task, spec=replace(step.task.spec, model=gone))) for step in steps]
    with pytest.raises(EngineError, match="gone"):
        to_the_end(performed(broken, bench(tmp_path, Cluster())))


def test_cancelled_work_leaves_the_cluster(tmp_path: Path) -> None:
    stop = threading.Event()
    steps = performed(steps_of(sweep(seed=5).plan(), "cpu"), bench(tmp_path, Cluster(), Progress(cancel=stop)))
    next(steps)
    stop.set()
    with pytest.raises(Cancelled):
        to_the_end(steps)
    deadline = time.monotonic() + 30
    while workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not workers()


@pytest.mark.parametrize("name", ["dask", "http://x", "ray:x"])
def test_an_executor_that_there_is_not_is_told(name: str) -> None:
    with pytest.raises(EngineError, match="there is no executor"):
        executor_named(name)


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.work.executors.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install -r requirements-ray\.txt"):
        executor_named("ray")
