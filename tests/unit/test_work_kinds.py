"""Kinds of work: specs that outlive a process, keys that tell the truth, and turns."""

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engine import device as devices
from engine.errors import EngineError
from engine.progress import Progress
from engine.work.kinds import KINDS, Bench, Kind, Task
from engine.work.specs import canonical, from_json, to_json
from engine.work.store import Payload, Store
from engine.work.turns import Turns
from tests.working import task


@dataclass(frozen=True)
class Part:
    name: str
    places: tuple[int, ...] = ()


@dataclass(frozen=True)
class Whole:
    part: Part
    eps: float | None
    steps: int = 10
    options: tuple[tuple[str, str], ...] = ()


def nothing(spec: Whole, bench: Bench) -> Payload:
    return Payload({}, {})


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, Kind]:
    """A kind of work called "whole", for the time of a test."""
    monkeypatch.setattr(KINDS, "_items", {"whole": Kind("whole", Whole, nothing)})
    return KINDS._items


SPEC = Whole(Part("a", (1, 2)), 0.1, options=(("x", "y"),))


def test_a_spec_survives_json() -> None:
    assert from_json(Whole, json.loads(json.dumps(to_json(SPEC)))) == SPEC


@pytest.mark.parametrize("values", [{}, [], {"part": {"name": "a"}, "eps": "many"}, {"part": 3, "eps": 0.1}])
def test_what_is_no_spec_is_refused_in_one_line(values: object) -> None:
    with pytest.raises(EngineError, match=r"^this is no Whole: .+$"):
        from_json(Whole, values)


def test_fields_with_their_default_decide_nothing() -> None:
    assert canonical(Whole(Part("a"), None)) == {"part": {"name": "a"}, "eps": None}
    assert canonical(Whole(Part("a"), None, steps=11))["steps"] == 11


def test_a_task_survives_json_with_its_key(known: dict[str, Kind]) -> None:
    task = Task("whole", SPEC, "title", "cpu")
    again = Task.from_json(json.loads(json.dumps(task.to_json())))
    assert again == task and again.key == task.key


def test_the_key_tells_spec_and_version_and_not_the_title(known: dict[str, Kind]) -> None:
    key = Task("whole", SPEC, "title", "cpu").key
    assert Task("whole", SPEC, "another title", "cpu").key == key
    assert Task("whole", Whole(SPEC.part, 0.2), "title", "cpu").key != key
    known["whole"] = Kind("whole", Whole, nothing, version=2)
    assert Task("whole", SPEC, "title", "cpu").key != key


@pytest.mark.parametrize("kind", ["test", "test unkept"])
def test_a_result_lies_apart_from_what_it_was_made_with(kind: str, tmp_path: Path) -> None:
    made: list[np.ndarray] = []

    def work(progress: Progress) -> Payload:
        made.append(np.arange(1000))
        return Payload({}, {"few": made[0][:3]})

    found = Bench("cpu", Store(tmp_path), Progress(), lambda task: None).result(task(work, kind=kind))
    assert found.arrays["few"].tolist() == [0, 1, 2] and not np.shares_memory(found.arrays["few"], made[0])


def test_auto_is_what_it_means_here(known: dict[str, Kind], monkeypatch: pytest.MonkeyPatch) -> None:
    def key(device: str) -> str:
        return Task("whole", SPEC, "title", device).key

    here = devices.resolved("auto")
    assert key("auto") == key(here)
    assert key("cpu") != key("cuda") == key("cuda:1")


def test_the_device_is_found_without_pytorch() -> None:
    code = ("import sys; from engine import device; print(device.resolved()); assert 'torch' not in sys.modules;"
            "import torch; assert device.resolved.__wrapped__() == device.resolved()")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).returncode == 0


def test_every_kind_of_work_is_known_at_once_and_without_pytorch() -> None:
    code = ("import sys, engine.experiments; from engine.work.kinds import KINDS; assert 'torch' not in sys.modules;"
            "print(*sorted(how.name for how in KINDS.values()))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert {"explore", "minimal", "heatmaps", "fooling", "warm"} <= set(run.stdout.split())


def test_urgent_things_go_first_and_owners_in_turn() -> None:
    turns: Turns[str] = Turns()
    for item, owner, patient in (("a sweep", "ann", True), ("a1", "ann", False), ("a2", "ann", False),
                                 ("a3", "ann", False), ("b1", "bob", False), ("b sweep", "bob", True)):
        turns.put(item, owner, patient=patient)
    assert [turns.take() for _ in range(6)] == ["a1", "b1", "a2", "a3", "a sweep", "b sweep"]


def test_a_worker_waits_for_something_to_do() -> None:
    turns: Turns[str] = Turns()
    taken: list[str] = []
    worker = threading.Thread(target=lambda: taken.append(turns.take()), daemon=True)
    worker.start()
    turns.put("late")
    worker.join(10)
    assert taken == ["late"]
