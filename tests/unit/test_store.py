"""Kept results come back exactly, and damage is never mistaken for a result."""

import os
import threading

import numpy as np
import pytest

from engine.errors import EngineError
from engine.work.store import Payload, Store

FACTS = {"eps": 1 / 255, "classes": ["Normal", "Pneumonia"], "psnr": None}


def payload() -> Payload:
    rng = np.random.default_rng(0)
    return Payload(FACTS, {"clean": rng.random((1, 8, 8), np.float32), "mask": rng.random((8, 8)) > 0.5})


def put(store: Store, key: str = "k", kind: str = "explore") -> None:
    store.put(key, kind, f"title of {key}", {"spec": key}, payload())


def test_facts_and_arrays_come_back_bit_by_bit(tmp_path) -> None:
    put(store := Store(tmp_path))
    found = store.get("k")
    assert found is not None and found.facts == FACTS
    for name, array in payload().arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def test_nothing_is_found_where_nothing_was_kept(tmp_path) -> None:
    assert Store(tmp_path / "never made").get("k") is None
    assert Store(tmp_path / "never made").recent("explore") == []
    assert not (tmp_path / "never made").exists()


@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_a_damaged_file_is_no_result(tmp_path, damage: bytes | None) -> None:
    put(store := Store(tmp_path))
    path = tmp_path / "k.npz"
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    assert store.get("k") is None


def test_a_damaged_index_is_no_result_and_no_crash(tmp_path) -> None:
    put(store := Store(tmp_path))
    (tmp_path / "index.sqlite").write_bytes(b"x" * 4096)
    assert store.get("k") is None
    assert store.recent("explore") == []
    with pytest.raises(EngineError, match="could not be kept"):
        put(store)


def test_the_newest_come_first_and_only_of_one_kind(tmp_path) -> None:
    store = Store(tmp_path)
    for key in ("a", "b", "c"):
        put(store, key)
    put(store, "h", kind="heatmaps")
    assert [entry.key for entry in store.recent("explore", limit=2)] == ["c", "b"]


def test_writing_again_replaces_and_leaves_no_scraps(tmp_path) -> None:
    store = Store(tmp_path)
    for _ in range(2):
        put(store)
    assert sorted(os.listdir(tmp_path)) == ["index.sqlite", "k.npz"]
    assert len(store.recent("explore")) == 1


def test_a_full_disk_is_told_in_one_line_and_leaves_no_scraps(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(EngineError, match=r"No space left on device.*PERTURBSCOPE_HOME") as caught:
        put(Store(tmp_path))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_many_threads_can_keep_at_once(tmp_path) -> None:
    store = Store(tmp_path)
    threads = [threading.Thread(target=put, args=(store, str(number))) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.recent("explore")) == 8
    assert all(store.get(str(number)) is not None for number in range(8))
