"""Trainings as long work: taken up where they were, one a name, and what is read from what they give."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.cli import main
from engine.errors import EngineError
from engine.experiments.sources import opened
from engine.experiments.trainings.training import (
    Trained,
    check_name,
    command_of,
    epochs_done,
    mistakes,
    training_task,
)
from engine.training.unfinished import all_unfinished
from engine.work.jobs import Job, Jobs, State
from engine.work.kinds import Task
from engine.work.store import Store
from engine.zoo import keeping
from engine.zoo.registry import model_card, trained_path
from tests import stripes
from tests.stripes import spec


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    with stripes.registered(monkeypatch):
        yield


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(Store(tmp_path / "runs"))


def stopped_after(epochs: int, task: Task, jobs: Jobs) -> Job:
    """Cancelled once so many epochs are over."""
    job = Job(task)
    job.publish = lambda found: job.cancelled.set() if len(found.history) == epochs else None  # type: ignore[method-assign]
    job.settle = lambda key: None
    jobs._remember(job)
    jobs._submitted.put(job)
    assert job.wait(60).state is State.CANCELLED, job.error
    return job


def test_a_cancelled_training_goes_on_where_it_was_and_gives_what_it_would_have(jobs: Jobs, tmp_path: Path) -> None:
    chosen = spec(epochs=3)
    task = training_task(chosen)
    stopped_after(2, task, jobs)
    assert epochs_done(chosen) == 2 and [one.name for one in all_unfinished()] == [chosen.name]
    assert epochs_done(spec(epochs=3, lr=0.02)) == 0
    job = jobs.submit(task)
    assert job.wait(60).state is State.DONE and job.payload is not None, job.error
    assert job.found.epochs == 3 and len(job.found.history) == 3
    trained, other = Trained.of(job.payload), Jobs(Store(tmp_path / "other"))
    again = other.submit(training_task(spec(epochs=3, name="again"))).wait(60)
    assert again.payload is not None, again.error
    np.testing.assert_array_equal(trained.odds["test"], Trained.of(again.payload).odds["test"])
    assert trained_path(chosen.name).read_bytes() == trained_path("again").read_bytes()
    assert not all_unfinished()


def test_two_trainings_of_one_name_do_not_meet(jobs: Jobs) -> None:
    """Both are long work of one worker, in turn."""
    one, two = jobs.submit(training_task(spec(epochs=4)), "a"), jobs.submit(training_task(spec(epochs=2)), "b")
    assert two.wait(60).state is State.FAILED and "is being trained already" in two.error
    assert one.wait(60).state is State.DONE


def test_what_is_cancelled_between_two_turns_leaves_the_name_to_others(jobs: Jobs) -> None:
    one = jobs.submit(training_task(spec(epochs=50)), "a")
    while one.fraction == 0:
        one.over.wait(0.01)
    one.cancelled.set()
    assert one.wait(60).state is State.CANCELLED and one.steps is None
    assert jobs.submit(training_task(spec(epochs=1)), "b").wait(60).state is State.DONE


def test_a_result_holds_as_long_as_its_model_is_there(jobs: Jobs) -> None:
    task = training_task(spec(epochs=1))
    assert jobs.submit(task).wait(60).state is State.DONE and task.kept(jobs.store) is not None
    keeping.rename("stripes/cnn", "stripes/other")
    assert task.kept(jobs.store) is None
    with pytest.raises(EngineError, match="there is a model 'stripes/other' already; choose another name"):
        check_name(spec(name="stripes/other"))
    check_name(spec())


def test_the_mistakes_of_which_the_model_is_surest_come_first() -> None:
    data = opened("stripes", "few")  # 0 1 0 1 0
    odds = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.45, 0.55]], np.float32)
    found = mistakes(Trained("stripes/cnn", {"few": odds}, {"few": np.arange(5)}), data)
    assert [(one.index, one.shows, one.says) for one in found] == [
        (2, "across", "along"), (1, "along", "across"), (4, "across", "along")]
    assert found[0].odds == pytest.approx(0.8)


def test_the_command_trains_the_same_and_asking_again_costs_nothing(capsys: pytest.CaptureFixture[str],
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = spec(epochs=1, full_size_epochs=1, tests=("few", "test"), validation="few", limits="for a test")
    words = shlex.split(command_of(chosen))
    monkeypatch.setattr("sys.argv", words[2:])
    assert main(words[3:]) == 0
    assert "few: accuracy" in capsys.readouterr().out
    assert model_card(chosen.name).command == command_of(chosen)
    before = trained_path(chosen.name).stat().st_mtime_ns
    assert main(words[3:]) == 0
    assert "was trained like that before" in capsys.readouterr().err
    assert trained_path(chosen.name).stat().st_mtime_ns == before


def test_fewer_pictures_are_of_every_class_and_their_numbers_are_known(jobs: Jobs) -> None:
    chosen = spec(epochs=1, limit=40)
    job = jobs.submit(training_task(chosen)).wait(60)
    assert job.payload is not None, job.error
    trained, labels = Trained.of(job.payload), opened("stripes", "test").labels
    assert trained.card.evaluations["test"]["n"] == 14 == len(trained.odds["test"])
    assert sorted(labels[trained.numbers["test"]]) == [0] * 7 + [1] * 7
    wrong = sum(map(sum, trained.card.evaluations["test"]["confusion_matrix"])) - sum(
        row[k] for k, row in enumerate(trained.card.evaluations["test"]["confusion_matrix"]))
    assert len(mistakes(trained, opened("stripes", "test"))) == wrong
