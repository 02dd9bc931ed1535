"""Two thousand mutated files: each is read, or refused in one line, within seconds and without taking the machine."""

import pytest

from tests.mutated import KINDS, failures


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_read_or_refused(kind: str) -> None:
    assert failures(kind, 0, KINDS[kind].count) == []


def test_there_are_enough_of_them() -> None:
    assert sum(kind.count for kind in KINDS.values()) >= 2000
