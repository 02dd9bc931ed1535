"""Transfer: what is made once is shown to all, and is what each target's own attack with that surrogate would give."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.attacks.rows import Rows
from engine.attacks.runner import run_attack
from engine.attacks.spec import AttackSpec, make_spec
from engine.cli import main
from engine.data import phantom
from engine.errors import EngineError
from engine.experiments import attacking
from engine.experiments.gathered import runs_of
from engine.experiments.runs.kept import read
from engine.experiments.runs.pictures import batches_of, pictures_of
from engine.experiments.sources import opened
from engine.experiments.sweeps import evaluation_task, performed, steps_of, sweep_of
from engine.experiments.transfers.alignment import Alignment, alignment_task
from engine.experiments.transfers.transfer import Transfer, transfer_of, transfer_task
from engine.experiments.transfers.transferred import matrices
from engine.progress import Progress, to_the_end
from engine.work.jobs import Jobs, State
from engine.work.kinds import Bench
from engine.work.store import Store, store_in
from engine.zoo import checkpoints
from engine.zoo.registry import load_model
from pages.ui import thumbs
from tests import nets
from tests.defended import registered
from tests.tiny import Counted
from tests.unit.test_units import killed

SPLIT, INDICES = "test", (0, 1, 2, 5, 8)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three networks of one architecture: the last has its classes in another order."""
    nets.register(monkeypatch)
    return [kept(tmp_path / f"m{seed}.safetensors", seed, phantom.CLASSES if seed < 2 else phantom.CLASSES[::-1])
            for seed in range(3)]


def kept(path: Path, seed: int, classes: Sequence[str]) -> str:
    checkpoints.save(path, nets.seeded(len(classes), seed),
                     nets.card(classes=tuple(classes), mean=(0.4,) * 3, std=(0.2,) * 3))
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


def bench(home: Path) -> Bench:
    store = Store(home / "runs")
    return Bench("cpu", store, Progress(), lambda task: store.get(task.key))


def pgd(**options: object) -> AttackSpec:
    return make_spec("pgd", **{"eps": 8 / 255, "batch": 2, "params": {"steps": 3}, **options})  # type: ignore[arg-type]


def transfer(sources: Sequence[str], targets: Sequence[str], *attacks: AttackSpec) -> Transfer:
    return transfer_of("phantom-cxr", SPLIT, INDICES, sources, targets, attacks or (pgd(),))


def done(asked: Transfer, home: Path) -> list[Rows]:
    return runs_of(bench(home).result(transfer_task(asked, "cpu")))


SAID = ("labels", "logits_clean", "logits_adversarial", "logits_8bit", "refused_clean", "refused_adversarial",
        "refused_8bit", "linf", "l2", "l0")


def same(some: Rows, others: Rows) -> bool:
    """All but what was spent."""
    return all(getattr(some, name).tobytes() == getattr(others, name).tobytes() for name in SAID) \
        and some.digests == others.digests and some.identities == others.identities and some.classes == others.classes


@pytest.mark.parametrize("options", [{}, {"target": 1}, {"defenses": "noise(every=3)"}, {"numerics": "reference"}],
                         ids=["plain", "targeted", "defended", "reference"])
def test_a_target_sees_what_its_own_attack_with_that_surrogate_makes(home: Path, models: list[str],
                                                                     options: dict[str, object]) -> None:
    a, b, _ = models
    with registered():
        shown = done(transfer([a], [a, b], pgd(**options)), home)
        own = sweep_of("phantom-cxr", SPLIT, INDICES, (b,), (pgd(**options, surrogate=a),))
        wanted, = to_the_end(performed(steps_of(own.plan(), "cpu"), bench(home)))
    assert same(shown[1], wanted)
    assert replace(shown[1].provenance, batches=()) == replace(wanted.provenance, batches=())
    assert shown[1].spec == wanted.spec
    assert wanted.gradients.sum() > 0 and shown[1].gradients.sum() == 0 and shown[1].queries.sum() == 0


