"""What two runs have different, in what was asked for and in what came of it."""

from dataclasses import asdict, replace

import pandas as pd
import pytest

from engine.attacks.spec import make_spec
from engine.errors import EngineError
from engine.experiments.evaluation.evaluate import AFTER, BEFORE, matrix
from engine.experiments.runs.comparison import (
    Difference,
    curves,
    differences,
    overview,
    pairs,
    readings,
    subtracted,
)
from engine.experiments.sweeps import Sweep
from engine.metrics.rates import interval
from engine.work.specs import to_json
from tests.made import ladder, made


def sweep(*attacks, dataset: str = "kermany", indices: tuple[int, ...] = (0, 1, 2)) -> dict:
    return to_json(Sweep(dataset, "test", indices, ("a", "b"), attacks, contents="c" * 64))


def test_equal_specs_have_no_differences() -> None:
    spec = sweep(make_spec("pgd", eps=2 / 255))
    assert differences([spec, spec, dict(reversed(spec.items()))]) == []


def test_attacks_are_compared_by_name_and_with_all_values_of_a_setting() -> None:
    one = sweep(make_spec("fgsm", eps=1 / 255), make_spec("pgd", eps=1 / 255), make_spec("pgd", eps=2 / 255))
    other = sweep(make_spec("pgd", eps=1 / 255, params={"steps": 20}), make_spec("pgd", eps=4 / 255,
                                                                                params={"steps": 20}), dataset="x")
    found = {row.setting: row.values for row in differences([one, other])}
    assert found["dataset"] == ("kermany", "x")
    assert found["attacks pgd eps"] == ("1/255, 2/255", "1/255, 4/255")
    assert found["attacks pgd params steps"] == ("10", "20")
    assert found["attacks fgsm eps"] == ("1/255", "") and "attacks pgd norm" not in found


def test_long_lists_and_digests_are_told_short_and_differ_all_the_same() -> None:
    one, other = sweep(indices=tuple(range(100))), sweep(indices=tuple(range(0, 300, 3)))
    row, = differences([one, other])
    assert row.setting == "indices" and [text.partition(" (")[0] for text in row.values] == [
        "100: 0, 1, ... 99", "100: 0, 3, ... 297"]
    changed = {**one, "contents": "e" * 64}
    assert differences([one, changed]) == [Difference("contents", ("c" * 12, "e" * 12))]
    inside = sweep(indices=(*range(50), 7, *range(51, 100)))
    assert [row.setting for row in differences([one, inside])] == ["indices"]


def test_specs_of_other_forms_are_compared_too() -> None:
    found = differences([{"a": {"b": [{"x": 1}, {"x": None}]}, "c": True}, {"a": {"b": [{"x": 2}]}}])
    assert found == [Difference("a b 1 x", ("1", "2")), Difference("a b 2 x", ("none", "")),
                     Difference("c", ("True", ""))]


def test_a_row_of_the_overview_says_what_the_rows_say() -> None:
    rows = made([0, 1, 2, 1], [0, 1, 2, 0], [1, 1, -1, 0])
    line = overview([rows]).iloc[0]
    assert (line["n"], line["accuracy_clean"], line["accuracy_adversarial"], line["success_of"]) == (4, 0.75, 0.25, 3)
    assert line["success"] == pytest.approx(1 / 3) and (line["low"], line["high"]) == interval(1, 4)
    assert (line["eps"], line["model"]) == ("2/255", "phantom-cxr/resnet18")
    nothing = overview([made([0], [1], [1])]).iloc[0]
    assert pd.isna(nothing["success"])


def test_a_curve_begins_with_the_clean_images_and_goes_by_eps() -> None:
    line, = curves(list(reversed(ladder())))
    assert [(point.eps, point.accuracy) for point in line.points] == [
        (0.0, 1.0), (1 / 255, 0.75), (2 / 255, 0.5), (4 / 255, 0.0)]
    assert (line.points[1].low, line.points[1].high) == interval(3, 4) and line.name == "pgd, phantom-cxr/resnet18"
    assert curves(ladder()[:1]) == []  # one eps is no curve
    assert curves([made([0], [0], [1], spec=make_spec("cw"))]) == []  # no eps at all


