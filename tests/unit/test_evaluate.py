"""What is read from attacked images, against scikit-learn on the same rows and numbers worked out by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from engine.attacks.rows import Rows
from engine.attacks.spec import make_spec
from engine.experiments.evaluation import evaluate
from engine.experiments.evaluation.evaluate import AFTER, BEFORE
from engine.experiments.frames import frame
from engine.metrics.calibration import calibration_error, reliability
from engine.metrics.rates import interval
from engine.metrics.resampling import areas, draws
from tests.rows import CLASSES, random_rows, rows

RANDOM = st.builds(random_rows, st.integers(0, 10**6), st.integers(1, 60), st.integers(2, 4),
                   st.sampled_from([0.0, 0.2, 1.0]))


@pytest.fixture(scope="module")
def pneumonia() -> Rows:
    """Of 4 + 4 + 2 images: before, one pneumonia is missed and one COVID-19 refused; after, three pneumonias more are
    missed, one normal image is called pneumonia, and another refused."""
    return rows([0, 0, 0, 0, 1, 1, 1, 1, 2, 2],
                [0, 0, 0, 0, 1, 1, 1, 0, 2, -1],
                [0, 0, 1, -1, 0, 0, 2, 0, 2, 2])


def exported(found: Rows, when: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and answers as a reader of the exported rows has them, by class number, -1 where refused."""
    table = frame([found], found.identities)
    return tuple(np.array([-1 if name is None or name != name else found.classes.index(name) for name in table[column]])
                 for column in ("label", f"predicted_{when}"))  # type: ignore[return-value]


# ---- confusion matrices and flows


def test_the_matrices_by_hand(pneumonia: Rows) -> None:
    before, after = (evaluate.matrix(pneumonia, side) for side in (BEFORE, AFTER))
    assert before.counts.tolist() == [[4, 0, 0], [1, 3, 0], [0, 0, 1]] and before.refused.tolist() == [0, 0, 1]
    assert after.counts.tolist() == [[2, 1, 0], [3, 0, 1], [0, 0, 2]] and after.refused.tolist() == [1, 0, 0]
    assert before.columns == (*CLASSES, "(refused)") and before.whole.sum() == 10
    change = evaluate.change(before, after)
    assert change.counts.tolist() == [[-2, 1, 0], [2, -3, 1], [0, 0, 1]] and change.refused.tolist() == [1, 0, -1]
    assert change.whole.sum() == 0
    np.testing.assert_allclose(after.by_row()[0], [50, 25, 0, 25])
    np.testing.assert_allclose(after.by_column()[:, 0], [40, 60, 0])


def test_a_row_or_column_of_nothing_has_no_percent() -> None:
    found = evaluate.matrix(rows([0, 0], [0, 0], [0, 0]), BEFORE)
    assert np.isnan(found.by_row()[1:]).all() and np.isnan(found.by_column()[:, 1:]).all()
    assert found.columns == CLASSES


def test_the_cell_leads_to_its_images(pneumonia: Rows) -> None:
    assert evaluate.cell(pneumonia, AFTER, 1, 0).tolist() == [4, 5, 7]
    assert evaluate.cell(pneumonia, AFTER, 0, -1).tolist() == [3]


def test_flows_by_hand(pneumonia: Rows) -> None:
    assert evaluate.flows(pneumonia).tolist() == [[3, 1, 0, 1], [2, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0]]


@given(RANDOM)
@settings(max_examples=25, deadline=None)
def test_every_image_is_in_one_cell(found: Rows) -> None:
    for side in (BEFORE, AFTER):
        matrix = evaluate.matrix(found, side)
        cells = [evaluate.cell(found, side, shows, says) for shows in range(len(found.classes))
                 for says in (*range(len(found.classes)), -1)]
        assert sorted(np.concatenate(cells).tolist()) == list(range(len(found.labels)))
        assert matrix.counts.sum() + matrix.refused.sum() == len(found.labels)
        labels, answers = exported(found, side)
        expected = [[int(((labels == a) & (answers == b)).sum()) for b in range(len(found.classes))]
                    for a in range(len(found.classes))]
        assert matrix.counts.tolist() == expected
    flows = evaluate.flows(found)
    assert flows.sum() == len(found.labels) and flows[-1].sum() == found.refused_clean.sum()


