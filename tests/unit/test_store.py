"""Kept results come back exactly, and damage is never mistaken for a result."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.errors import EngineError
from engine.work import index as index_module
from engine.work.index import MIGRATIONS
from engine.work.store import Payload, Store

ROOT = Path(__file__).resolve().parents[2]

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


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def overwritten(path: Path) -> None:
    path.write_bytes(b"x" * 4096)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def pages_overwritten(path: Path) -> None:
    """The header is whole: opening notices nothing."""
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


def other_columns(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table results (name text)")


DAMAGES = [overwritten, cut, pages_overwritten, other_columns]


@pytest.mark.parametrize("damage", [*DAMAGES, emptied, Path.unlink])
@pytest.mark.parametrize("restarted", [True, False])
def test_a_damaged_index_is_made_again_from_the_results(tmp_path, damage: Callable[[Path], None],
                                                        restarted: bool) -> None:
    put(store := Store(tmp_path), "before")
    damage(tmp_path / "index.sqlite")
    if restarted:
        store = Store(tmp_path)
    assert store.get("before") is not None
    put(store, "after")
    again = Store(tmp_path)
    assert [entry.key for entry in again.recent("explore")] == ["after", "before"]
    assert again.get("before") is not None and again.get("after") is not None
    assert again.recent()[1].spec == {"spec": "before"} and again.facts("before") == FACTS


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_kept_aside_and_told_once(tmp_path, damage: Callable[[Path], None],
                                                     caplog: pytest.LogCaptureFixture) -> None:
    put(store := Store(tmp_path))
    damage(tmp_path / "index.sqlite")
    damaged = (tmp_path / "index.sqlite").read_bytes()
    put(store, "b")
    put(store, "c")
    (aside,) = tmp_path.glob("index.sqlite.damaged-*")
    if damage is not other_columns:  # that one is sound, and taken for one of an older version first
        assert aside.read_bytes() == damaged
    (note,) = store.notes
    assert aside.name in note and "listed again: 2" in note and "space" not in note
    assert [record.message for record in caplog.records].count(note) == 1
    store.noted(note)
    assert store.notes == []


def test_two_damages_are_both_kept_aside(tmp_path) -> None:
    put(store := Store(tmp_path))
    for _ in range(2):
        overwritten(tmp_path / "index.sqlite")
        assert [entry.key for entry in store.recent()] == ["k"]
    assert len(list(tmp_path.glob("index.sqlite.damaged-*"))) == 2


def test_many_threads_mend_once(tmp_path) -> None:
    put(store := Store(tmp_path))
    overwritten(tmp_path / "index.sqlite")
    threads = [threading.Thread(target=put, args=(store, str(number))) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.glob("index.sqlite.damaged-*"))) == 1
    assert {entry.key for entry in Store(tmp_path).recent()} == {"k", *map(str, range(8))}


def test_what_a_crash_left_out_of_the_index_is_listed_at_the_next_start(tmp_path) -> None:
    put(store := Store(tmp_path))
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection, connection:
        connection.execute("delete from results")
    assert store.recent() == []
    assert [entry.key for entry in Store(tmp_path).recent()] == ["k"]


def test_an_index_of_before_is_read_and_brought_up_to_date(tmp_path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection, connection:
        connection.execute("create table results (key text primary key, kind text not null, title text not null, "
                           "spec text not null, facts text not null, created real not null)")
        connection.execute("insert into results values ('old', 'explore', 'an old one', '{}', ?, 1.0)",
                           (json.dumps(FACTS),))
    np.savez(tmp_path / "old.npz", **payload().arrays)
    put(store := Store(tmp_path))
    assert [entry.title for entry in store.recent()] == ["title of k", "an old one"]
    old = store.get("old")
    assert old is not None and old.facts == FACTS and old.arrays.keys() == payload().arrays.keys()
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection:
        assert connection.execute("pragma user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)


def test_an_index_of_a_newer_version_is_left_alone(tmp_path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection, connection:
        connection.execute(f"pragma user_version = {len(MIGRATIONS) + 1}")
    before = (tmp_path / "index.sqlite").read_bytes()
    with pytest.raises(EngineError, match="newer Perturbscope"):
        put(Store(tmp_path))
    assert (tmp_path / "index.sqlite").read_bytes() == before


def test_a_locked_index_costs_no_result_and_says_so(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store := Store(tmp_path))
    monkeypatch.setattr(index_module, "PATIENCE", 0.1)
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(EngineError, match=r"is kept.*another program holds it") as caught:
            put(store, "b")
        assert "space" not in str(caught.value)
        assert store.get("b") is not None and [entry.key for entry in store.recent()] == ["k"]
    assert not list(tmp_path.glob("*.damaged-*")) and store.notes == []
    assert [entry.key for entry in Store(tmp_path).recent()] == ["b", "k"]


AS_NOBODY = """
import os, sys, numpy as np
from pathlib import Path
from engine.errors import EngineError
from engine.work.store import Payload, Store
Store(Path(sys.argv[1])).get("k")  # imports what nobody may not, perhaps
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
store = Store(Path(sys.argv[1]))
assert store.get("k") is not None
assert [entry.key for entry in store.recent()] == ["k"]
try:
    store.put("b", "explore", "b", {}, Payload({}, {}))
