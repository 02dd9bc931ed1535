"""A run is computed once more, from nothing, and beside what was kept."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.attacks.spec import make_spec
from engine.cli import main
from engine.errors import EngineError
from engine.experiments.gathered import payload_of_runs
from engine.experiments.runs.again import again, compared
from engine.experiments.runs.archive import export, imported, open_archive
from engine.experiments.runs.kept import read
from engine.experiments.sweeps import evaluation_task, sweep_of
from engine.progress import Progress
from engine.work.kinds import Bench
from engine.work.specs import to_json
from engine.work.store import Store
from tests.made import ladder


def bench(store: Store) -> Bench:
    return Bench("cpu", store, Progress(), lambda task: task.kept(store))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    return Store(tmp_path / "home" / "runs")


def test_the_same_comes_of_it_and_a_doctored_run_is_found_out(store: Store, tmp_path, capsys) -> None:
    sweep = sweep_of("phantom-cxr", "test", (5, 0), ("phantom-cxr/resnet18",), (make_spec("fgsm", eps=8 / 255),))
    task = evaluation_task(sweep, "cpu")
    bench(store).result(task)
    kept = read(store, task.key)
    assert main(["runs", "repeat", task.key[:12], "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {"repeated": task.key, "key": task.key, "same": True, "differ": 0, "of": 2}
    # Somebody else's file, in which the attack is said to have done nothing.
    better = [replace(rows, logits_adversarial=rows.logits_clean) for rows in kept.runs]
    assert (better[0].predicted_adversarial != kept.runs[0].predicted_adversarial).any()
    theirs = Store(tmp_path / "theirs")
    theirs.put(task.key, "evaluation", "better", to_json(sweep), payload_of_runs(better))
    file = io.BytesIO()
    export(theirs, read(theirs, task.key), file)
    store.delete(task.key)
    new = imported(store, open_archive(file))
    found = again(read(store, new), bench(store))
    assert not found.same and found.differ > 0 and found.key == task.key
    assert read(store, task.key).runs[0].summary() | {"seconds": 0} == kept.runs[0].summary() | {"seconds": 0}


def test_of_a_run_from_elsewhere_no_folder_and_no_checkpoint_is_opened(store: Store, tmp_path) -> None:
    theirs = Store(tmp_path / "theirs")
    spec = make_spec("fgsm", eps=1 / 255)
    for number, (dataset, model, attack) in enumerate((
            ("folder:/etc", "phantom-cxr/resnet18", spec), ("phantom-cxr", "/etc/x.safetensors", spec),
            ("phantom-cxr", "phantom-cxr/resnet18", replace(spec, surrogate="/etc/x.safetensors")))):
        sweep = replace(sweep_of("phantom-cxr", "test", (0,), ("phantom-cxr/resnet18",), (spec,)), dataset=dataset,
                        models=(model,), attacks=(attack,), contents=str(number))
        theirs.put(str(number), "evaluation", "t", to_json(sweep), payload_of_runs(ladder()))
        file = io.BytesIO()
        export(theirs, read(theirs, str(number)), file)
        kept = read(store, imported(store, open_archive(file)))
        with pytest.raises(EngineError, match="was imported, and names data or models that are no registered ones"):
            again(kept, bench(store))


def test_rows_are_compared_one_by_one() -> None:
    one, other = ladder(), ladder()
    assert compared("k", one, other).same
    nearer = [*other[:2], replace(other[2], l2=other[2].l2 * 1.001)]
    assert (compared("k", one, nearer).same, compared("k", one, nearer).differ) == (False, 0)
    with pytest.raises(EngineError, match="other runs came of it"):
        compared("k", one, other[:2])
