"""How sure a counted share is."""

import pytest
from scipy.stats import binomtest

from engine.metrics.rates import interval


@pytest.mark.parametrize(("counted", "of"), [(0, 1), (1, 1), (0, 7), (7, 7), (1, 3), (17, 48), (4321, 10_000)])
def test_the_interval_is_scipys_to_the_last_digit(counted: int, of: int) -> None:
    found = binomtest(counted, of).proportion_ci(method="wilson")
    low, high = interval(counted, of)
    assert (low, high) == (float(found.low), float(found.high))
    assert type(low) is type(high) is float


def test_of_nothing_it_is_everything() -> None:
    assert interval(0, 0) == (0.0, 1.0)
