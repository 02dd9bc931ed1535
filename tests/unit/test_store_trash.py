"""What is deleted can be had back for a moment, and the disk has its room again after it."""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from engine.errors import EngineError
from engine.work import trash
from engine.work.entries import Label
from engine.work.store import Payload, Store


def put(store: Store, key: str, size: int = 9) -> None:
    store.put(key, "evaluation", f"title of {key}", {"of": key}, Payload({"of": key}, {"a": np.zeros(size, np.uint8)}))


def kept(store: Store) -> list[str]:
    return sorted(entry.key for entry in store.search().entries)


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path)
    for key in "abc":
        put(store, key)
    return store


def lying(store: Store) -> set[str]:
    return {path.name for path in (store.folder / "trash").rglob("*") if path.is_file()}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds by which the time is later than it is."""
    later, now = [0.0], time.time
    monkeypatch.setattr(trash.time, "time", lambda: now() + later[0])
    return later


def test_a_deletion_is_undone_with_all_that_people_added(store: Store) -> None:
    store.star("a")
    store.call("a", "mine", "a note")
    before = store.entry("a"), (store.folder / "a.npz").read_bytes()
    deletion = store.discard("a", "b", "a", "never kept")
    assert deletion is not None and deletion.keys == ("a", "b") and deletion.bytes > 0
    assert kept(store) == ["c"] == kept(Store(store.folder)) and store.get("a") is None
    assert store.usage().all.results == 1 and store.deletions() == [deletion]
    assert Store(store.folder).restore(deletion.name) == ["a", "b"]
    assert kept(store) == ["a", "b", "c"] and store.deletions() == [] and lying(store) == set()
    assert (store.entry("a"), (store.folder / "a.npz").read_bytes()) == before
    assert store.entry("a").label == Label("mine", "a note") and store.facts("b") == {"of": "b"}
    with pytest.raises(EngineError, match="gone for good"):
        store.restore(deletion.name)


def test_what_was_computed_again_meanwhile_stays(store: Store) -> None:
    store.call("a", "mine")
    deletion = store.discard("a")
    put(store, "a", size=5000)
    store.star("a")
    new = (store.folder / "a.npz").read_bytes()
    assert deletion is not None and store.restore(deletion.name) == ["a"]
    assert (store.folder / "a.npz").read_bytes() == new and lying(store) == set()
    assert store.entry("a").starred and store.entry("a").called == "mine"


def test_after_a_moment_it_is_gone(store: Store, clock: list[float]) -> None:
    first = store.discard("a")
    clock[0] = trash.KEPT_FOR - 5
    second = store.discard("b")
    assert first is not None and store.deletions() == [second, first]
    clock[0] = trash.KEPT_FOR + 5
    assert store.deletions() == [second] and lying(store) == {"b.npz"}
    with pytest.raises(EngineError, match="gone for good"):
        store.restore(first.name)
    store.empty_trash()
    assert lying(store) == set() and store.deletions() == []


def test_a_new_start_empties_what_is_old(store: Store, clock: list[float]) -> None:
    store.discard("a")
    clock[0] = trash.KEPT_FOR + 5
    assert kept(Store(store.folder)) == ["b", "c"] and lying(store) == set()


def test_it_takes_no_more_than_it_may(store: Store, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    monkeypatch.setattr(trash.Trash.tidy, "__defaults__", (25_000,))
    for key in "xyz":
        put(store, key, 10_000)
    for number, key in enumerate("xyz"):
        clock[0] = number
        store.discard(key)
    assert [deletion.keys for deletion in store.deletions()] == [("z",), ("y",)]
    put(store, "large", 30_000)
    clock[0] = 3
    assert store.discard("large") is None and kept(store) == ["a", "b", "c"]


def test_a_limit_of_the_store_goes_before_it(store: Store) -> None:
    put(store, "x", 20_000)
    store.discard("x")
    store.set_limit(25_000)
    put(store, "small", 10)
    assert lying(store) == {"x.npz"}
    put(store, "y", 10_000)
    assert lying(store) == set() and kept(store) == ["a", "b", "c", "small", "y"]


@pytest.mark.parametrize("name", ["", "..", "../a", "no such", "1.000-" + "0" * 32, "/etc"])
def test_what_is_no_deletion_is_not_restored(store: Store, name: str) -> None:
    store.discard("a")
    (store.folder / "trash" / "stray").mkdir()
    with pytest.raises(EngineError, match="gone for good"):
        store.restore(name)
    assert kept(store) == ["b", "c"] and len(store.deletions()) == 1


def test_what_cannot_be_moved_stays_listed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    move = trash.os.replace

    def held(path: Path, to: Path) -> None:
        if path.name == "b.npz":
            raise PermissionError(13, "Permission denied")
        move(path, to)

    monkeypatch.setattr(trash.os, "replace", held)
    with pytest.raises(EngineError, match=r"could not be deleted.*Permission denied"):
        store.discard("a", "b", "c")
    assert kept(store) == ["b", "c"] == kept(Store(store.folder))
    assert [deletion.keys for deletion in store.deletions()] == [("a",)]


def test_nothing_is_no_deletion(tmp_path) -> None:
    store = Store(tmp_path / "never made")
    assert store.discard() is None and store.discard("x") is None and store.deletions() == []
    store.empty_trash()
    assert list(itertools.chain(tmp_path.iterdir())) == []
