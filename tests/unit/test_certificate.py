"""The certificate of randomized smoothing: bounds, radii, abstentions and votes, by hand and by SciPy."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from engine.defenses.certifying import CHOOSING, COUNTING, votes
from engine.errors import EngineError
from engine.metrics.certificate import ABSTAINED, certificate, fewest_draws, least_share
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
