"""The tables that a finished run gives away, as text."""

import csv
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.experiments.onepicture.explored import Steps, Way
from pages.exploring import files, parts

CLASSES = ["Normal", 'a "b", c']


def run(steps: Steps | None = None, walk: Way | None = None) -> Any:
    return SimpleNamespace(classes=CLASSES, explored=SimpleNamespace(steps=steps, walk=walk))


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_every_step_with_eight_digits() -> None:
    loss, probabilities = (0.1, 12345678.9, -1e-9), ((1 / 3, 2 / 3), (1e-12, 1.0), (0.0, 1.0))
    head, *table = rows(files._csv(run(Steps(probabilities, loss, shown=(2,)))))
    assert head == ["step", "loss", *CLASSES]
    assert table == [["0", "0.1", "0.33333333", "0.66666667"], ["1", "12345679", "1e-12", "1"],
                     ["2", "-1e-09", "0", "1"]]


@pytest.mark.parametrize("classes", [["loss", "step"], ["same", "same"]])
def test_classes_may_be_called_anything(classes: list[str]) -> None:
    named = run(Steps(((0.25, 0.75),), (0.5,), shown=(0,)))
    named.classes = classes
    assert rows(files._csv(named)) == [["step", "loss", *classes], ["0", "0.5", "0.25", "0.75"]]


def test_a_walk_is_empty_where_nothing_was_found_yet() -> None:
    text = files._csv(run(walk=Way((1, 10, 20000), (None, 1 / 3, 2.0), (100, 250))))
    assert rows(text) == [["queries", "distance"], ["1", ""], ["10", "0.33333333"], ["20000", "2"]]


def test_a_walk_that_found_nothing_at_all() -> None:
    assert rows(files._csv(run(walk=Way((1,), (None,), ()))))[1:] == [["1", ""]]


def test_what_was_tried_on_every_picture_has_classes_by_name() -> None:
    found: Any = SimpleNamespace(indices=np.array([3, 500]), labels=np.array([0, 1]), predicted_clean=np.array([0, 0]),
                                 predicted_adversarial=np.array([1, 1]))
    assert rows(parts._fooling_csv(run(), found)) == [
        ["picture", "class", "predicted before", "predicted after"],
        ["3", "Normal", "Normal", CLASSES[1]], ["500", CLASSES[1], "Normal", CLASSES[1]]]
