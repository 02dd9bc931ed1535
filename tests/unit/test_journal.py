"""A server that is killed has lost what it worked on: the next one knows, and nobody speaks of what is still alive."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from engine.errors import EngineError
from engine.progress import Progress
from engine.work.jobs import Jobs, State
from engine.work.journal import Accepted, Journal
from engine.work.kinds import Task
from engine.work.store import Payload, Store
from tests.working import task

ROOT = Path(__file__).resolve().parents[2]

# One job ends, one runs for ever, one waits behind it.
SERVER = """
import sys, threading
from pathlib import Path
from engine.work.jobs import Jobs
from engine.work.store import Payload, Store
from tests.working import task

began = threading.Event()

def for_ever(progress):
    began.set()
    threading.Event().wait()

jobs = Jobs(Store(Path(sys.argv[1])))
jobs.submit(task(lambda progress: Payload({}, {}), "ends")).wait()
jobs.submit(task(for_ever, "runs"))
jobs.submit(task(for_ever, "waits"))
jobs.submit(task(for_ever, "is not told", kind="test unkept"))
began.wait()
print("working", flush=True)
threading.Event().wait()
"""


@contextmanager
def server(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process at work on two jobs."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None and process.stdout.readline() == "working\n"
        yield process
    finally:
        process.kill()
        process.wait()


def killed(folder: Path) -> None:
    with server(folder) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def done(name: str = "runs") -> Task:
    return task(lambda progress: Payload({}, {"x": np.zeros(1)}), name)


def titles(jobs: Jobs) -> list[str]:
    return [accepted.title for accepted in jobs.lost()]


def test_what_a_killed_server_worked_on_is_known_to_the_next(tmp_path) -> None:
    killed(tmp_path)
    lost = Jobs(Store(tmp_path)).lost()
    assert [accepted.title for accepted in lost] == ["runs", "waits"]
    assert [Task.from_json(accepted.task) for accepted in lost] == [done("runs"), done("waits")]


def test_what_another_server_works_on_is_not_lost_before_it_ends(tmp_path) -> None:
    jobs = Jobs(Store(tmp_path))
    with server(tmp_path) as process:
        assert titles(jobs) == []
        process.kill()
        process.wait()
        assert titles(jobs) == ["runs", "waits"]


def test_what_is_forgotten_is_not_told_again_and_leaves_nothing(tmp_path) -> None:
    killed(tmp_path)
    jobs = Jobs(Store(tmp_path))
    first, second = jobs.lost()
    jobs.forget(first)
    assert jobs.lost() == [second] == Jobs(Store(tmp_path)).lost()
    jobs.forget(second)
    assert jobs.lost() == [] and list((tmp_path / "journal").iterdir()) == []


def test_what_is_asked_for_again_is_not_lost_any_more(tmp_path) -> None:
    killed(tmp_path)
    jobs = Jobs(Store(tmp_path))
    again = jobs.submit(done())
    assert titles(jobs) == ["waits"]
    assert again.wait(10).state is State.DONE
    assert titles(Jobs(Store(tmp_path))) == ["waits"]


def test_what_was_kept_just_before_the_end_is_not_lost(tmp_path) -> None:
    killed(tmp_path)
    store = Store(tmp_path)
    store.put(done().key, "test", "runs", {}, Payload({}, {}))
    assert titles(Jobs(store)) == ["waits"]


def test_two_servers_that_died_are_both_told_of_and_the_same_work_once(tmp_path) -> None:
    for _ in range(2):
        killed(tmp_path)
    jobs = Jobs(Store(tmp_path))
    assert titles(jobs) == ["runs", "waits"]
    jobs.forget(jobs.lost()[0])
    assert titles(jobs) == ["waits"]


@pytest.mark.parametrize("ends", ["done", "failed", "broken", "cancelled", "no device"])
def test_what_is_over_is_not_lost_however_it_ended(tmp_path, ends: str) -> None:
    def work(progress: Progress) -> Payload:
        if ends == "failed":
            raise EngineError("no")
        if ends == "broken":
            raise ZeroDivisionError
        if ends == "cancelled":
            jobs.cancel(job)
            progress.report(0.5, "half")
        return Payload({}, {})

    def resolve(name: str) -> str:
        if ends == "no device":
            raise EngineError("not here")
        return name

    jobs = Jobs(Store(tmp_path), resolve)
    job = jobs.submit(task(work, "ends"))
    assert job.wait(10).state.over
    (own,) = (tmp_path / "journal").glob("*.json")
    assert own.read_text() == "[]"


@pytest.mark.parametrize("damage", ["", "[{}]", "[" * 100_000, '[{"key": 1}]', "null"])
def test_a_damaged_journal_is_told_in_the_log_and_forgotten(tmp_path, damage: str,
                                                            caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "dead.json").write_text(damage)
    assert Journal(tmp_path).lost() == []
    assert "damaged" in caplog.text and list(tmp_path.iterdir()) == []


def test_a_journal_that_cannot_be_written_stops_no_work(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    assert Jobs(Store(tmp_path)).submit(done()).wait(10).state is State.DONE
    assert "cannot be noted" in caplog.text


def test_the_lock_of_a_living_process_is_there_before_its_file(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.work import journal

    seen: list[bool] = []
    other = Journal(tmp_path)

    def write(path: Path, jobs: list[Accepted]) -> None:
        written(path, jobs)
        seen.append(bool(other.lost()))

    written = journal._write
    monkeypatch.setattr(journal, "_write", write)
    own = Journal(tmp_path)
    own.accept(Accepted("k", "a title", done().to_json(), 1.0))
    assert seen == [False] and own.lost() == []


def test_what_was_under_way_is_taken_up_again(tmp_path) -> None:
    killed(tmp_path)
    done("runs"), done("waits")
    jobs = Jobs(Store(tmp_path))
    first, second = jobs.take_up()
    assert [first.task.title, second.task.title] == ["runs", "waits"]
    assert first.wait(10).state is second.wait(10).state is State.DONE
    assert jobs.lost() == []
    assert jobs.take_up() == [first, second]
    jobs.noted(first)
    assert jobs.take_up() == [second]


def test_what_a_process_died_of_twice_is_not_taken_up_a_third_time(tmp_path) -> None:
    own = Journal(tmp_path / "journal")
    own.accept(Accepted(done().key, "runs", done().to_json(), 1.0, tries=1))
    own._alive.release()  # as if its process had ended
    jobs = Jobs(Store(tmp_path))
    assert jobs.take_up() == [] and titles(jobs) == ["runs"]


def test_what_cannot_be_taken_up_stays_lost(tmp_path) -> None:
    own = Journal(tmp_path / "journal")
    own.accept(Accepted("k", "of another version", {**done().to_json(), "kind": "forgotten"}, 1.0))
    own._alive.release()
    jobs = Jobs(Store(tmp_path))
    assert jobs.take_up() == [] and titles(jobs) == ["of another version"]


def test_what_another_process_loses_later_is_offered_and_not_taken(tmp_path) -> None:
    jobs = Jobs(Store(tmp_path))
    assert jobs.take_up() == []
    killed(tmp_path)
    assert jobs.take_up() == [] and titles(jobs) == ["runs", "waits"]
