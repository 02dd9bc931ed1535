"""The images behind a run are found, or made again in the same batches, whatever kind of run it is."""

from pathlib import Path

import numpy as np
import pytest

from engine import digest
from engine.attacks.spec import make_spec
from engine.experiments.epsilon.ladder import INDEPENDENT, WORST, curves_of, curves_task
from engine.experiments.queries.walks import query_curve_task, walking
from engine.experiments.reports.given import missing_of
from engine.experiments.runs.kept import read
from engine.experiments.runs.pictures import pictures_of
from engine.experiments.runs.samples import EACH, samples
from engine.experiments.sources import opened
from engine.experiments.sweeps import Sweep, evaluation_task, sweep_of
from engine.experiments.transfers.transfer import transfer_of, transfer_task
from engine.progress import Progress
from engine.work.kinds import Bench, Task
from engine.work.store import Store
from tests.reported import kept_of

MODEL = "phantom-cxr/resnet18"
SEEN = (3, 140, 300)  # of each class one
EPS = tuple(level / 255 for level in (0, 2, 8))


def sweep(*specs: object) -> Sweep:
    return sweep_of("phantom-cxr", "test", SEEN, (MODEL,), specs)  # type: ignore[arg-type]


def fgsm() -> list[object]:
    return [make_spec("fgsm", eps=eps) for eps in EPS]


TASKS = {
    "evaluation": lambda: evaluation_task(sweep(*fgsm()[1:]), "cpu"),
    "both readings": lambda: curves_task(curves_of(sweep(*fgsm()), (INDEPENDENT, WORST)), "cpu"),
    "worst case": lambda: curves_task(curves_of(sweep(*(make_spec("pgd", eps=eps, params={"steps": 2})
                                                         for eps in EPS)), (WORST,)), "cpu"),
    "transfer": lambda: transfer_task(transfer_of("phantom-cxr", "test", SEEN, (MODEL,), (MODEL,), fgsm()[2:]), "cpu"),
    # Three images, of which a unit of walks has two.
    "walks": lambda: query_curve_task(sweep(walking(make_spec("hopskipjump"), 40)), "cpu"),
}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    store = Store(tmp_path / "home" / "runs")
    return Bench("cpu", store, Progress(), lambda task: task.kept(store))


@pytest.mark.parametrize("what", TASKS)
def test_samples_are_the_images_that_were_counted(bench: Bench, what: str) -> None:
    task: Task = TASKS[what]()
    bench.result(task)
    kept, store = read(bench.store, task.key), bench.store
    made_again = [one for one in missing_of(store, kept).tasks if one.kind != "eyes"]
    assert bool(made_again) == (what not in ("transfer", "walks")), "of these the images are kept as they are made"
    for one in made_again:
        bench.result(one)
    assert not [one for one in missing_of(store, kept).tasks if one.kind != "eyes"]
    found = samples(store, kept)
    assert len(found) >= EACH
    names = {opened("phantom-cxr", "test").item_name(index): index for index in SEEN}
    for sample in found:
        assert (sample.clean == opened("phantom-cxr", "test").image(names[sample.name])).all()  # type: ignore[union-attr]
    for some in pictures_of(store, kept):
        rows, own = kept.runs[some.run], slice(some.start, some.start + len(some.images))
        clean = opened("phantom-cxr", "test").images(SEEN[own])
        assert [digest.of_arrays(image) for image in clean] == list(rows.digests[own])
        assert np.abs(some.images - clean).max(axis=(1, 2, 3)) == pytest.approx(rows.linf[own], abs=1e-6)


@pytest.mark.parametrize("kind", ["evaluation", "curves", "transfer", "query-curve"])
def test_of_images_that_have_changed_since_none_is_shown(bench: Bench, kind: str) -> None:
    """The rows are of other images than the data set has now."""
    kept = read(bench.store, kept_of(bench.store, kind))
    assert samples(bench.store, kept) == []
    assert {task.kind for task in missing_of(bench.store, kept).tasks} <= {"eyes", "alignment"}
