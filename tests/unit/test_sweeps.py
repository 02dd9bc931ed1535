"""Sweeps as long work: what is known early, what is kept together, and what decides the key."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.attacks.rows import COLUMNS, Rows
from engine.attacks.spec import AttackSpec, make_spec
from engine.data import load
from engine.errors import EngineError
from engine.experiments.frames import frame, write_parquet
from engine.experiments.gathered import payload_of_runs, runs_of
from engine.experiments.selection import Selection
from engine.experiments.sweeps import Sweep, evaluation_task, performed, steps_of, sweep_of
from engine.progress import Progress, to_the_end
from engine.work.kinds import KINDS, Bench
from engine.work.store import Payload, Store

SPLIT, INDICES = "test", (5, 0, 17, 3, 40)
NAMES = ("test/5", "test/0", "test/17", "test/3", "test/40")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path))
    return tmp_path


def bench(home: Path, shown: list[object] | None = None) -> Bench:
    store = Store(home / "runs")
    return Bench("cpu", store, Progress(), lambda task: task.kept(store),
                 publish=(shown if shown is not None else []).append)


def fgsm(eps: float = 2 / 255, seed: int = 0) -> AttackSpec:
    return make_spec("fgsm", eps=eps, batch=2, seed=seed)


def sweep(*attacks: AttackSpec, models: tuple[str, ...] = ("phantom-cxr/resnet18",)) -> Sweep:
    return sweep_of("phantom-cxr", SPLIT, INDICES, models, attacks)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Rows]:
    home = tmp_path_factory.mktemp("home")
    at = bench(home)
    return to_the_end(performed(steps_of(sweep(fgsm(), fgsm(8 / 255)).plan(), "cpu"), at))


def same(some: Rows, others: Rows) -> bool:
    return all(np.array_equal(getattr(some, name), getattr(others, name)) for name in COLUMNS) \
        and {**some.facts(), "seconds": 0} == {**others.facts(), "seconds": 0} \
        and (some.identities, some.digests) == (others.identities, others.digests)


def test_the_job_gives_what_its_units_give_and_is_kept(home: Path, runs: list[Rows]) -> None:
    task, at = evaluation_task(sweep(fgsm(), fgsm(8 / 255)), "cpu"), bench(home)
    found = runs_of(at.result(task))
    assert all(same(one, other) for one, other in zip(found, runs, strict=True))
    assert task.kept(at.store) is not None


def test_what_there_is_grows_and_is_true_of_the_images_it_is_about(home: Path, runs: list[Rows]) -> None:
    shown: list[object] = []
    steps = performed(steps_of(sweep(fgsm(), fgsm(8 / 255)).plan(), "cpu"), bench(home, shown))
    next(steps)
    gathered, = shown
    first, second = gathered.runs()
    assert (first.identities, second, gathered.done, gathered.steps) == (runs[0].identities[:2], None, 1, 6)
    for _ in range(3):
        next(steps)
    first, second = gathered.runs()
    assert first.identities == runs[0].identities[:2] + runs[0].identities[4:]
    assert np.array_equal(second.linf, runs[1].linf[[0, 1, 4]])


def test_models_with_other_classes_are_kept_together(runs: list[Rows]) -> None:
    few = runs[0]
    more = replace(few, classes=(*few.classes, "further"), **{
        name: np.pad(getattr(few, name), ((0, 0), (0, 1))) for name in COLUMNS if name.startswith("logits_")})
    back = runs_of(payload_of_runs([few, more]))
    assert same(back[0], few) and same(back[1], more)


def test_what_is_no_result_is_told(runs: list[Rows]) -> None:
    good = payload_of_runs(runs)
    for bad in (Payload({}, good.arrays), Payload(good.facts, {}), Payload({"runs": [1]}, good.arrays)):
        with pytest.raises(EngineError):
            runs_of(bad)


def test_the_key_is_that_of_what_is_inside(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = evaluation_task(sweep(fgsm()), "cpu").key
    assert evaluation_task(sweep(fgsm()), "cpu").key == key
    assert evaluation_task(sweep(fgsm(4 / 255)), "cpu").key != key
    assert evaluation_task(sweep(fgsm(seed=1)), "cpu").key != key
    assert sweep(fgsm()).images == NAMES
    other = sweep_of("phantom-cxr", SPLIT, INDICES[:3], ("phantom-cxr/resnet18",), (fgsm(),))
    assert evaluation_task(other, "cpu").key != key
    monkeypatch.setattr("engine.experiments.units.model_digest", lambda name: "other weights")
    assert evaluation_task(sweep(fgsm()), "cpu").key != key


def test_a_sweep_of_what_has_changed_since_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = evaluation_task(sweep(fgsm()), "cpu")
    monkeypatch.setattr("engine.experiments.units.model_digest", lambda name: "other weights")
    with pytest.raises(EngineError, match="have changed since"):
        KINDS["evaluation"].perform(task.spec, bench(home))


def test_the_table_has_a_row_an_image_and_run(runs: list[Rows], tmp_path: Path) -> None:
    table = frame(runs, NAMES)
    assert len(table) == 2 * len(INDICES)
    assert list(table["image"][:5]) == list(NAMES)
    assert (table["success"] == np.concatenate([rows.success for rows in runs])).all()
    said = table[[f"p_adversarial_{name}" for name in runs[0].classes]].to_numpy()
    assert [runs[0].classes[k] for k in said.argmax(axis=1)] == list(table["predicted_adversarial"])
    assert table["eps"].unique().tolist() == [2 / 255, 8 / 255]
    write_parquet(runs, NAMES, tmp_path / "rows.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "rows.parquet"), table, check_categorical=False,
                                  check_dtype=False)


def test_a_refusal_is_no_class(runs: list[Rows]) -> None:
    refused = runs[0].refused_adversarial.copy()
    refused[1] = True
    table = frame([replace(runs[0], refused_adversarial=refused)], NAMES)
    assert table["predicted_adversarial"].isna().tolist() == refused.tolist()


def test_images_are_chosen_by_number_by_class_or_evenly() -> None:
    data = load("phantom-cxr", SPLIT)
    assert Selection(limit=3).of(data) == (75, 225, 375)
    chosen = Selection(per_class=4).of(data)
    assert np.bincount(data.labels[list(chosen)]).tolist() == [4] * len(data.classes)
    assert Selection(indices=(7, 2)).of(data) == (7, 2)
    assert len(Selection().of(data)) == len(data)
    for wrong in ({"limit": 0}, {"per_class": -1}, {"limit": 2, "indices": (1,)}):
        with pytest.raises(EngineError):
            Selection(**wrong)
    with pytest.raises(EngineError, match="has images 0 to"):
        Selection(indices=(10**6,)).of(data)


