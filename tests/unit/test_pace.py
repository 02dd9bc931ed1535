"""The estimate of what an attack will take."""

import pytest

from engine.attacks.base import Cost
from engine.experiments.onepicture import pace


def test_the_estimate_follows_the_last_run_of_the_model() -> None:
    assert pace.known("a model", "cpu") is None
    pace.learn("a model", "cpu", Cost(gradients=10, queries=10), seconds=1.12)
    found = pace.known("a model", "cpu")
    assert found is not None
    assert found.seconds == pytest.approx(0.1)
    assert found.estimate(Cost(gradients=0, queries=1000)) == pytest.approx(0.04 * 1003)
    assert pace.known("a model", "cuda") is None
