"""The queue: order, progress, cancel, results kept, nobody kept waiting by those who left."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from engine.errors import EngineError
from engine.progress import Preview, Progress
from engine.work import jobs as jobs_module
from engine.work.jobs import Jobs, State
from engine.work.store import Payload, Store
from tests.working import task


def payload(value: float = 1.0) -> Payload:
    return Payload({"value": value}, {"image": np.full((2, 3), value, np.float32)})


@pytest.fixture
def jobs(tmp_path) -> Jobs:
    return Jobs(Store(tmp_path / "runs"))


class Gate:
    """Work that reports, then goes on only when told to."""

    def __init__(self) -> None:
        self.began, self.go, self.calls = threading.Event(), threading.Event(), 0

    def __call__(self, progress: Progress) -> Payload:
        self.calls += 1
        progress.report(0.25, "a quarter")
        self.began.set()
        assert self.go.wait(10)
        progress.report(0.5, "half")
        return payload()


def test_a_job_is_done_with_its_payload(jobs: Jobs) -> None:
    job = jobs.submit(task(lambda progress: payload(3.0))).wait(10)
    assert job.state is State.DONE
    assert job.payload is not None and job.payload.facts == {"value": 3.0}


def test_progress_is_seen_while_the_job_runs(jobs: Jobs) -> None:
    gate = Gate()
    job = jobs.submit(task(gate))
    assert gate.began.wait(10)
    assert (job.state, job.fraction, job.text) == (State.RUNNING, 0.25, "a quarter")
    gate.go.set()
    assert job.wait(10).state is State.DONE


def test_what_computes_nothing_waits_for_no_device_and_is_done_again_where_its_result_is_gone(jobs: Jobs) -> None:
    gate, count = Gate(), iter(range(9))
    computing = jobs.submit(task(gate))
    assert gate.began.wait(10)
    aside = task(lambda progress: payload(float(next(count))), "b", kind="test lane")
    first = jobs.submit(aside).wait(10)
    assert first.state is State.DONE and computing.state is State.RUNNING and jobs.submit(aside) is first
    jobs.renew(first)
    second = jobs.submit(aside).wait(10)
    assert second.payload is not None and second.payload.facts == {"value": 1.0}
    gate.go.set()
    assert computing.wait(10).state is State.DONE


class Clock:
    """time.monotonic, turned by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(jobs_module.time, "monotonic", lambda: self.now)


def test_the_time_left_is_foretold_from_when_the_work_got_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, job = Clock(monkeypatch), jobs_module.Job(task(lambda progress: payload()))
    job.state = State.RUNNING
    assert job.left() is None
    job.advance(0.0, "loading")
    clock.now += 30  # loading libraries says nothing of what follows
    job.advance(0.1, "first step")
    assert job.left() is None
    clock.now += 8
    job.advance(0.3, "step 2")
    assert job.left() == pytest.approx(8 * 0.7 / 0.2)
    clock.now += 1  # a long step: the rest takes longer than it seemed
    assert job.left() == pytest.approx(9 * 0.7 / 0.2)
    job.end(State.DONE)
    assert job.left() is None