def test_the_diagonal_is_the_models_own_run(home: Path, models: list[str]) -> None:
    a, b, _ = models
    shown = done(transfer([b], [a, b]), home)
    wanted, = to_the_end(performed(steps_of(sweep_of("phantom-cxr", SPLIT, INDICES, (b,), (pgd(),)).plan(), "cpu"),
                                   bench(home)))
    assert same(shown[1], wanted) and shown[1].spec.surrogate == ""
    assert shown[1].gradients.tolist() == wanted.gradients.tolist() == [3] * len(INDICES)
    assert shown[1].tally == wanted.tally


def test_classes_in_another_order_are_told_apart_by_name(home: Path, models: list[str]) -> None:
    a, _, other = models
    shown = done(transfer([a], [a, other], pgd(target=0)), home)
    assert shown[1].classes == phantom.CLASSES[::-1]
    assert shown[1].labels.tolist() == [2 - label for label in shown[0].labels]
    assert shown[0].spec.target == 0 and shown[1].spec.target == 2
    data = opened("phantom-cxr", SPLIT)
    with torch.no_grad():
        said = load_model(other)(torch.from_numpy(data.images(INDICES[:2]))).numpy()
    assert shown[1].logits_clean[:2].tobytes() == said.tobytes()


def test_a_goal_is_the_same_class_for_every_source(home: Path, models: list[str]) -> None:
    a, _, other = models
    runs = done(transfer([other, a], [a, other], pgd(target=0)), home)
    goals = [rows.classes[rows.spec.target] for rows in runs if rows.spec.target is not None]
    assert goals == [phantom.CLASSES[0]] * 4


def test_every_image_is_made_once_whoever_sees_it(home: Path, models: list[str], attacks: list[int]) -> None:
    a, b, c = models
    done(transfer([a, b], [a, b, c]), home)
    assert sorted(attacks) == [1, 1, 2, 2, 2, 2]
    attacks.clear()
    done(transfer([a, b, c], [c, b, a]), home)
    assert sorted(attacks) == [1, 2, 2], "only what is made on the third is new"


def test_passes_over_the_models_are_counted_once(home: Path, models: list[str]) -> None:
    """Counted inside the networks themselves: the making, and three verdicts a target."""
    a, b, _ = models
    counted = {}
    for name in (a, b):
        model = load_model(name)
        counted[name] = model.module = Counted(model.module)
    runs = done(transfer([a], [a, b], pgd(numerics="reference")), home)
    forwards, backwards = ({name: sum(getattr(net, which)) for name, net in counted.items()}
                           for which in ("forwards", "backwards"))
    total = len(INDICES)
    assert backwards == {a: 3 * total, b: 0}
    assert forwards == {a: 3 * total + 3 * total, b: 3 * total}
    assert sum(int(rows.gradients.sum()) for rows in runs) == backwards[a]
    assert sum(int(rows.queries.sum()) for rows in runs) == 3 * total


def test_the_making_is_counted_where_the_source_is_no_target(home: Path, models: list[str]) -> None:
    a, b, c = models
    runs = done(transfer([a, f"{a}, {b}"], [b, c]), home)
    assert [rows.gradients.tolist() for rows in runs] == [[3] * 5, [0] * 5] * 2
    assert [rows.spec.surrogate for rows in runs] == [a, a, f"{a},{b}", f"{a},{b}"]


def test_an_ensemble_is_what_the_surrogate_option_makes_of_it(home: Path, models: list[str]) -> None:
    a, b, c = models
    runs = done(transfer([f"{a},{b}"], [a, b, c]), home)
    for model, rows in zip((a, b, c), runs, strict=True):
        own = sweep_of("phantom-cxr", SPLIT, INDICES, (model,), (pgd(surrogate=f"{a},{b}"),))
        wanted, = to_the_end(performed(steps_of(own.plan(), "cpu"), bench(home)))
        if model != c:  # whose classes are in another order: the same numbers, added up in another order
            assert same(rows, wanted)
        assert rows.predicted_adversarial.tolist() == wanted.predicted_adversarial.tolist()
        assert rows.provenance.surrogate_digest == wanted.provenance.surrogate_digest


