"""Units of work: cut, killed, taken up, from page or command line, a run gives the same bytes and computes nothing
twice."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.attacks.rows import COLUMNS, Rows, joined
from engine.attacks.runner import run_attack
from engine.attacks.spec import AttackSpec, make_spec
from engine.cli import main
from engine.data import phantom
from engine.errors import Cancelled
from engine.experiments import attacking
from engine.experiments.epsilon.minimal import minimal_task
from engine.experiments.fooling import fooling_task
from engine.experiments.onepicture.explore import explore_task
from engine.experiments.sources import Source, opened
from engine.experiments.sweeps import Sweep, coarse_to_fine, performed, steps_of
from engine.experiments.units import rows_of, rows_task, units_of
from engine.progress import Progress, to_the_end
from engine.work.jobs import Jobs, State
from engine.work.kinds import Bench, Task
from engine.work.store import Payload, Store, store_in
from engine.zoo.registry import load_model
from tests import nets

ROOT = Path(__file__).resolve().parents[2]
SPLIT, INDICES = "test", (0, 1, 2, 5, 8)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    nets.register(monkeypatch)
    path = tmp_path / "m.safetensors"
    nets.kept(path, classes=phantom.CLASSES, mean=(0.4,) * 3, std=(0.2,) * 3)
    return str(path)


@pytest.fixture
def attacks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many images the attacks are that are really made."""
    made: list[int] = []
    real = run_attack

    def spy(spec: AttackSpec, model: object, images: torch.Tensor, *rest: object, **options: object) -> object:
        made.append(len(images))
        return real(spec, model, images, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(attacking, "run_attack", spy)
    return made


def pgd(eps: float = 2 / 255, batch: int = 2) -> AttackSpec:
    return make_spec("pgd", eps=eps, batch=batch, params={"steps": 3})


def bench(home: Path, progress: Progress | None = None) -> Bench:
    """A worker that knows of the others' work what is kept in the home."""
    store = Store(home / "runs")
    return Bench("cpu", store, progress or Progress(), lambda task: store.get(task.key))


def sweep(model: str, *attacks: AttackSpec) -> Sweep:
    return Sweep("phantom-cxr", SPLIT, INDICES, (model,), attacks)


def done(plan: Sweep, at: Bench) -> list[Rows]:
    return to_the_end(performed(steps_of(plan.plan(), at.device), at))


def same(some: Rows, others: Rows) -> bool:
    return all(getattr(some, name).tobytes() == getattr(others, name).tobytes() for name in COLUMNS) \
        and some.identities == others.identities and some.digests == others.digests \
        and {**some.facts(), "seconds": 0} == {**others.facts(), "seconds": 0}


# ---- rows


def test_a_run_in_units_is_the_run(home: Path, model: str) -> None:
    data = opened("phantom-cxr", SPLIT)
    whole = run_attack(pgd(), load_model(model), torch.from_numpy(data.images(INDICES)),
                       torch.from_numpy(data.labels[list(INDICES)]), device="cpu").rows
    found, = done(sweep(model, pgd()), bench(home))
    assert same(found, whole) and len(found.provenance.batches) == 3


def test_what_is_kept_of_rows_is_all_of_them(home: Path, model: str) -> None:
    unit = units_of("phantom-cxr", SPLIT, INDICES, model, pgd(batch=8))[0]
    fresh = attacking.attack_unit(unit, bench(home), keep_steps=False).rows
    assert same(rows_of(bench(home).result(rows_task(unit, "cpu"))), fresh)


def test_warnings_add_up(home: Path, model: str) -> None:
    """Two pieces of a run of which an image each resisted, say that of two images."""
    spec = make_spec("hopskipjump", batch=1, params={"queries": 1})
    data = opened("phantom-cxr", SPLIT)
    images, labels = torch.from_numpy(data.images(INDICES)), torch.from_numpy(data.labels[list(INDICES)])
    labels = load_model(model)(images).argmax(dim=1)
    pieces = [run_attack(spec, load_model(model), images[[i]], labels[[i]], device="cpu").rows for i in (0, 1, 2)]
    assert all(piece.warnings[0].startswith("1 of 1 images: the query budget was spent") for piece in pieces)
    assert joined(pieces).warnings[0].startswith("3 of 3 images: the query budget was spent")


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 21])
def test_the_first_units_lie_far_apart(count: int) -> None:
    order = coarse_to_fine(count)
    assert sorted(order) == list(range(count))
    for known in range(1, count + 1):
        gaps = np.diff([*sorted(order[:known]), count])
        assert gaps.max() <= 4 * count / known


