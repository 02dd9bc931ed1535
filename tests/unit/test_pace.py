"""The estimate of what an attack will take."""

import pytest

from engine.attacks.base import Cost
from engine.experiments.onepicture import pace


def test_the_estimate_follows_the_runs_of_the_model() -> None:
    assert pace.known("a model", "cpu") is None
    pace.learn("a model", "cpu", Cost(gradients=10, queries=10), seconds=1.12)
    found = pace.known("a model", "cpu")
    assert found is not None
    assert found.seconds == pytest.approx(0.1)
    assert found.estimate(Cost(gradients=0, queries=1000)) == pytest.approx(0.04 * 1003)
    assert pace.known("a model", "cuda") is None


def test_one_slow_run_says_little_and_several_say_that_it_has_become_slow() -> None:
    def seconds() -> float:
        found = pace.known("another model", "cpu")
        assert found is not None
        return found.seconds

    cost = Cost(gradients=1, queries=1)
    pace.learn("another model", "cpu", cost, seconds=22.0)  # met for the first time
    pace.learn("another model", "cpu", cost, seconds=0.22)
    assert seconds() == pytest.approx(0.1)
    pace.learn("another model", "cpu", cost, seconds=2.2)
    assert seconds() == pytest.approx(1.0)
    for _ in range(pace.LATELY):
        pace.learn("another model", "cpu", cost, seconds=4.4)
    assert seconds() == pytest.approx(2.0)