except EngineError as error:
    print(error)
"""


# A process that can write only so many bytes to a file.
ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from engine.errors import EngineError
from engine.work.store import Payload, Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
store = Store(Path(sys.argv[1]))
assert store.get("k") is not None
assert [entry.key for entry in store.recent()] == ["k"]
try:
    store.put("b", "explore", "b", {}, Payload({}, {}))
except EngineError as error:
    print(error)
assert (store.get("b") is not None) == (int(sys.argv[2]) > 4096)
assert store.notes == []
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits are those of Unix")
@pytest.mark.parametrize("room", [100, 10_000])
def test_on_a_full_disk_results_are_read_and_listed_and_the_advice_is_to_free_space(tmp_path, room: int) -> None:
    put(Store(tmp_path))
    run = subprocess.run([sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path), str(room)], capture_output=True,
                         text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    assert "free some space" in run.stdout and ("is kept" in run.stdout) == (room > 4096)
    assert not list(tmp_path.glob("*.damaged-*"))


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions are those of Unix")
def test_a_folder_that_is_read_only_is_read_and_the_advice_is_to_take_another() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own folders are closed to others
        folder = Path(name)
        put(Store(folder))
        folder.chmod(0o555)
        run = subprocess.run([sys.executable, "-c", AS_NOBODY, name], capture_output=True, text=True, cwd=ROOT,
                             check=False)
        folder.chmod(0o755)
    assert run.returncode == 0, run.stderr
    assert "PERTURBSCOPE_HOME to a folder you can write to" in run.stdout and "space" not in run.stdout


@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_a_damaged_result_is_dropped_told_in_the_log_and_can_be_kept_again(tmp_path, damage: bytes | None,
                                                                           caplog: pytest.LogCaptureFixture) -> None:
    put(store := Store(tmp_path))
    path = tmp_path / "k.npz"
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    assert store.get("k") is None
    assert "k is damaged" in caplog.text
    assert not path.exists() and store.recent() == []
    put(store)
    assert store.get("k") is not None and len(store.recent()) == 1


def test_a_bit_that_flipped_is_damage(tmp_path) -> None:
    put(store := Store(tmp_path))
    path = tmp_path / "k.npz"
    whole = bytearray(path.read_bytes())
    place = whole.index(payload().arrays["clean"].tobytes()[:32])
    whole[place] ^= 1
    path.write_bytes(whole)
    assert store.get("k") is None


def test_what_is_no_array_is_damage(tmp_path) -> None:
    put(store := Store(tmp_path))
    with zipfile.ZipFile(tmp_path / "k.npz", "a") as file:
        file.writestr("other.npy", b"no array")
    assert store.get("k") is None


def test_a_result_that_is_gone_is_not_listed(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    put(store := Store(tmp_path))
    (tmp_path / "k.npz").unlink()
    assert store.get("k") is None and store.recent() == [] and "k is damaged" in caplog.text
    assert Store(tmp_path).recent() == []


def test_another_results_file_is_not_taken_for_this_one(tmp_path) -> None:
    put(store := Store(tmp_path))
    (tmp_path / "k.npz").rename(tmp_path / "other.npz")
    assert store.get("other") is None


def test_deleting_removes_file_and_line(tmp_path) -> None:
    put(store := Store(tmp_path))
    put(store, "b")
    store.delete("k")
    store.delete("never kept")
    assert store.get("k") is None and [entry.key for entry in store.recent()] == ["b"]


def test_scraps_of_killed_processes_go_when_they_are_old(tmp_path) -> None:
    for name, age in ((".1-1.part", 2 * 86400), (".2-1.part", 0)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    put(Store(tmp_path))
    assert [path.name for path in tmp_path.glob(".*.part")] == [".2-1.part"]


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
    with pytest.raises(EngineError, match=r"No space left on device.*free some space.*PERTURBSCOPE_HOME") as caught:
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
