"""The certificate of randomized smoothing: bounds, radii, abstentions and votes, by hand and by SciPy."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from engine.cli import main
from engine.data import phantom
from engine.defenses.certifying import CHOOSING, COUNTING, votes
from engine.errors import EngineError
from engine.experiments.certifying import Certified
from engine.experiments.epsilon.certified import covered, rows, sentence, steps, table
from engine.metrics.certificate import ABSTAINED, Certificate, certificate, fewest_draws, least_share
from pages.epsilons.figures import certified
from tests import nets
from tests.tiny import Slope, grey, some_images


@pytest.mark.parametrize(("counted", "of"), [(60, 100), (1, 10), (99_000, 100_000), (10, 10)])
def test_the_bound_is_that_of_clopper_and_pearson(counted: int, of: int) -> None:
    exact = binomtest(counted, of, alternative="greater").proportion_ci(0.999, "exact").low
    assert float(least_share(np.array(counted), of, 0.001)) == pytest.approx(exact, abs=1e-9)


def test_radii_by_hand() -> None:
    """All of 100 votes: 0.001 = p^100, so p is 0.9333 and its quantile 1.5006. Of 50 to 50 nothing follows."""
    counted = np.array([[100, 0], [0, 100], [50, 50], [0, 100]])
    found = certificate(np.array([[9, 1], [2, 8], [9, 1], [10, 0]]), counted, 0.25)
    assert found.shares[0] == pytest.approx(0.001 ** (1 / 100)) and found.shares[3] == 0
    assert found.radii.tolist() == pytest.approx([0.25 * 1.5006, 0.25 * 1.5006, 0, 0], abs=1e-4)
    assert found.classes.tolist() == [0, 1, ABSTAINED, ABSTAINED]
    assert found.abstained.tolist() == [False, False, True, True]
    labels, radius = np.array([0, 0, 0, 1]), float(found.radii[0])
    assert found.accuracy(labels, [0, radius, radius + 1e-9]) == [0.25, 0.25, 0.0]
    more = certificate(np.array([[9, 1]]), np.array([[100_000, 0]]), 0.25)
    assert float(more.radii[0]) == pytest.approx(0.25 * 3.811, abs=1e-3)  # the most that the paper's draws can prove


def test_too_few_draws_prove_nothing_and_say_so() -> None:
    assert fewest_draws(0.001) == 10 and math.log2(1 / 0.001) < 10
    assert certificate(np.array([[1, 0]]), np.array([[10, 0]]), 0.1).radii[0] > 0
    for chosen, counted, options, says in (
            ([[1, 0]], [[9, 0]], {}, "at least 10"), ([[0, 0]], [[10, 0]], {}, "one to choose"),
            ([[1, 0]], [[10, 0]], {"sigma": 0}, "sigma above 0"), ([[1, 0]], [[10, 0]], {"alpha": 0.5}, "alpha"),
            ([[1, 0, 0]], [[10, 0]], {}, "twice")):
        with pytest.raises(EngineError, match=says) as error:
            certificate(np.array(chosen), np.array(counted), **{"sigma": 0.1, **options})
        assert "\n" not in str(error.value)
    assert len(certificate(np.empty((0, 2)), np.empty((0, 2)), 0.1).radii) == 0


def test_votes_are_those_of_a_linear_classifier() -> None:
    """Class 1 of a pixel at 0.6 under noise of 0.1, the boundary at 0.5: 84 %, so that 1000 draws prove about 0.1."""
    model, images = grey(Slope((1.0,), b=0.5)), torch.tensor([0.6, 0.5]).view(2, 1, 1, 1)
    options = {"sigma": 0.1, "batch": 300}
    counted = votes(model, images, "ab", 1000, purpose=COUNTING, **options)
    assert counted.sum(axis=1).tolist() == [1000, 1000]
    assert counted[:, 1] / 1000 == pytest.approx([0.841, 0.5], abs=0.05)
    found = certificate(votes(model, images, "ab", 50, purpose=CHOOSING, **options), counted, 0.1)
    assert 0.07 < found.radii[0] < 0.1, "the bound is below the truth and near it"
    assert found.classes.tolist() == [1, ABSTAINED]


def test_votes_depend_on_seed_image_and_purpose_alone() -> None:
    model, images = grey(Slope((1.0, -1.0) * 8)), some_images(2, 1, 4)

    def counts(purpose: str = COUNTING, seed: int = 0, batch: int = 16) -> list[list[int]]:
        return votes(model, images, "ab", 100, sigma=0.5, purpose=purpose, seed=seed, batch=batch).tolist()

    assert counts() == counts(batch=7) and len({str(c) for c in (counts(), counts(CHOOSING), counts(seed=1))}) == 3
    assert counts()[1:] == votes(model, images[1:], "b", 100, sigma=0.5, purpose=COUNTING).tolist()


def test_certified_accuracy_falls_where_an_image_is_no_longer_proven() -> None:
    found = Certificate(np.array([0, 1, ABSTAINED, 1]), np.array([0.3, 0.1, 0.0, 0.2]), np.array([0.9, 0.8, 0.4, 0.8]))
    one = Certified("m", 0.1, found, np.array([0, 1, 0, 1]), np.array([0, 1, 0, 0]))
    radii, shares = steps(one)
    assert radii.tolist() == [0, 0.1, 0.3] and shares.tolist() == [0.5, 0.5, 0.25]
    facts = one.facts([0.1, 0.2])
    assert (facts["abstained"], facts["accuracy_smoothed"]["counted"], facts["accuracy_clean"]["counted"]) == (1, 2, 3)
    assert [(at["radius"], at["counted"], at["of"]) for at in facts["certified"]] == [(0.1, 2, 4), (0.2, 1, 4)]


def test_it_is_told_in_words_in_a_table_and_as_a_curve_of_its_own() -> None:
    found = Certificate(np.array([0, 1, ABSTAINED, 1]), np.array([0.3, 0.1, 0.0, 0.2]), np.array([0.9, 0.8, 0.4, 0.8]))
    one = Certified("m", 0.1, found, np.array([0, 1, 0, 1]), np.array([0, 1, 0, 1]))
    assert one.median == pytest.approx(0.15) and covered(0.15, 225) == pytest.approx(0.01)
    said = sentence(one, 225)
    assert "right for certain about 3 of 4 images (75.0 %)" in said and "about 1 nothing is proven" in said
    assert "at most 0.15: that is every pixel by 2.6/255, or a single value by 38/255" in said
    frame = table([one], 225)
    assert frame["radius_l2"].tolist() == [0, 0.1, 0.2, 0.3] and frame["counted"].tolist() == [3, 3, 2, 1]
    assert rows([one], "abcd", ["x", "y"])["proven"].tolist() == ["x", "y", "", "y"]
    band, line, clean = certified([one], 225).data
    assert line.x == (0, 0.1, 0.2, 0.3, 0.3) and line.y == (0.75, 0.75, 0.5, 0.25, 0) and clean.y == (1.0,)
    assert len(band.x) == 14 and line.customdata[1] == "1.7/255"


def test_certify_counts_once_and_says_what_is_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    nets.register(monkeypatch)
    nets.kept(tmp_path / "net.safetensors", classes=phantom.CLASSES, mean=(0.4,) * 3, std=(0.2,) * 3)
    asked = ["certify", "--dataset", "phantom-cxr@32", "--model", str(tmp_path / "net.safetensors"), "--limit", "2",
             "--sigma", "0.01,0.02", "--choosing", "3", "--radii", "0,0.01"]
    assert main([*asked, "--draws", "20", "--out", str(tmp_path / "out"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [one["sigma"] for one in facts["smoothed"]] == [0.01, 0.02] and len(facts["indices"]) == 2
    assert all(one["n"] == 2 and len(one["certified"]) == 2 for one in facts["smoothed"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"certificate.{form}" for form in (
        "json", "csv", "svg", "png")}
    monkeypatch.setattr("engine.defenses.certifying.votes", None)  # what was counted is not counted again
    assert main([*asked, "--draws", "20"]) == 0 and "right for certain" in capsys.readouterr().out
    for wrong in (("--draws", "9"), ("--sigma", "0"), ("--alpha", "1"), ("--choosing", "0"), ("--radii", "far")):
        assert main([*asked, *wrong]) == 2 and len(capsys.readouterr().err.splitlines()) == 1