def test_all_attacks_see_some_images_before_any_sees_all(home: Path, model: str) -> None:
    runs = sweep(model, pgd(0.0), pgd(), pgd(4 / 255)).plan()
    steps, at = performed(steps_of(runs, "cpu"), bench(home)), bench(home)
    for _ in range(3):
        next(steps)
    assert [sum(at.store.has(rows_task(unit, "cpu").key) for unit in units) for units in runs] == [1, 1, 1]


# ---- what one computed, the other has


def test_a_curve_computes_only_what_is_new(home: Path, model: str, attacks: list[int]) -> None:
    done(sweep(model, pgd(0.0), pgd()), bench(home))
    assert sorted(attacks) == [1, 1, 2, 2, 2, 2]
    attacks.clear()
    done(sweep(model, pgd(0.0), pgd(), pgd(4 / 255)), bench(home))
    assert sorted(attacks) == [1, 2, 2]


def command(model: str, *more: str) -> list[str]:
    return ["attack", "--dataset", "phantom-cxr", "--model", model, "--attack", "pgd", "--set", "steps=3", "--device",
            "cpu", "--json", *more]


def test_the_command_line_has_what_the_page_computed(home: Path, model: str, attacks: list[int], tmp_path: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    spec = make_spec("pgd", eps=2 / 255, params={"steps": 3})
    explored = bench(home).result(explore_task(Source("phantom-cxr", SPLIT, 5), model, spec, "cpu"))
    assert main([*command(model, "--index", "5", "--out", str(tmp_path / "out"))]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert attacks == [1] and printed["linf_max"] == explored.facts["run"]["linf_max"]
    written = np.load(tmp_path / "out" / "adversarial.npz")
    assert written["adversarial"][0].tobytes() == explored.arrays["adversarial"].tobytes()
    assert written["clean"][0].tobytes() == explored.arrays["clean"].tobytes()


def test_the_page_has_what_the_command_line_computed(home: Path, model: str, attacks: list[int],
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command(model, "--index", "5")]) == 0
    assert main(["minimal", *command(model, "--index", "5")[1:], "--high", "16/255", "--tolerance", "0.05/255"]) == 0
    attacks.clear()
    spec, source = make_spec("pgd", eps=2 / 255, params={"steps": 3}), Source("phantom-cxr", SPLIT, 5)
    jobs = Jobs(store_in(home / "runs"))
    assert jobs.find(explore_task(source, model, spec, "cpu")) is not None
    assert jobs.find(minimal_task(source, model, spec, "cpu")) is not None
    assert attacks == []


# ---- killed and taken up

KILLED = """
import os, signal, sys
from engine.work.store import Store
from engine.zoo.architectures import ARCHITECTURES, Architecture
from tests import nets
ARCHITECTURES.add("small-cnn", Architecture("small-cnn", "", "", "", nets.small_cnn, head="head", cam_layers=("conv",)))
put, kept = Store.put, []

def until(self, key, kind, *rest):
    put(self, key, kind, *rest)
    kept.append(kind)
    if kept.count(sys.argv[1]) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

Store.put = until
"""


def killed(kind: str, *lines: str) -> None:
    """A process that does that and is killed when two results of this kind are kept."""
    script = KILLED + "\n".join(lines)
    run = subprocess.run([sys.executable, "-c", script, kind], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no process is killed so there")
def test_a_command_that_is_killed_goes_on_where_it_was(home: Path, model: str, attacks: list[int], tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    argv = command(model, "--index", *map(str, INDICES), "--batch", "1", "--out")
    killed("images", "from engine.cli import main", f"main({[*argv, str(tmp_path / 'killed')]!r})")
    assert not (tmp_path / "killed" / "result.json").exists()
    assert main([*argv, str(tmp_path / "again")]) == 0
    assert len(attacks) == len(INDICES) - 2
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "other home"))
    assert main([*argv, str(tmp_path / "whole")]) == 0
    files = [np.load(tmp_path / name / "adversarial.npz") for name in ("again", "whole")]
    assert all(files[0][name].tobytes() == files[1][name].tobytes() for name in files[0].files)
    facts = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("again", "whole")]
    assert {**facts[0], "seconds": 0} == {**facts[1], "seconds": 0}