def test_runs_are_numbered_by_attack_source_and_target(home: Path, models: list[str]) -> None:
    a, b, _ = models
    asked = transfer([a, b], [a, b], pgd(), pgd(seed=1), make_spec("fgsm", eps=2 / 255))
    runs = done(asked, home)
    assert len(runs) == 12
    for attack, spec in enumerate(asked.attacks):
        for source, maker in enumerate(asked.sources):
            for target, model in enumerate(asked.targets):
                rows = runs[asked.run(attack, source, target)]
                assert (rows.spec.attack, rows.spec.seed) == (spec.attack, spec.seed)
                assert rows.provenance.model == Path(model).stem
                assert rows.spec.surrogate == ("" if maker == model else maker)


def test_as_a_job_it_grows_source_by_source(home: Path, models: list[str]) -> None:
    a, b, _ = models
    asked = transfer([a, b], [a, b])
    jobs, seen = Jobs(store_in(home / "runs")), []
    job = jobs.submit(transfer_task(asked, "cpu"))
    assert job.wait(120).state is State.DONE, job.error
    assert job.found.steps == 2 * 3 and job.found.done == 6
    seen = matrices(asked, job.found.runs())
    assert seen == matrices(asked, runs_of(job.payload))  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform == "win32", reason="no process is killed so there")