# ---- scores


@given(RANDOM)
@settings(max_examples=40, deadline=None)
def test_every_score_is_scikit_learns_on_the_exported_rows(found: Rows) -> None:
    table, count = frame([found], found.identities), len(found.classes)
    for side in (BEFORE, AFTER):
        labels, answers = exported(found, side)
        got, known = evaluate.scores(found, side), list(range(count))
        assert got.accuracy.value == sk.accuracy_score(labels, answers)
        present = sorted((set(labels.tolist()) | set(answers.tolist())) - {-1})
        for name, function in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
            score = got.scores[name]
            assert [one.value for one in score.classes] == pytest.approx(
                function(labels, answers, labels=known, average=None, zero_division=0).tolist())
            for average in ("macro", "weighted"):
                assert getattr(score, average).value == pytest.approx(
                    function(labels, answers, labels=present, average=average, zero_division=0))
        for k in known:
            confusion = sk.confusion_matrix(labels != k, (answers >= 0) & (answers != k), labels=[False, True])
            others = confusion[1].sum()
            assert got.scores["specificity"].classes[k].value == pytest.approx(
                confusion[1, 1] / others if others else 0.0)
        answered = answers >= 0
        given_ = table[[f"p_{side}_{name}" for name in found.classes]].to_numpy()[answered]
        for k in known:
            if 0 < (labels[answered] == k).sum() < answered.sum():
                assert got.scores["auc"].classes[k].value == pytest.approx(
                    sk.roc_auc_score(labels[answered] == k, given_[:, k]), abs=1e-6)
            else:
                assert got.scores["auc"].classes[k].value is None
        if len(set(labels[answered].tolist())) == count:
            whole = sk.roc_auc_score(labels[answered], given_[:, 1] if count == 2 else given_ / given_.sum(
                axis=1, keepdims=True), **({} if count == 2 else {"multi_class": "ovr"}))
            assert got.scores["auc"].macro.value == pytest.approx(whole, abs=1e-6)


def test_scores_without_refusals_are_those_of_a_plain_call() -> None:
    found = random_rows(3, 80, 3, refused=0.0)
    labels, answers = exported(found, AFTER)
    got = evaluate.scores(found, AFTER)
    for name, function in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        assert got.scores[name].macro.value == pytest.approx(function(labels, answers, average="macro"))
    assert got.scores["recall"].weighted.value == pytest.approx(got.accuracy.value)
    assert got.scores["recall"].macro.value == pytest.approx(sk.balanced_accuracy_score(labels, answers))


def test_scores_by_hand(pneumonia: Rows) -> None:
    got = evaluate.scores(pneumonia, AFTER)
    assert (got.n, got.refused, got.support, got.said) == (10, 1, (4, 4, 2), (5, 1, 3))
    assert got.accuracy.value == 0.4
    assert [one.value for one in got.scores["recall"].classes] == [0.5, 0.0, 1.0]
    assert [one.value for one in got.scores["precision"].classes] == pytest.approx([2 / 5, 0, 2 / 3])
    # Of the six that show no Pneumonia one is called so and one refused, which is no right answer either.
    assert got.scores["specificity"].classes[1].value == pytest.approx(4 / 6)
    assert got.scores["f1"].classes[2].value == pytest.approx(2 * 2 / (3 + 2))
    assert got.scores["recall"].weighted.value == pytest.approx(0.4)


def test_shares_have_wilsons_interval_and_hold_their_value(pneumonia: Rows) -> None:
    got = evaluate.scores(pneumonia, AFTER)
    recall = got.scores["recall"].classes[0]
    assert (recall.low, recall.high) == interval(2, 4)
    for score in got.scores.values():
        for one in (*score.classes, score.macro, score.weighted):
            if one.value is not None:
                assert one.low is not None and one.high is not None and 0 <= one.low <= one.high <= 1


