"""One attack at many eps at once: the rows of separate runs for less, and the worst case within every budget."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.attacks import ATTACKS
from engine.attacks.rows import COLUMNS, Rows, within
from engine.attacks.runner import Arena, Resources
from engine.attacks.spec import AttackSpec, make_spec
from engine.data import phantom
from engine.errors import EngineError
from engine.experiments.epsilon import climbing
from engine.experiments.epsilon.bisection import smallest_eps
from engine.experiments.epsilon.climbing import halved
from engine.experiments.epsilon.ladder import (
    INDEPENDENT,
    TRIED,
    WORST,
    curve_steps,
    curves_of,
    curves_task,
    further,
    ladder_of,
    ladder_task,
    most_tries,
    pictures_of,
    pictures_task,
)
from engine.experiments.gathered import runs_of
from engine.experiments.sweeps import performed, steps_of, sweep_of
from engine.experiments.units import rows_of, rows_task, units_of
from engine.params import build
from engine.progress import Progress, to_the_end
from engine.work.kinds import Bench
from engine.work.store import Store
from engine.zoo.registry import load_model
from tests import nets
from tests.tiny import QUICK, Counted, Slope, grey, small_net, some_images

SPLIT, INDICES = "test", (0, 1, 2, 5, 8)
RUNGS = tuple(level / 255 for level in (0, 1, 2, 4, 8, 16, 32, 64))
TWELVE = tuple(level / 255 for level in (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 8, 16, 32))
STRAIGHT = tuple(name for name in ATTACKS if build(ATTACKS[name], {}).straight)


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


def bench(home: Path) -> Bench:
    store = Store(home / "runs")
    return Bench("cpu", store, Progress(), lambda task: task.kept(store))


def spec_of(attack: str, eps: float = 2 / 255, **more: object) -> AttackSpec:
    return make_spec(attack, eps=eps, batch=2, **more)  # type: ignore[arg-type]


def curves(home: Path, model: str, attack: str, *readings: str, rungs: tuple[float, ...] = RUNGS,
           **params: object) -> list[Rows]:
    sweep = sweep_of("phantom-cxr", SPLIT, INDICES, [model], [spec_of(attack, eps, params=params) for eps in rungs])
    return to_the_end(performed(curve_steps(curves_of(sweep, readings), "cpu"), bench(home)))


def separate(home: Path, model: str, attack: str, rungs: tuple[float, ...] = RUNGS, **params: object) -> list[Rows]:
    sweep = sweep_of("phantom-cxr", SPLIT, INDICES, [model], [spec_of(attack, eps, params=params) for eps in rungs])
    return to_the_end(performed(steps_of(sweep.plan(), "cpu"), bench(home)))


def same(some: Rows, others: Rows, without: tuple[str, ...] = ()) -> bool:
    return all(getattr(some, name).tobytes() == getattr(others, name).tobytes()
               for name in COLUMNS if name not in without) and some.identities == others.identities


# ---- one gradient for all eps


def test_which_attacks_are_straight_is_what_is_known_of_them() -> None:
    assert set(STRAIGHT) == {"fgsm", "fgnm"}
    assert build(ATTACKS["bim"], {"steps": 1}).straight
    assert not build(ATTACKS["pgd"], {"steps": 1}).straight, "it starts at random"


@pytest.mark.parametrize("attack", STRAIGHT)
def test_the_rows_are_those_of_separate_runs(home: Path, tmp_path: Path, model: str, attack: str) -> None:
    found = curves(home, model, attack, INDEPENDENT)
    for some, others in zip(found, separate(tmp_path / "elsewhere", model, attack), strict=True):
        assert same(some, others, without=("queries", "gradients"))
        assert some.spec == others.spec and {**some.provenance.__dict__} == {**others.provenance.__dict__}
    assert [int(rows.gradients.sum()) for rows in found] == [len(INDICES)] + [0] * (len(RUNGS) - 1)


def test_a_ladder_keeps_every_rung_as_the_run_it_is(home: Path, tmp_path: Path, model: str,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    curves(home, model, "fgsm", INDEPENDENT)
    monkeypatch.setattr(Arena, "run", lambda *_: pytest.fail("computed twice"))
    kept = separate(home, model, "fgsm")
    monkeypatch.undo()
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(home))
    nets.register(monkeypatch)
    for some, others in zip(kept, separate(tmp_path / "elsewhere", model, "fgsm"), strict=True):
        assert same(some, others) and some.tally == others.tally


def test_what_is_kept_of_single_runs_is_taken_and_changes_nothing(home: Path, tmp_path: Path, model: str,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    separate(home, model, "fgsm", RUNGS[2:5])
    ran: list[float | None] = []
    run = Arena.run
    monkeypatch.setattr(Arena, "run", lambda self, *rest: (ran.append(self.spec.eps), run(self, *rest))[1])
    found = curves(home, model, "fgsm", INDEPENDENT)
    assert set(ran) == set(RUNGS) - set(RUNGS[2:5])
    for some, others in zip(found, curves(tmp_path / "fresh", model, "fgsm", INDEPENDENT), strict=True):
        assert same(some, others) and some.tally == others.tally


def test_one_gradient_serves_all_eps() -> None:
    module = Counted(small_net().module)
    model, images = small_net(), some_images(4)
    model.module = module
    labels = torch.tensor([0, 1, 2, 0])
    arena = Arena.of(make_spec("fgsm", eps=0.1, numerics="reference"), model, images, labels, device="cpu").shared()
    for eps in TWELVE:
        arena.at(eps).run()
    assert sum(module.backwards) == 4
    # A look for the gradient, the clean images, and at every eps but 0 the images before and after rounding.
    assert sum(module.forwards) <= 4 * (2 + 2 * len(TWELVE))


@pytest.mark.parametrize("attack", [*STRAIGHT, "bim", "pgd", "pgn", "square", "uap"])
def test_sharing_changes_no_attack(attack: str) -> None:
    """Whatever is declared straight: what runs share makes no difference to any of them."""
    model, images, labels = small_net(), some_images(3), torch.tensor([0, 1, 2])
    spec = make_spec(attack, eps=0.1, numerics="reference", params=QUICK.get(attack, {}))
    arena = Arena.of(spec, model, images, labels, device="cpu")
    shared = arena.shared()
    for eps in (0.05, 0.1):
        alone, among = arena.at(eps).run(), shared.at(eps).run()
        assert alone.adversarial.tobytes() == among.adversarial.tobytes()
        assert alone.logits_adversarial.tobytes() == among.logits_adversarial.tobytes()


# ---- the worst case within the budget

W = (3.0, -4.0)
# z = 3 a - 4 b, class 1 above 0: an attack within e adds 7 e, so the smallest is -z / 7.
PIXELS = [(0.5, 0.4), (0.2, 0.35), (0.5, 0.6), (0.6, 0.4)]
EXACT = (0.1 / 7, 0.8 / 7, 0.9 / 7, 0.0)
IMAGES = torch.tensor(PIXELS).view(4, 1, 1, 2)
LABELS = torch.zeros(4, dtype=torch.int64)


def linear(attack: str, **params: object) -> Arena:
    spec = make_spec(attack, eps=0.5, numerics="reference", params=params)
    return Arena.of(spec, grey(Slope(W)), IMAGES, LABELS, device="cpu").shared()


def test_the_smallest_rung_is_that_above_the_exact_eps() -> None:
    rungs = (0.0, 0.01, 0.02, 0.05, 0.1, 0.12, 0.2, 0.5)
    found = halved(linear("bim"), rungs, Progress())
    for place, (rows, eps) in enumerate(zip(found.runs, rungs, strict=True)):
        assert rows.spec.eps == eps
        assert rows.success.tolist() == [exact < eps for exact in EXACT[:3]] + [False], place
        assert (rows.linf <= eps + 1e-6).all()
    assert not found.runs[-1].attacked[3], "it is wrong as it is, and was attacked"
    # Each image is what fooled the model at its smallest rung.
    sizes = np.abs(found.images - IMAGES.numpy()).reshape(4, -1).max(axis=1)
    assert (sizes <= np.array([0.02, 0.12, 0.2, 0.0]) + 1e-6).all() and (sizes[:3] > np.array(EXACT[:3]) - 1e-6).all()


def test_it_agrees_with_the_search_for_the_smallest_eps() -> None:
    rungs = tuple(np.linspace(0, 0.5, 17))
    model, images = small_net(), some_images(6)
    with torch.no_grad():
        labels = model(images).argmax(1)
    spec = make_spec("bim", eps=0.5, numerics="reference", params={"steps": 5, "stop": "first success"})
    searched = smallest_eps(spec, model, images, labels, high=0.5, tolerance=0.5 / 16 + 1e-9, device="cpu")
    climbed = halved(Arena.of(spec, model, images, labels, device="cpu"), rungs, Progress())
    fooled = np.stack([rows.success for rows in climbed.runs])
    smallest = [rungs[column.argmax()] if column.any() else None for column in fooled.T]
    assert [one.eps for one in searched.found] == smallest and any(smallest)


def monotone(runs: list[Rows]) -> bool:
    """Whether no image resists a larger eps after failing a smaller one."""
    fooled = np.stack([rows.success for rows in runs])
    return bool((fooled == np.maximum.accumulate(fooled, axis=0)).all())


@pytest.mark.parametrize(("attack", "params"), [("fgsm", {}), ("pgd", {"steps": 4}), ("bim", {"steps": 3}),
                                                ("square", {"queries": 40})])
def test_the_worst_case_never_rises_and_is_the_best_of_independent_runs(home: Path, tmp_path: Path, model: str,
                                                                        attack: str, params: dict) -> None:
    worst = curves(home, model, attack, WORST, **params)
    accuracies = [float((rows.predicted_adversarial == rows.labels).mean()) for rows in worst]
    assert accuracies == sorted(accuracies, reverse=True)
    hasty = {**params, **build(ATTACKS[attack], dict(params)).hasty()}
    runs = separate(tmp_path / "elsewhere", model, attack, **hasty)
    best = np.maximum.accumulate(np.stack([rows.success for rows in runs]), axis=0)
    found = np.stack([rows.success for rows in worst])
    assert (found <= best).all(), "an image counts as fooled that no run within the budget fools"
    if monotone(runs) or attack == "fgsm":
        assert (found == best).all()
    for rows in worst:
        assert (rows.linf[~rows.success] == 0).all() and (rows.linf <= rows.spec.eps + 1e-6).all()


def test_where_both_readings_are_asked_for_the_worst_case_costs_nothing_more(home: Path, tmp_path: Path,
                                                                             model: str) -> None:
    both = curves(home, model, "pgd", INDEPENDENT, WORST, steps=3)
    runs, worst = both[:len(RUNGS)], both[len(RUNGS):]
    for some, others in zip(runs, separate(tmp_path / "elsewhere", model, "pgd", steps=3), strict=True):
        assert same(some, others)
    assert all((rows.gradients == 0).all() and (rows.queries == 0).all() for rows in worst)
    best = np.maximum.accumulate(np.stack([rows.success for rows in runs]), axis=0)
    assert (np.stack([rows.success for rows in worst]) == best).all()


def test_what_is_spent_is_what_passes_through_the_model() -> None:
    arena = linear("pgd", steps=6)
    counted = arena.asked.module = Counted(arena.asked.module)
    found = halved(arena, (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), Progress())
    assert sum(int(rows.gradients.sum()) for rows in found.runs) == sum(counted.backwards)
    assert found.runs[-1].gradients[3] == 0, "nothing can be done to an image that is wrong as it is"


@pytest.mark.parametrize("rungs", range(1, 20))
def test_every_rung_is_found_within_the_tries_that_are_foreseen(rungs: int) -> None:
    for smallest in range(rungs):
        low, high, tries = -1, rungs - 1, 1
        while high - low > 1:
            rung, tries = low + int(further(high - low)), tries + 1
            assert low < rung < high
            low, high = (low, rung) if rung >= smallest else (rung, high)
        assert high == smallest and tries <= most_tries(rungs)


def test_images_that_resist_the_largest_eps_are_tried_once() -> None:
    found = halved(linear("bim", steps=4), (0.001, 0.002, 0.004, 0.008), Progress())
    assert [rows.gradients.tolist() for rows in found.runs] == [[0] * 4] * 3 + [[4, 4, 4, 0]]
    assert not any(rows.success.any() for rows in found.runs)


def test_a_mask_goes_along() -> None:
    mask = torch.zeros(4, 1, 1, 2, dtype=torch.bool)
    mask[..., 0] = True
    spec = make_spec("bim", eps=0.5, numerics="reference")
    arena = Arena.of(spec, grey(Slope(W)), IMAGES, LABELS, resources=Resources(mask=mask), device="cpu")
    found = halved(arena, (0.02, 0.04, 0.3), Progress())
    assert (found.images[..., 1] == IMAGES.numpy()[..., 1]).all()
    assert [rows.success[0] for rows in found.runs] == [False, True, True], "0.1 / 3 is enough in the first pixel"


def test_the_rows_within_a_budget_by_hand() -> None:
    """An attack that overshoots: fooled at the first rung, held at the second."""
    spec = make_spec("fgsm", eps=0.1)
    arena = linear("fgsm")
    untouched = arena.untouched().rows
    fooling, holding = arena.at(0.02).run().rows, replace(untouched, spec=spec)
    assert fooling.success.tolist() == [True, False, False, False]
    first, second = within([fooling, holding], untouched)
    assert second.success.tolist() == [True, False, False, False]
    assert second.linf[0] == fooling.linf[0] and second.spec.eps == 0.1
    assert (second.gradients == 0).all() and first.gradients.tolist() == fooling.gradients.tolist()


def test_untouched_images_are_judged_as_they_are() -> None:
    arena = linear("pgd")
    rows = arena.untouched()
    assert (rows.adversarial == rows.clean).all() and rows.linf.max() == 0 and rows.queries.sum() == 0
    assert rows.logits_adversarial.tobytes() == rows.logits_clean.tobytes()


# ---- as work


def test_the_job_gives_the_rows_and_is_found_again(home: Path, model: str) -> None:
    sweep = sweep_of("phantom-cxr", SPLIT, INDICES, [model], [spec_of("fgsm", eps) for eps in (4 / 255, 1 / 255)])
    task = curves_task(curves_of(sweep, (INDEPENDENT, WORST)), "cpu")
    found = runs_of(bench(home).result(task))
    assert [rows.spec.eps for rows in found] == [4 / 255, 1 / 255] * 2, "the order of the sweep"
    assert all(len(rows.labels) == len(INDICES) for rows in found)
    kept = task.kept(Store(home / "runs"))
    assert kept is not None and all(same(*pair) for pair in zip(runs_of(kept), found, strict=True))


@pytest.mark.parametrize("reading", [WORST, TRIED])
def test_the_pictures_of_the_worst_case_are_those_that_were_counted(home: Path, model: str, reading: str) -> None:
    unit = units_of("phantom-cxr", SPLIT, INDICES[:2], model, spec_of("pgd", params={"steps": 3}))[0]
    ladder = ladder_of(unit, RUNGS, reading, pictures=True)
    at = bench(home)
    images = pictures_of(at.result(pictures_task(ladder, "cpu")))
    runs = runs_of(ladder_task(ladder, "cpu").kept(at.store))  # type: ignore[arg-type]
    clean = unit.seen.images(unit.indices)
    assert np.abs(images - clean).reshape(2, -1).max(axis=1) == pytest.approx(runs[-1].linf)
    logits = load_model(model)(torch.tensor(images)).numpy()
    assert (logits.argmax(axis=1) == runs[-1].predicted_adversarial).all()


def test_the_pictures_of_a_straight_attack_are_at_its_largest_eps(home: Path, model: str) -> None:
    unit = units_of("phantom-cxr", SPLIT, INDICES[:2], model, spec_of("fgsm"))[0]
    ladder = ladder_of(unit, RUNGS, INDEPENDENT, pictures=True)
    at = bench(home)
    images = pictures_of(at.result(pictures_task(ladder, "cpu")))
    result = climbing.loaded(unit)
    alone = Arena.of(replace(unit.attack, eps=RUNGS[-1]), result.model, result.images, result.labels, device="cpu")
    assert images.tobytes() == alone.run().adversarial.tobytes()
    single = rows_of(at.result(rows_task(ladder.at(RUNGS[2]), "cpu")))
    assert single.gradients.tolist() == [1, 1]


@pytest.mark.parametrize(("attack", "readings", "says"), [
    ("deepfool", (WORST,), "has no eps"), ("fgsm", ("best",), "unknown reading")])
def test_bad_input_is_explained(model: str, attack: str, readings: tuple[str, ...], says: str) -> None:
    eps = None if attack == "deepfool" else 0.1
    sweep = sweep_of("phantom-cxr", SPLIT, INDICES, [model], [make_spec(attack, eps=eps)])
    with pytest.raises(EngineError, match=says):
        curves_of(sweep, readings)
