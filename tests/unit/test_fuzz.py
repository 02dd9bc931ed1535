"""Two thousand mutated files: each is read, or refused in one line, within seconds and without taking the machine."""

import pytest

from engine.errors import EngineError
from tests.mutated import KINDS, Seed, failures, wrong_with


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_read_or_refused(kind: str) -> None:
    assert failures(kind, 0, KINDS[kind].count) == []


def test_there_are_enough_of_them() -> None:
    assert sum(kind.count for kind in KINDS.values()) >= 2000


@pytest.mark.parametrize(("raised", "said"), [
    (ValueError("x"), "raised ValueError"), (MemoryError(), "raised MemoryError"), (SystemExit(1), "raised SystemExit"),
    (EngineError(""), "is refused with ''"), (EngineError("Doe^Jane is ill"), "is refused with"),
    (EngineError("it takes more memory than is free here"), "too much memory"), (EngineError("it is damaged"), ""),
])
def test_what_else_comes_of_a_file_is_told(raised: BaseException, said: str) -> None:
    def read(data: bytes) -> None:
        raise raised

    found = wrong_with(Seed("a seed", b"", read), b"")
    assert said in found and bool(said) == bool(found)