def test_intervals_of_f1_and_means_by_hand(pneumonia: Rows) -> None:
    got = evaluate.scores(pneumonia, AFTER)
    # COVID-19: 2 right among the 3 images that show it or are said to.
    low, high = interval(2, 3)
    f1 = got.scores["f1"].classes[2]
    assert (f1.low, f1.high) == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))
    recall = got.scores["recall"]
    ends = [interval(2, 4), interval(0, 4), interval(2, 2)]
    down = math.sqrt(sum((end[0] - value) ** 2 for end, value in zip(ends, (0.5, 0, 1), strict=True))) / 3
    up = math.sqrt(sum((end[1] - value) ** 2 for end, value in zip(ends, (0.5, 0, 1), strict=True))) / 3
    assert (recall.macro.low, recall.macro.high) == pytest.approx((0.5 - down, 0.5 + up))


def test_a_mean_of_noughts_is_not_certain() -> None:
    got = evaluate.scores(rows([0, 1] * 6, [0, 1] * 6, [1, 0] * 6, classes=("a", "b")), AFTER)
    for name in ("precision", "recall", "f1"):
        assert got.scores[name].macro.value == 0 and (got.scores[name].macro.high or 0) > 0.2


def test_intervals_are_the_same_every_time_and_shrink_with_more_images() -> None:
    def width(total: int) -> float:
        auc = evaluate.scores(random_rows(1, total, 3, refused=0.0), AFTER).scores["auc"].macro
        assert auc.low is not None and auc.high is not None and auc.value is not None
        assert auc.low < auc.value < auc.high
        return auc.high - auc.low

    evaluate._remembered.clear()
    first = width(40)
    evaluate._remembered.clear()
    draws.cache_clear()
    assert width(40) == first and width(400) < first / 2


def test_scores_are_remembered_for_as_long_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "_MOST_REMEMBERED", 2)
    evaluate._remembered.clear()
    some, others, more = (random_rows(seed, 10, 2) for seed in range(3))
    first = evaluate.scores(some, AFTER)
    assert evaluate.scores(some, AFTER) is first and evaluate.scores(some, BEFORE) is not first
    evaluate.scores(others, AFTER), evaluate.scores(more, AFTER)
    assert len(evaluate._remembered) == 2 and evaluate.scores(some, AFTER) == first


@given(st.integers(0, 10**6), st.integers(2, 40))
@settings(max_examples=30, deadline=None)
def test_resampled_areas_are_scikit_learns(seed: int, total: int) -> None:
    random = np.random.default_rng(seed)
    positive, scores = random.random(total) < 0.5, random.integers(0, 5, total) / 4  # with many ties
    weights = draws(total, times=5, seed=seed)
    for weight, area in zip(weights, areas(weights, scores, positive), strict=True):
        drawn = np.repeat(np.arange(total), weight)
        if len(set(positive[drawn].tolist())) == 2:
            assert area == pytest.approx(sk.roc_auc_score(positive[drawn], scores[drawn]))
        else:
            assert math.isnan(area)


def test_all_refused_is_no_error() -> None:
    found = rows([0, 1], [0, 1], [-1, -1])
    got = evaluate.scores(found, AFTER)
    assert (got.accuracy.value, got.refused, got.scores["auc"].macro.value) == (0.0, 2, None)
    assert evaluate.matrix(found, AFTER).refused.tolist() == [1, 1, 0]
    assert evaluate.confidence(found, AFTER).error is None


# ---- success


def test_success_over_those_that_count_and_over_all(pneumonia: Rows) -> None:
    found = evaluate.success(pneumonia)
    # Attacked: 4 + 3 + 1. Fooled: one normal, three pneumonias; the refused one is none.
    assert (found.fooled, found.attacked) == (4, 8) and found.of_attacked.value == 0.5
    assert (found.there, found.n) == (5, 10), "the pneumonia missed before is where the attacker wants it, too"


