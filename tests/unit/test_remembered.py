"""A figure is drawn once for the same numbers, whoever asks for it."""

from dataclasses import replace

import numpy as np
import pytest

from pages.ui import remembered as memory
from pages.ui.remembered import remembered
from tests.tiny import attack, small_net, some_images


def test_the_same_arguments_are_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST", 3)
    monkeypatch.setattr(memory, "_kept", type(memory._kept)())
    asked: list[object] = []

    @remembered
    def made(*args: object, **named: object) -> list[object]:
        asked.append((args, named))
        return [len(asked)]

    rows = attack("fgsm", small_net(seed=3), some_images(1), np.array([0]), eps=0.1).rows
    first = made([rows], "counts", values=np.arange(3))
    assert made([rows], "counts", values=np.arange(3)) is first
    for args, values in (([replace(rows)], 3), ([rows], 4)):  # other rows that look alike, other contents
        assert made(args, "counts", values=np.arange(values)) is not first
    assert made([rows], "counts", values=np.arange(3)) is first and len(asked) == 3
    for number in range(3):
        made(number)
    assert len(memory._kept) == 3 and made([rows], "counts", values=np.arange(3)) is not first
    monkeypatch.setattr(memory, "MOST_ROWS", 1)
    made([rows], 1), made([replace(rows)], 1)
    assert sum(bool(themselves) for themselves, _ in memory._kept.values()) == 1