def test_a_transfer_that_is_killed_goes_on_where_it_was(home: Path, models: list[str], attacks: list[int],
                                                        tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["transfer", "--dataset", "phantom-cxr", "--models", ",".join(models[:2]), "--attack", "pgd", "--set",
            "steps=3", "--batch", "2", "--index", *map(str, INDICES), "--device", "cpu", "--json", "--out"]
    killed("shown", "from engine.cli import main", f"main({[*argv, str(tmp_path / 'killed')]!r})")
    assert not (tmp_path / "killed" / "transfer.json").exists()
    assert main([*argv, str(tmp_path / "again")]) == 0
    assert len(attacks) == 2 * 3 - 2
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "other home"))
    assert main([*argv, str(tmp_path / "whole")]) == 0
    for name in ("transfer.json", "rows.parquet", "pairs.csv", "matrix.svg"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize(("sources", "targets", "options", "says"), [
    ("a", "", {}, "at least one"),
    ("aa", "b", {}, "source is named twice"),
    ("a", "bb", {}, "target is named twice"),
    ("a", "b", {"attack": "square"}, "asks the very model"),
    ("a", "b", {"surrogate": "phantom-cxr/resnet18"}, "leave the surrogate out"),
    ("a", "k", {}, "same classes"),
    ("k", "a", {}, "same classes"),
])
def test_what_cannot_be_is_told_before_anything_runs(models: list[str], sources: str, targets: str,
                                                     options: dict[str, object], says: str) -> None:
    names = {"a": models[0], "b": models[1], "k": "kermany/densenet121"}
    attack = make_spec(str(options.get("attack", "pgd")), eps=2 / 255, surrogate=str(options.get("surrogate", "")))
    with pytest.raises(EngineError, match=says):
        transfer([names[s] for s in sources], [names[t] for t in targets], attack)


def test_a_model_that_changed_since_is_asked_for_again(home: Path, models: list[str]) -> None:
    a, b, _ = models
    task = transfer_task(transfer([a], [a, b]), "cpu")
    kept(Path(b), 7, phantom.CLASSES)
    with pytest.raises(EngineError, match="have changed"):
        bench(home).result(task)


# ---- the gradients


def test_cosines_are_those_of_the_gradients(home: Path, models: list[str]) -> None:
    """Against torch's own derivative of the summed loss, model by model."""
    found = Alignment.of(bench(home).result(alignment_task("phantom-cxr", SPLIT, INDICES, models, device="cpu")))
    data = opened("phantom-cxr", SPLIT)
    gradients = []
    for name in models:
        images = torch.from_numpy(data.images(INDICES)).requires_grad_()
        model = load_model(name)
        labels = torch.tensor([list(model.classes).index(data.classes[data.labels[i]]) for i in INDICES])
        loss = torch.nn.functional.cross_entropy(model(images), labels, reduction="sum")
        gradients.append(torch.autograd.grad(loss, images)[0].flatten(1).double().numpy())
    for row, (one, other) in zip(found.cosines, ((0, 1), (0, 2), (1, 2)), strict=True):
        g, h = gradients[one], gradients[other]
        wanted = (g * h).sum(1) / np.linalg.norm(g, axis=1) / np.linalg.norm(h, axis=1)
        assert row == pytest.approx(wanted, abs=1e-4)
    assert found.mean(2, 0) == found.mean(0, 2) and found.mean(1, 1).mean == 1


def test_a_mean_cosine_has_students_interval() -> None:
    found = Alignment(("a", "b"), np.array([[0.1, 0.2, 0.6, np.nan]]))
    mean = found.mean(0, 1)
    assert mean.of == 3 and mean.mean == pytest.approx(0.3)
    half = 4.302652729749462 * np.std([0.1, 0.2, 0.6], ddof=1) / np.sqrt(3)  # t of 2 degrees of freedom at 0.975
    assert (mean.low, mean.high) == pytest.approx((0.3 - half, 0.3 + half))
    nothing = Alignment(("a", "b"), np.full((1, 2), np.nan)).mean(0, 1)
    assert (nothing.mean, nothing.of) == (None, 0)


def test_gradients_in_batches_are_the_gradients(home: Path, models: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.experiments.transfers import alignment

    whole = Alignment.of(bench(home).result(alignment_task("phantom-cxr", SPLIT, INDICES, models[:2], device="cpu")))
    monkeypatch.setattr(alignment, "BATCH", 2)
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(home / "other"))
    parts = Alignment.of(bench(home / "other").result(alignment_task("phantom-cxr", SPLIT, INDICES, models[:2],
                                                                     device="cpu")))
    assert parts.cosines == pytest.approx(whole.cosines, abs=1e-5)


# ---- the pictures


def test_the_pictures_of_a_kept_transfer_are_those_that_were_shown(home: Path, models: list[str]) -> None:
    a, b, _ = models
    asked, at = transfer([a, b], [a, b], pgd(), pgd(seed=1)), bench(home)
    task = transfer_task(asked, "cpu")
    runs = runs_of(at.result(task))
    kept = read(at.store, task.key)
    found = list(pictures_of(at.store, kept))
    assert sorted({some.run for some in found}) == list(range(8)), "every run has its pictures"
    clean = opened("phantom-cxr", SPLIT).images(INDICES)
    for some in found:
        rows, own = runs[some.run], slice(some.start, some.start + len(some.images))
        assert np.abs(some.images - clean[own]).max(axis=(1, 2, 3)) == pytest.approx(rows.linf[own])
        with torch.no_grad():
            said = load_model([a, b][some.run % 2])(torch.from_numpy(some.images)).numpy()
        assert said.tobytes() == rows.logits_adversarial[own].tobytes()


def test_the_pictures_behind_a_checkpoints_numbers_are_found_by_its_path(home: Path, models: list[str]) -> None:
    sweep, at = sweep_of("phantom-cxr", SPLIT, INDICES, models[:2], (pgd(),)), bench(home)
    task = evaluation_task(sweep, "cpu")
    runs = runs_of(at.result(task))
    kept = read(at.store, task.key)
    for run, (model, rows) in enumerate(zip(models, runs, strict=False)):
        cell, = thumbs.cells_of(sweep, rows, [3])
        assert (cell.unit.model, cell.unit.indices[cell.place], cell.model) == (model, INDICES[3], model)
        assert [batch.task.spec.model for batch in batches_of(kept, run)] == [model] * 3


def test_of_thousands_of_pictures_only_those_are_made_that_are_shown() -> None:
    made: list[int] = []
    cells = thumbs.Cells(range(10_000), lambda some: made.extend(some) or list(some))  # type: ignore[arg-type, func-returns-value]
    assert len(cells) == 10_000 and not made
    assert cells[6:12] == list(range(6, 12)) and cells[-1] == 9_999 and len(made) == 7