def test_curves_are_named_by_what_tells_them_apart() -> None:
    names = [line.name for line in curves([*ladder(), *ladder(seed=1), *ladder(attack="fgsm"), *ladder(model="x")])]
    assert names == ["pgd, phantom-cxr/resnet18, seed 0", "pgd, phantom-cxr/resnet18, seed 1",
                     "fgsm, phantom-cxr/resnet18", "pgd, x"]


def test_a_matrix_counts_every_image_once_and_refusals_apart() -> None:
    rows = made([0, 1, 2, 1], [0, 1, 2, 1], [1, -1, 2, 0])
    before, after = matrix(rows, BEFORE), matrix(rows, AFTER)
    assert before.columns == rows.classes and before.counts.tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 1]]
    assert after.columns == (*rows.classes, "(refused)")
    assert after.whole.tolist() == [[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]]
    assert after.shares[1].tolist() == [0.5, 0, 0, 0.5]


def test_matrices_of_the_same_images_are_subtracted_in_images_others_in_shares() -> None:
    one, other = made([0, 1, 1], [0, 1, 1], [0, 1, 1]), made([0, 1, 1], [0, 1, 1], [1, -1, 1])
    found = subtracted(one, other)
    assert found.same and found.columns[-1] == "(refused)"
    assert found.values[:2].tolist() == [[-1, 1, 0, 0], [0, -1, 0, 1]]
    more = made([0, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 0, 1, 1, 0])
    found = subtracted(one, more)
    assert not found.same and found.values.tolist() == [[0, 0, 0], [0.5, -0.5, 0], [0, 0, 0]]
    assert (subtracted(more, one).values == -found.values).all()
    with pytest.raises(EngineError, match="different classes"):
        subtracted(one, made([0, 1], [0, 1], [0, 1], classes=("no", "yes")))


def test_runs_that_belong_together_are_paired_by_as_much_as_tells_them_apart() -> None:
    one, steps = ladder(), [replace(rows, spec=replace(rows.spec, params={**rows.spec.params, "steps": 20}))
                            for rows in ladder()]
    assert [(a.spec.eps, b.spec.eps) for a, b in pairs(one, list(reversed(ladder())))] == [
        (eps / 255, eps / 255) for eps in (1, 2, 4)]
    assert all(a.spec.eps == b.spec.eps for a, b in pairs(one, steps)) and len(pairs(one, steps)) == 3
    assert len(pairs(one, ladder(model="other"))) == 3 and len(pairs(one, ladder(attack="fgsm"))) == 3
    assert pairs([*one, *ladder(seed=1)], ladder(model="y", seed=2)) == []  # several could be meant
    assert [(a is one[0], b.spec.attack) for a, b in pairs(one[:1], [made([0], [0], [0], spec=make_spec("cw"))])] == [
        (True, "cw")]
    assert asdict(one[0].spec) == asdict(ladder()[0].spec)


def test_readings_of_the_same_runs_are_told_apart() -> None:
    worst = [replace(rows, logits_adversarial=rows.logits_clean) for rows in ladder()]
    both = [*ladder(), *worst]
    assert readings(ladder()) == [""] * 3 and readings(ladder(), ("worst",)) == ["worst"] * 3
    assert readings(both, ("independent", "worst")) == ["independent"] * 3 + ["worst"] * 3
    assert readings(both) == ["1"] * 3 + ["2"] * 3
    one, other = curves(both, ("independent", "worst"))
    assert (one.settings, other.settings) == ("reading independent", "reading worst")
    assert [point.accuracy for point in one.points] == [1.0, 0.75, 0.5, 0.0]
    assert [point.accuracy for point in other.points] == [1.0] * 4
    assert list(overview(both)["reading"]) == ["1"] * 3 + ["2"] * 3
    assert len(pairs(both, both)) == 6