def test_a_preview_is_made_once_a_second_and_only_for_those_who_look(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, job = Clock(monkeypatch), jobs_module.Job(task(lambda progress: payload()))
    made: list[float] = []

    def make() -> Preview:
        made.append(clock.now)
        return Preview(np.full((1, 2, 2), len(made), np.float32), "so far")

    offered = Progress(on_preview=job.offer).part(0.2, 0.8)
    offered.preview(make)
    assert not made and job.preview is None, "nobody looks"
    job.watch("page")
    for _ in range(25):
        offered.preview(make)
        clock.now += 0.1
    assert np.diff(made) == pytest.approx([1.0, 1.0], abs=0.11)
    assert job.preview is not None and job.preview.image.max() == 3
    clock.now += jobs_module.PRESENT
    offered.preview(make)
    assert len(made) == 3, "whoever looked has left"
    Progress().preview(make)
    assert len(made) == 3


def test_asking_twice_computes_once(jobs: Jobs) -> None:
    gate = Gate()
    first = jobs.submit(task(gate), "ann")
    assert jobs.submit(task(gate), "bob") is first
    gate.go.set()
    first.wait(10)
    assert jobs.submit(task(gate)).state is State.DONE
    assert gate.calls == 1


def test_a_kept_result_survives_a_restart(jobs: Jobs) -> None:
    jobs.submit(task(lambda progress: payload(7.0))).wait(10)
    restarted = Jobs(Store(jobs.store.folder))
    never = task(lambda progress: pytest.fail("computed again"))
    job = restarted.submit(never)
    assert job.state is State.DONE and job.payload is not None
    np.testing.assert_array_equal(job.payload.arrays["image"], payload(7.0).arrays["image"])


def test_what_is_not_to_be_kept_is_not_on_disk(jobs: Jobs) -> None:
    warm = task(lambda progress: payload(), kind="test unkept")
    assert jobs.submit(warm).wait(10).state is State.DONE
    assert jobs.store.get(warm.key) is None


def test_cancel_stops_at_the_next_step_and_keeps_nothing(jobs: Jobs) -> None:
    gate = Gate()
    wanted = task(gate)
    job = jobs.submit(wanted, "ann")
    assert gate.began.wait(10)
    jobs.cancel(job, "ann")
    gate.go.set()
    assert job.wait(10).state is State.CANCELLED
    assert jobs.store.get(wanted.key) is None


def test_a_cancelled_job_can_be_asked_for_again(jobs: Jobs) -> None:
    gate = Gate()
    job = jobs.submit(task(gate), "ann")
    assert gate.began.wait(10)
    jobs.cancel(job, "ann")
    again = jobs.submit(task(gate), "ann")
    assert again is not job
    gate.go.set()
    assert (job.wait(10).state, again.wait(10).state) == (State.CANCELLED, State.DONE)


def test_a_job_waiting_in_the_queue_can_be_cancelled(jobs: Jobs) -> None:
    gate = Gate()
    jobs.submit(task(gate))
    waiting = jobs.submit(task(lambda progress: pytest.fail("was cancelled"), "b"), "ann")
    jobs.cancel(waiting, "ann")
    gate.go.set()
    assert waiting.wait(10).state is State.CANCELLED


def test_a_job_somebody_else_waits_for_goes_on(jobs: Jobs) -> None:
    gate = Gate()
    job = jobs.submit(task(gate), "ann")
    jobs.submit(task(gate), "bob")
    jobs.cancel(job, "ann")
    gate.go.set()
    assert job.wait(10).state is State.DONE


def test_who_left_does_not_keep_a_job_alive(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    job = jobs.submit(task(gate), "a page that was reloaded")
    monkeypatch.setattr(jobs_module, "PRESENT", 0.0)
    job.watch("ann")
    jobs.cancel(job, "ann")
    gate.go.set()
    assert job.wait(10).state is State.CANCELLED


def test_a_cancelled_job_ends_once_the_others_have_left(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    began, left = threading.Event(), threading.Event()

    def work(progress: Progress) -> Payload:
        began.set()
        assert left.wait(10)
        progress.report(0.1, "nobody looks")
        progress.report(0.2, "so this is not reached")
        return pytest.fail("went on for nobody")

    job = jobs.submit(task(work), "a page that was reloaded")
    assert began.wait(10)
    job.watch("ann")
    jobs.cancel(job, "ann")
    assert not job.cancelled.is_set()
    monkeypatch.setattr(jobs_module, "PRESENT", 0.0)
    left.set()
    assert job.wait(10).state is State.CANCELLED


def test_cancelling_what_is_done_changes_nothing(jobs: Jobs) -> None:
    job = jobs.submit(task(lambda progress: payload()), "ann").wait(10)
    jobs.cancel(job, "ann")
    assert jobs.submit(task(lambda progress: pytest.fail("computed again")), "ann") is job


def test_a_users_mistake_is_told_in_its_own_words(jobs: Jobs) -> None:
    def work(progress: Progress) -> Payload:
        raise EngineError("choose another model")

    job = jobs.submit(task(work)).wait(10)
    assert (job.state, job.error) == (State.FAILED, "choose another model")


def test_a_programming_mistake_does_not_kill_the_worker_nor_tell_visitors_too_much(jobs: Jobs) -> None:
    def work(progress: Progress) -> Payload:
        raise ZeroDivisionError("secret detail")

    job = jobs.submit(task(work)).wait(10)
    assert job.state is State.FAILED
    assert "ZeroDivisionError" in job.error and "secret" not in job.error
    assert jobs.submit(task(lambda progress: payload(), "b")).wait(10).state is State.DONE


def test_a_failed_job_can_be_tried_again(jobs: Jobs) -> None:
    outcomes = iter([EngineError("no"), None])

    def work(progress: Progress) -> Payload:
        if (error := next(outcomes)) is not None:
            raise error
        return payload()

    assert jobs.submit(task(work)).wait(10).state is State.FAILED
    assert jobs.submit(task(work)).wait(10).state is State.DONE


def test_a_result_that_cannot_be_kept_is_still_shown(tmp_path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    job = Jobs(Store(tmp_path / "runs")).submit(task(lambda progress: payload())).wait(10)
    assert job.state is State.DONE and job.payload is not None
    assert "PERTURBSCOPE_HOME" in job.note and "\n" not in job.note


def test_devices_that_mean_the_same_processor_share_one_worker(tmp_path) -> None:
    jobs = Jobs(Store(tmp_path), resolve=lambda name: "cpu" if name == "auto" else name)
    names = []

    def work(progress: Progress) -> Payload:
        names.append(threading.current_thread().name)
        return payload()

    for device in ("auto", "cpu", "cuda"):
        jobs.submit(task(work, device, device=device)).wait(10)
    assert names == ["worker-cpu", "worker-cpu", "worker-cuda"]


def test_a_device_that_is_not_here_is_told(tmp_path) -> None:
    def resolve(name: str) -> str:
        raise EngineError(f"device '{name}' is not on this machine")

    job = Jobs(Store(tmp_path), resolve).submit(task(lambda progress: payload(), device="cuda")).wait(10)
    assert (job.state, job.error) == (State.FAILED, "device 'cuda' is not on this machine")


def test_memory_is_bounded_and_running_jobs_stay(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "_REMEMBERED", 3)
    for number in range(8):
        jobs.submit(task(lambda progress: payload(), str(number))).wait(10)
    gate = Gate()
    running = jobs.submit(task(gate, "running"))
    assert len(jobs._jobs) <= 4
    assert jobs.find(task(gate, "running")) is running
    gate.go.set()
    running.wait(10)


def test_a_click_waits_for_one_unit_of_a_sweep_at_most(jobs: Jobs) -> None:
    order: list[str] = []
    began, clicked = threading.Event(), threading.Event()

    def sweep(progress: Progress) -> Iterator[None]:
        for unit in range(5):
            progress.report(unit / 5, f"unit {unit}")
            order.append(f"unit {unit}")
            if unit == 1:
                began.set()
                assert clicked.wait(10)
            yield
        return payload(5.0)

    def click(progress: Progress) -> Payload:
        order.append("click")
        return payload()

    long = jobs.submit(task(sweep, "sweep", kind="test patient"), "ann")
    assert began.wait(10)
    short = jobs.submit(task(click, "click"), "bob")
    jobs_module.time.sleep(0.1)  # the dispatcher hands it on
    clicked.set()
    assert short.wait(10).state is State.DONE
    assert long.wait(10).state is State.DONE and long.payload is not None and long.payload.facts == {"value": 5.0}
    assert order == ["unit 0", "unit 1", "click", "unit 2", "unit 3", "unit 4"]


def test_sweeps_of_two_visitors_take_turns(jobs: Jobs) -> None:
    order: list[str] = []
    both = threading.Event()

    def sweep(name: str) -> "Callable[[Progress], Iterator[None]]":
        def work(progress: Progress) -> Iterator[None]:
            assert both.wait(10)
            for _ in range(3):
                order.append(name)
                yield
            return payload()
        return work

    first = jobs.submit(task(sweep("a"), "a sweep", kind="test patient"), "ann")
    second = jobs.submit(task(sweep("b"), "b sweep", kind="test patient"), "bob")
    jobs_module.time.sleep(0.1)
    both.set()
    assert first.wait(10).state is second.wait(10).state is State.DONE
    assert order == ["a", "b"] * 3


def test_a_sweep_is_cancelled_between_two_units(jobs: Jobs) -> None:
    began = threading.Event()

    def sweep(progress: Progress) -> Iterator[None]:
        while True:
            began.set()
            yield

    job = jobs.submit(task(sweep, "endless", kind="test patient"), "ann")
    assert began.wait(10)
    jobs.cancel(job, "ann")
    assert job.wait(10).state is State.CANCELLED
