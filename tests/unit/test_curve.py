"""What is read from the runs of a curve: points, intervals, rises, the model's boundary and the eye's."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from engine.attacks.rows import Provenance, Rows, Tally
from engine.attacks.spec import make_spec
from engine.data import load
from engine.errors import EngineError
from engine.experiments.epsilon.curve import curve_of, lines_of, point_of, recalls, rises, table_of
from engine.experiments.epsilon.eyes import (
    SEEN,
    Zone,
    eye_eps,
    eye_eps_of,
    eyes_of,
    eyes_task,
    middle,
    smallest_eps_of,
    zone_of,
)
from engine.experiments.epsilon.ladder import ASSUMED, INDEPENDENT, WORST
from engine.metrics.rates import Estimate
from engine.metrics.visibility import LEVELS, visibility
from tests.working import perform

CLASSES = ("no", "maybe", "yes")


def rows(predicted: list[int], labels: list[int], *, eps: float | None = 1 / 255, clean: list[int] | None = None,
         attack: str = "fgsm", seed: int = 0, model: str = "m", gradients: int = 1, tally: Tally | None = None,
         random: int | None = None) -> Rows:
    """Rows whose logits give these predictions; with `random` they are noise around them."""
    count, noise = len(labels), np.random.default_rng(random)

    def logits(classes: list[int]) -> np.ndarray:
        found = np.eye(3, dtype=np.float32)[classes] * 2
        return found if random is None else (found + noise.normal(size=found.shape)).astype(np.float32)

    names = tuple(f"image {number}" for number in range(count))
    never, nothing = np.zeros(count, bool), np.zeros(count)
    return Rows(spec=make_spec(attack, eps=eps, seed=seed), provenance=Provenance(model, "", "cpu", {}, (count,)),
                classes=CLASSES, identities=names, digests=names, labels=np.array(labels),
                logits_clean=logits(labels if clean is None else clean), logits_adversarial=logits(predicted),
                logits_8bit=logits(predicted), refused_clean=never.copy(), refused_adversarial=never.copy(),
                refused_8bit=never.copy(), linf=nothing.copy(), l2=nothing.copy(), l0=nothing.copy(),
                queries=np.full(count, gradients), gradients=np.full(count, gradients), refusals=nothing.copy(),
                tally=tally or Tally(), seconds=0.0)


# ---- points


def test_a_point_is_what_scikit_learn_says_of_its_rows() -> None:
    labels = [0, 0, 0, 1, 1, 2, 2, 2, 2, 2]
    found = rows([0, 1, 2, 1, 1, 2, 0, 2, 2, 1], labels, random=3)
    point, then = point_of(found), found.predicted_adversarial
    assert point.accuracy == accuracy_score(labels, then)
    assert list(point.recall.values()) == pytest.approx(recall_score(labels, then, average=None))
    said = softmax(found.logits_adversarial.astype(np.float64), axis=1)
    assert point.auc == pytest.approx(roc_auc_score(labels, said, multi_class="ovr", average="macro"))
    wilson = binomtest(int((then == labels).sum()), 10).proportion_ci(method="wilson")
    assert (point.low, point.high) == pytest.approx((wilson.low, wilson.high))
    assert (point.n, point.queries, point.gradients, point.eps) == (10, 10, 10, 1 / 255)


def test_a_class_that_never_occurs_has_no_recall() -> None:
    assert recalls(rows([0, 0, 1], [0, 1, 1])) == {
        "no": Estimate(1.0, *interval(1, 1)), "maybe": Estimate(0.5, *interval(1, 2)), "yes": Estimate()}
    assert point_of(rows([0, 0], [0, 0])).auc is None, "only one class"


def interval(counted: int, of: int) -> tuple[float, float]:
    found = binomtest(counted, of).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def test_an_attack_without_eps_has_no_point() -> None:
    with pytest.raises(EngineError, match="has no eps"):
        point_of(rows([0], [0], attack="deepfool", eps=None))


def test_lines_differ_in_attack_model_and_seed_and_ascend() -> None:
    runs = [rows([0], [0], eps=2 / 255), rows([0], [0], eps=1 / 255), rows([0], [0], seed=1),
            rows([0], [0], model="other"), rows([0], [0], attack="pgd")]
    lines = lines_of(runs)
    assert [[one.spec.eps for one in line] for line in lines] == [[1 / 255, 2 / 255], [1 / 255], [1 / 255], [1 / 255]]


def test_a_rise_by_more_than_one_image_is_marked() -> None:
    labels = [0] * 4
    runs = [rows([0, 0, 0, 0], labels, eps=0.0), rows([1, 1, 1, 0], labels, eps=1 / 255),
            rows([1, 1, 0, 0], labels, eps=2 / 255), rows([0, 0, 0, 0], labels, eps=4 / 255)]
    found, = rises(runs)
    assert (found.before.spec.eps, found.after.spec.eps) == (2 / 255, 4 / 255)
    line, = (line for line in curve_of("d", "test", "m", runs).warnings if "rises" in line)
    assert "fgsm: accuracy rises from 50.0% at eps 2/255 to 100.0% at 4/255" in line


def test_gradients_that_one_run_asked_for_all_are_warned_of() -> None:
    runs = [rows([0, 1], [0, 1], eps=0.0, tally=Tally(zero_gradients=1)), rows([0, 1], [0, 1], gradients=0)]
    assert curve_of("d", "test", "m", runs).warnings == (
        "1 of 2 gradients were zero everywhere: the attack could not see which way to go",)


def test_a_curve_says_what_its_reading_assumes() -> None:
    pgd = [rows([0], [0], attack="pgd")]
    assert curve_of("d", "test", "m", pgd, WORST).assumed == ASSUMED
    assert curve_of("d", "test", "m", pgd, INDEPENDENT).assumed == ""
    assert curve_of("d", "test", "m", [rows([0], [0])], WORST).assumed == "", "every eps was tried"


def test_the_table_has_a_column_a_class() -> None:
    table = table_of([point_of(rows([0, 1], [0, 1]))])
    assert {"attack", "eps", "accuracy", "low", "high", "recall_no", "recall_maybe", "recall_yes"} <= set(table.columns)
    assert "recall" not in table.columns


# ---- the model's boundary and the eye's


def worst(fooled_at: list[float | None], rungs: tuple[float, ...], clean: list[int] | None = None) -> list[Rows]:
    """The worst case's runs of images of class 0 that are fooled from these eps on (None: never)."""
    return [rows([0 if at is None or eps < at else 1 for at in fooled_at], [0] * len(fooled_at), eps=eps, clean=clean)
            for eps in rungs]


