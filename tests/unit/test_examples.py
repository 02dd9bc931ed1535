"""Results that come with the program: found where the store has none, never changed, and all there."""

from pathlib import Path

import numpy as np
import pytest

from engine.cli import main
from engine.experiments import openings
from engine.experiments.openings import OPENINGS, Opening
from engine.experiments.sweeps import evaluation_task
from engine.work import examples
from engine.work.examples import Examples
from engine.work.jobs import Jobs, State
from engine.work.kinds import Task
from engine.work.store import Payload, Store
from tests.working import task

RENEW = "renew them with: make examples (python -m engine examples)"
MOST = 2**20  # bytes of all together


def given(number: int) -> Payload:
    return Payload({"number": number}, {"values": np.arange(3)})


@pytest.fixture
def shelf(tmp_path: Path) -> Examples:
    return Examples(tmp_path / "examples")


@pytest.fixture
def work(shelf: Examples) -> Task:
    """Work of which there is an example."""
    asked = task(lambda progress: given(2), "of which there is an example")
    shelf.put(asked, given(1))
    return asked


def test_an_example_is_found_where_the_store_has_nothing_and_is_not_of_it(shelf: Examples, work: Task,
                                                                         tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    job = Jobs(store, examples=shelf).submit(work)
    assert job.state is State.DONE and job.example is not None
    assert job.payload is not None and job.payload.facts == {"number": 1} and job.payload.arrays["values"][2] == 2
    assert not store.has(work.key) and store.search().total == 0 and Jobs(store).find(work) is None


def test_it_is_computed_here_when_asked_and_then_that_is_shown(shelf: Examples, work: Task, tmp_path: Path) -> None:
    queue = Jobs(Store(tmp_path / "runs"), examples=shelf)
    assert queue.submit(work).example is not None
    job = queue.submit(work, here=True).wait(10)
    assert job.payload is not None and job.payload.facts == {"number": 2} and job.example is None
    assert queue.submit(work, here=True) is job, "it was computed twice"
    again = Jobs(queue.store, examples=shelf).find(work)
    assert again is not None and again.payload is not None and again.payload.facts == {"number": 2}


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_what_cannot_be_read_is_none_and_stays(shelf: Examples, work: Task, content: bytes | None) -> None:
    file = shelf.folder / f"{work.key}.npz"
    if content is None:
        np.savez(file, values=np.array([object()], dtype=object))  # a pickle, which is never opened
    else:
        file.write_bytes(content)
    assert shelf.find(work) is None and file.exists()


@pytest.mark.parametrize("page", OPENINGS)
def test_what_every_page_opens_with_is_there(page: str) -> None:
    for asked in OPENINGS[page]():
        assert Examples.shipped().find(asked) is not None, f"{page} has no example of {asked.title}; {RENEW}"


def test_nothing_else_is_there_and_all_is_small() -> None:
    keys = {asked.key for opening in OPENINGS.values() for asked in opening()}
    files = list(examples.SHIPPED.iterdir())
    assert {file.name for file in files} == {f"{key}.npz" for key in keys}, RENEW
    assert sum(file.stat().st_size for file in files) < MOST


def test_the_command_computes_them_and_removes_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(examples, "SHIPPED", tmp_path / "examples")
    asked = evaluation_task(Opening(images=1, attacks=("fgsm",), budgets=(1,)).sweep(), openings.DEVICE)
    monkeypatch.setattr(openings, "OPENINGS", {"evaluate": lambda: (asked,)})
    Examples.shipped().put(task(lambda progress: given(1), "which no page asks for any more"), given(1))
    assert main(["examples"]) == 0
    assert [file.name for file in examples.SHIPPED.iterdir()] == [f"{asked.key}.npz"]
    assert Examples.shipped().find(asked) is not None and "in 1 files" in capsys.readouterr().out
    assert not (tmp_path / "home" / "runs").exists(), "examples are nobody's runs"