def test_success_of_an_attack_with_a_target() -> None:
    aimed = rows([0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 0], spec=make_spec("pgd", eps=2 / 255, target=1))
    found = evaluate.success(aimed)
    assert (found.fooled, found.attacked, found.there) == (1, 1, 3)


# ---- calibration


def test_reliability_by_hand() -> None:
    bins = reliability(np.array([0.55, 0.58, 0.95, 0.91, 1.0]), np.array([True, False, True, True, False]))
    assert [(b.low, b.high, b.count) for b in bins] == [(0.5, pytest.approx(0.6), 2), (0.9, 1.0, 3)]
    assert bins[0].accuracy == 0.5 and bins[0].confidence == pytest.approx(0.565)
    assert (bins[1].accuracy_low, bins[1].accuracy_high) == interval(2, 3)
    expected = (2 * abs(0.5 - 0.565) + 3 * abs(2 / 3 - (0.95 + 0.91 + 1) / 3)) / 5
    assert calibration_error(bins) == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
@settings(deadline=None)
def test_reliability_is_scikit_learns(answers: list[tuple[float, bool]]) -> None:
    sure, right = (np.array(column) for column in zip(*answers, strict=True))
    true, predicted = calibration_curve(right, sure, n_bins=10)
    bins = reliability(sure, right)
    assert [b.accuracy for b in bins] == pytest.approx(true.tolist())
    assert [b.confidence for b in bins] == pytest.approx(predicted.tolist())


def test_histograms_count_every_answer(pneumonia: Rows) -> None:
    found = evaluate.confidence(pneumonia, AFTER)
    assert (found.right.sum(), found.wrong.sum()) == (4, 5)
    sure = math.exp(2) / (math.exp(2) + 2)
    assert found.mean == pytest.approx(sure)
    assert found.error == pytest.approx(abs(4 / 9 - sure))


# ---- images over several runs, subgroups


def test_images_stand_by_how_many_runs_fooled_them() -> None:
    one = rows([0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0], images=["a", "b", "c", "d"])
    other = rows([0, 0, 0], [0, 0, 1], [0, 0, 1], images=["b", "a", "c"])
    found = evaluate.standings([one, other])
    assert [(s.image, s.attacked, s.fooled) for s in found] == [("a", 2, 0), ("b", 2, 1), ("c", 1, 1)]
    assert found[0].margin > 0 > found[2].margin


def test_subgroups_by_hand(pneumonia: Rows) -> None:
    names = ["", "", "", "", "small", "small", "large", "large", "small", "small"]
    large, small = evaluate.groups(pneumonia, names)
    assert (large.name, large.n, large.before.value, large.after.value) == ("large", 2, 0.5, 0.0)
    assert (small.name, small.n, small.before.value, small.after.value) == ("small", 4, 0.75, 0.5)
    assert small.success.value == pytest.approx(2 / 3)


# ---- the command line's contract


def test_the_summary_is_json_and_complete(pneumonia: Rows) -> None:
    found = json.loads(json.dumps(evaluate.summary(pneumonia), allow_nan=False))
    assert found["n"] == 10 and found["accuracy_clean"] == 0.8 and found["accuracy_adversarial"] == 0.4
    assert found["success_rate"] == 0.5 and found["confusion_adversarial"] == [[2, 1, 0], [3, 0, 1], [0, 0, 2]]
    assert found["recall"]["adversarial"]["classes"] == {"Normal": 0.5, "Pneumonia": 0.0, "COVID-19": 1.0}
    assert set(found["auc"]["clean"]) == {"classes", "macro", "weighted", "intervals"}
    low, high = found["recall"]["adversarial"]["intervals"]["classes"]["Normal"]
    assert (low, high) == pytest.approx(interval(2, 4))


def test_probabilities_are_those_of_the_exported_rows() -> None:
    found = random_rows(5, 20, 3)
    table = frame([found], found.identities)[[f"p_clean_{name}" for name in found.classes]]
    np.testing.assert_allclose(evaluate.probabilities(found, BEFORE), pd.DataFrame(table).to_numpy(), atol=1e-6)