def test_the_smallest_eps_of_every_image() -> None:
    runs = worst([0.1, 0.3, None, 0.1], (0.0, 0.1, 0.2, 0.3), clean=[0, 0, 0, 1])
    np.testing.assert_equal(smallest_eps_of(runs), [0.1, 0.3, np.inf, np.nan])


def test_the_cumulative_smallest_eps_is_the_worst_case_curve() -> None:
    rungs = (0.0, 0.1, 0.2, 0.3)
    runs = worst([0.1, 0.3, None, 0.2, 0.2], rungs, clean=[0, 0, 0, 0, 1])
    smallest = smallest_eps_of(runs)
    assert [float((smallest <= eps).sum()) for eps in rungs] == [int(one.success.sum()) for one in runs]


def test_the_median_is_where_half_is_reached() -> None:
    assert middle(np.array([3.0, 1.0, 2.0]))[0] == 2  # type: ignore[index]
    assert middle(np.array([4.0, 1.0, 2.0, np.inf]))[0] == 2, "two of four"  # type: ignore[index]
    assert middle(np.array([1.0, np.inf, np.inf])) == (np.inf, 1.0, np.inf)
    assert middle(np.array([])) is None
    values = np.random.default_rng(1).exponential(size=101)
    drawn = np.median(np.random.default_rng(0).choice(values, (4000, 101)), axis=1)
    assert middle(values) == pytest.approx((np.median(values), *np.quantile(drawn, [0.025, 0.975])), rel=0.08)


def test_the_danger_zone_by_hand() -> None:
    runs = worst([0.01, 0.01, 0.03, None, 0.01], (0.0, 0.01, 0.03), clean=[0, 0, 0, 0, 1])
    zone = zone_of(runs, np.array([0.02, 0.005, 0.04, 0.02, 0.02]))
    assert (zone.of, zone.unseen, zone.share) == (4, 2, 0.5), "the first and the third"
    assert zone.boundary is not None and zone.seen is not None
    assert (zone.boundary[0], zone.seen[0], zone.times) == (0.01, 0.02, 2.0)
    assert zone.interval == pytest.approx(interval(2, 4))
    with pytest.raises(EngineError, match="do not belong"):
        zone_of(runs, np.zeros(2))


def test_a_zone_without_a_boundary_says_nothing_of_it() -> None:
    assert Zone(np.array([np.inf, np.inf]), np.array([0.02, 0.02])).times is None
    nothing = Zone(np.array([]), np.array([]))
    assert nothing.boundary is None and nothing.share is None and nothing.times is None


def test_below_the_eyes_eps_nothing_is_seen_and_at_it_something_is() -> None:
    clean = load("phantom-cxr", "test").image(3)
    clean = np.clip(clean, 0.2, 0.8)  # so that every pixel can be moved
    eps = eye_eps(clean)
    signs = np.sign(np.random.default_rng(0).normal(size=clean.shape)).astype(np.float32)
    assert visibility(clean, clean + np.float32(eps * 0.98) * signs).score < SEEN
    assert visibility(clean, clean + np.float32(eps * 1.02) * signs).score > SEEN
    half = signs * (np.random.default_rng(1).random(clean.shape) < 0.5)
    assert visibility(clean, clean + np.float32(eps) * half).score < SEEN, "who changes less is seen later"
    assert (SEEN, "visible") in LEVELS


def test_the_eye_of_a_perturbation_is_in_proportion_to_it() -> None:
    clean = np.full((1, 64, 64), 0.5)
    change = np.zeros_like(clean)
    change[0, 20:40, 20:40] = 0.01
    found = eye_eps_of(clean, clean + change, 0.01)
    assert found is not None and visibility(clean, clean + change * found / 0.01).score == pytest.approx(SEEN)
    assert eye_eps_of(clean, clean, 0.01) is None


def test_what_the_eye_sees_is_work_that_is_known_by_its_images() -> None:
    task = eyes_task("phantom-cxr", "test", (3, 5))
    assert task.key == eyes_task("phantom-cxr", "test", (3, 5)).key != eyes_task("phantom-cxr", "test", (5, 3)).key
    data = load("phantom-cxr", "test")
    assert eyes_of(perform(task)).tolist() == [eye_eps(data.image(3)), eye_eps(data.image(5))]
    with pytest.raises(EngineError, match="changed"):
        perform(replace(task, spec=replace(task.spec, images="other")))