@pytest.mark.skipif(sys.platform == "win32", reason="no process is killed so there")
def test_a_server_that_is_killed_is_taken_up_where_it_was(home: Path, model: str, attacks: list[int],
                                                          tmp_path: Path) -> None:
    spec = make_spec("uap", eps=0.1, batch=2, params={"epochs": 1})
    task = fooling_task(explore_task(Source("phantom-cxr", SPLIT, 3), model, spec, "cpu"), limit=9)
    killed("attack", "import engine.experiments", "from engine.work.jobs import jobs",
           "from engine.work.kinds import Task", f"jobs().submit(Task.from_json({task.to_json()!r})).wait()")
    jobs = Jobs(store_in(home / "runs"))
    taken, = jobs.take_up()
    found = taken.wait(120).payload
    assert taken.state is State.DONE and found is not None and len(attacks) == 5 - 2
    whole = bench(tmp_path / "elsewhere").result(task)
    assert {**whole.facts, "seconds": 0} == {**found.facts, "seconds": 0}
    assert all(whole.arrays[name].tobytes() == found.arrays[name].tobytes() for name in whole.arrays)


def test_a_run_that_was_cancelled_keeps_its_units(home: Path, model: str, attacks: list[int]) -> None:
    stop = threading.Event()
    steps = performed(steps_of(sweep(model, pgd()).plan(), "cpu"), bench(home, Progress(cancel=stop)))
    next(steps)
    stop.set()
    with pytest.raises(Cancelled):
        next(steps)
    attacks.clear()
    done(sweep(model, pgd()), bench(home))
    assert len(attacks) == 2


# ---- several at once


def test_two_that_want_the_same_compute_it_once(home: Path, model: str, attacks: list[int]) -> None:
    found: list[Rows] = []
    threads = [threading.Thread(target=lambda: found.extend(done(sweep(model, pgd()), bench(home)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(attacks) == 3 and len(found) == 3 and same(found[0], found[1]) and same(found[1], found[2])


@pytest.fixture
def held(home: Path, model: str) -> Iterator[Task]:
    """A task that another process is computing."""
    task = rows_task(units_of("phantom-cxr", SPLIT, [3], model, pgd())[0], "cpu")
    script = ("import sys; from pathlib import Path; from engine.progress import Progress; "
              "from engine.work.store import Store\n"
              "with Store(Path(sys.argv[1])).lease(sys.argv[2], Progress()):\n"
              "    print('held', flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", script, str(home / "runs"), task.key], cwd=ROOT,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield task
        process.kill()


def test_waiting_for_another_process_can_be_cancelled(home: Path, held: Task) -> None:
    stop, said = threading.Event(), []

    def report(fraction: float, text: str) -> None:
        said.append(text)
        stop.set()

    with pytest.raises(Cancelled):
        bench(home, Progress(report, stop)).result(held)
    assert said == ["waiting for another process that computes the same"]


def test_what_a_killed_process_held_is_free(home: Path, held: Task, model: str) -> None:
    subprocess.run(["pkill", "-9", "-f", held.key], check=True)
    assert len(rows_of(bench(home).result(held)).labels) == 1


def test_on_a_full_disk_nothing_is_computed_twice(home: Path, model: str, attacks: list[int],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.errors import EngineError

    def full(*arguments: object) -> None:
        raise EngineError("no room")

    monkeypatch.setattr(Store, "put", full)
    said: list[str] = []
    at = replace(bench(home), note=said.append)
    for _ in range(2):
        done(sweep(model, pgd()), at)
    assert len(attacks) == 3 and set(said) == {"no room"}


def test_a_click_waits_for_one_unit_of_a_sweep(home: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep is under way; the visitor's picture is computed after the unit in hand, and the sweep goes on."""
    order: list[str] = []
    inside, clicked = threading.Event(), threading.Event()
    real = attacking.run_attack

    def spy(spec: AttackSpec, *rest: object, **options: object) -> object:
        order.append(spec.attack)
        if not inside.is_set():
            inside.set()
            assert clicked.wait(60)
        return real(spec, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(attacking, "run_attack", spy)
    jobs = Jobs(store_in(home / "runs"))
    learner = make_spec("uap", eps=0.1, batch=2, params={"epochs": 1})
    long = jobs.submit(fooling_task(explore_task(Source("phantom-cxr", SPLIT, 3), model, learner, "cpu"), limit=6), "a")
    assert inside.wait(60)
    click = jobs.submit(explore_task(Source("phantom-cxr", SPLIT, 4), model, pgd(), "cpu"), "b")
    clicked.set()
    assert click.wait(120).state is State.DONE and long.wait(120).state is State.DONE
    assert order == ["uap", "pgd", "uap", "uap"]


def test_a_payload_is_no_memory_of_a_whole_split(home: Path, model: str) -> None:
    """Of a unit, what is kept without being asked for weighs a few hundred bytes an image."""
    unit = units_of("phantom-cxr", SPLIT, INDICES, model, pgd(batch=8))[0]
    payload: Payload = bench(home).result(rows_task(unit, "cpu"))
    assert sum(array.nbytes for array in payload.arrays.values()) < 2000 * len(INDICES)
