"""What kept results weigh is known, and where there is a limit, the longest unused make room; starred ones never."""

import os
import random
import shutil
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from engine.errors import EngineError
from engine.work.entries import Share, Wanted
from engine.work.room import LIMIT, Limit, parse_size, size_text
from engine.work.store import Payload, Store

SIZE = 10_000  # of an array; its file is a little larger


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LIMIT, raising=False)


def put(store: Store, key: str, kind: str = "explore", size: int = SIZE) -> int:
    """Keep a result; the size of its file."""
    store.put(key, kind, "t", {}, Payload({}, {"a": np.zeros(size, np.uint8)}))
    return (store.folder / f"{key}.npz").stat().st_size


def room(results: int) -> int:
    """The bytes that so many results fit into: their files differ by a few, as the time has more or fewer digits."""
    return results * (SIZE + 1000)


def keys(store: Store) -> set[str]:
    return {entry.key for entry in store.search(limit=1000).entries}


def use(store: Store, key: str, after: float) -> None:
    """The result is used, so many seconds from now."""
    os.utime(store.folder / f"{key}.npz", (time.time() + after,) * 2)


def weighed(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.npz"))


@pytest.mark.parametrize(("text", "size"), [
    ("20 GB", 20 * 10**9), ("20gb", 20 * 10**9), (" 500 MB ", 5 * 10**8), ("1.5 GiB", 3 * 2**29), ("1 kB", 1000),
    ("7 b", 7), ("2TiB", 2**41), ("0.5 kb", 500),
])
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", [
    "", "20", "GB", "20 XB", "0 GB", "-1 GB", "20,5 GB", "20 GB foo", "nan GB", "1e3 GB", "inf GB", "0.0001 B",
    "20 GB\x1b", "9" * 5000 + " GB", "٣ GB", "off", "2 0 GB", "1.2.3 GB",
])
def test_what_is_no_size_is_told_in_one_line(text: str) -> None:
    with pytest.raises(EngineError, match="no size; write one such as 20 GB") as caught:
        parse_size(text)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200


@pytest.mark.parametrize("size", [1, 7, 999, 1000, 5 * 10**8, 15 * 10**8, 20 * 10**9, 2 * 10**12])
def test_a_size_that_is_shown_can_be_read_again(size: int) -> None:
    assert parse_size(size_text(size)) == size


def test_without_a_limit_everything_stays_and_is_weighed(tmp_path) -> None:
    store = Store(tmp_path / "runs")
    assert store.usage().all == Share() and store.usage().free is not None
    sizes = {key: put(store, key, kind) for key, kind in (("a", "explore"), ("b", "explore"), ("c", "learned"))}
    store.star("b")
    assert store.limit == Limit() and keys(store) == {"a", "b", "c"}
    for known in (store.usage(), Store(store.folder).usage()):
        assert known.all == Share(3, sum(sizes.values())) and known.starred == Share(1, sizes["b"])
        assert known.kinds == {"explore": Share(2, sizes["a"] + sizes["b"]), "learned": Share(1, sizes["c"])}
        assert known.free is not None and abs(known.free - shutil.disk_usage(tmp_path).free) < 2**32
    put(store, "a", size=2 * SIZE)
    assert store.usage().all == Share(3, weighed(store.folder))


def test_the_longest_unused_make_room_until_the_new_one_fits(tmp_path) -> None:
    store = Store(tmp_path)
    put(store, "a")
    store.set_limit(room(3))
    for key in "bc":
        put(store, key)
    assert keys(store) == {"a", "b", "c"}
    assert store.get("a") is not None  # the oldest is used again
    use(store, "a", 10)
    put(store, "d")
    assert keys(store) == {"a", "c", "d"} and not (tmp_path / "b.npz").exists()
    put(store, "e", size=2 * SIZE)
    assert keys(store) == {"a", "e"} and store.usage().all.bytes == weighed(tmp_path) <= room(3)
    assert store.notes == []


def test_reading_a_result_is_using_it_and_reading_its_facts_is_not(tmp_path) -> None:
    store = Store(tmp_path)
    put(store, "a")
    os.utime(tmp_path / "a.npz", (1, 1))
    store.facts("a")
    assert store.has("a") and (tmp_path / "a.npz").stat().st_mtime == 1
    store.get("a")
    assert (tmp_path / "a.npz").stat().st_mtime > 1


def test_what_attacks_learned_makes_room_as_all_else_does(tmp_path) -> None:
    store = Store(tmp_path)
    put(store, "learned", kind="learned")
    store.set_limit(room(2))
    put(store, "a")
    put(store, "b")
    assert keys(store) == {"a", "b"}


def test_starred_results_stay_and_the_newest_too_and_it_is_told_in_one_line(
        tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)
    put(store, "a")
    put(store, "b")
    store.star("a")
    store.star("b")
    store.set_limit(room(1))
    for key in "cde":
        put(store, key)
    assert keys(store) == {"a", "b", "e"}
    (note,) = store.notes
    assert note.isprintable() and "limit of" in note and "unstar or delete some" in note
    assert [record.message for record in caplog.records] == [note]  # once, not with each result
    store.noted(note)
    put(store, "e")
    assert store.notes == [note]
    store.star("a", False)
    put(store, "f")
    assert keys(store) == {"b", "f"}


def test_a_result_larger_than_the_limit_is_kept(tmp_path) -> None:
    store = Store(tmp_path)
    store.set_limit(100)
    put(store, "a")
    assert keys(store) == {"a"} and len(store.notes) == 1
    put(store, "a")
    assert keys(store) == {"a"} and len(store.notes) == 1


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_done_stars_are_kept_the_limit_too_and_the_index_tells_the_truth(tmp_path, seed: int) -> None:
    """Compared, after each step, with a plain account of what ought to be there."""
    chance, store = random.Random(seed), Store(tmp_path)
    used: dict[str, float] = {}
    sizes: dict[str, int] = {}
    starred: set[str] = set()
    limit, soon, made_room, spared = 60_000, 0.0, 0, 0
    store.set_limit(limit)
    for _ in range(80):
        soon += 10
        step = chance.choice([*["put"] * 6, *["star"] * 3, "use", "unstar", "delete", "restart"])
        key = str(chance.randrange(14))
        if step == "put":
            sizes[key] = put(store, key, size=chance.choice([1, 5_000, 15_000]))
            used[key] = soon
            for other in sorted(set(sizes) - starred - {key}, key=lambda other: used[other]):
                if sum(sizes.values()) > limit:
                    del sizes[other]
                    made_room += 1
                    spared += any(used[star] < used[other] for star in starred - {key})
            use(store, key, soon)
        elif step == "restart":
            if chance.random() < 0.5:
                (tmp_path / "index.sqlite").write_bytes(b"x" * 4096)
            store = Store(tmp_path)
        elif step == "delete":
            store.delete(key)
            sizes.pop(key, None)
            starred.discard(key)
        elif key in sizes and step == "use":
            use(store, key, soon)
            used[key] = soon
        elif key in sizes:
            store.star(key, step == "star")
            starred = starred | {key} if step == "star" else starred - {key}
        assert keys(store) == set(sizes) == {path.stem for path in tmp_path.glob("*.npz")}
        assert {entry.key for entry in store.search(Wanted(starred=True)).entries} == starred
        assert store.usage().all == Share(len(sizes), sum(sizes.values()))
    assert made_room > 3 and spared > 0  # or else nothing was tried


def test_a_star_that_another_process_gave_keeps_a_result_that_the_index_would_remove(tmp_path) -> None:
    store = Store(tmp_path)
    put(store, "a")
    store.set_limit(room(2))
    put(store, "b")
    (tmp_path / "a.star").touch()  # as far as a process came that was killed then
    put(store, "c")
    assert keys(store) == {"a", "c"}
    assert [entry.key for entry in store.search(Wanted(starred=True)).entries] == ["a"]


def test_what_cannot_be_removed_stays_listed_and_another_goes(tmp_path, monkeypatch: pytest.MonkeyPatch,
                                                             caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)
    put(store, "a")
    store.set_limit(room(2))
    put(store, "b")
    unlink = Path.unlink

    def held(path: Path, missing_ok: bool = False) -> None:
        if path.name == "a.npz":
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", held)
    put(store, "c")
    assert keys(store) == {"a", "c"} and "a.npz cannot be removed to make room" in caplog.text


def test_a_file_that_is_gone_makes_room_as_well(tmp_path) -> None:
    store = Store(tmp_path)
    put(store, "a")
    store.set_limit(room(2))
    put(store, "b")
    (tmp_path / "a.npz").unlink()
    put(store, "c")
    assert keys(store) == {"b", "c"} and store.usage().all == Share(2, weighed(tmp_path))


def test_the_limit_outlives_the_process_and_the_index(tmp_path) -> None:
    store = Store(tmp_path / "not yet made")
    store.set_limit(5 * 10**9)
    put(store, "a")
    (store.folder / "index.sqlite").write_bytes(b"x" * 4096)
    assert Store(store.folder).limit == Limit(5 * 10**9, "limit.json")
    store.set_limit(None)
    store.set_limit(None)
    assert Store(store.folder).limit == Limit()


def test_the_environment_goes_before_what_is_kept(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    put(store, "a")
    store.set_limit(room(1))
    monkeypatch.setenv(LIMIT, "1 GB")
    put(store, "b")
    assert store.limit == Limit(10**9, LIMIT) and keys(store) == {"a", "b"}
    monkeypatch.setenv(LIMIT, " OFF ")
    assert store.limit == Limit(None, LIMIT)
    monkeypatch.setenv(LIMIT, "")
    put(store, "c")
    assert keys(store) == {"c"}


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b"{}", b'{"limit": -1}', b'{"limit": true}', b'{"limit": "20 GB"}',
                                  b'{"limit": 1e999}', b"\xff\xfe", b"[" * 10**5])
def test_a_damaged_limit_is_told_and_costs_no_result(tmp_path, kept: bytes) -> None:
    store = Store(tmp_path)
    put(store, "a")
    (tmp_path / "limit.json").write_bytes(kept)
    with pytest.raises(EngineError, match=r"limit\.json cannot be read.*set it again"):
        _ = store.limit
    put(store, "b")
    assert keys(store) == {"a", "b"} and len(store.notes) == 1
    store.set_limit(10**9)
    assert store.limit.bytes == 10**9


def test_a_variable_that_is_no_size_is_told_and_costs_no_result(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    monkeypatch.setenv(LIMIT, "plenty")
    put(store, "a")
    put(store, "b")
    (note,) = store.notes
    assert keys(store) == {"a", "b"} and note.startswith(f"{LIMIT}: 'plenty' is no size") and note.endswith("or off")


def test_a_limit_that_cannot_be_kept_is_told(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").write_text("no folder")
    with pytest.raises(EngineError, match=r"the limit could not be kept in .*PERTURBSCOPE_HOME"):
        Store(tmp_path / "runs").set_limit(10)


def test_an_index_that_is_no_longer_there_to_ask_is_told(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store := Store(tmp_path), "a")

    def locked(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error

    monkeypatch.setattr(store._index, "_attempt", locked)
    for question in (store.usage, store.search, lambda: store.entry("a"), lambda: store.star("a"),
                     lambda: store.delete("a")):
        with pytest.raises(EngineError, match=r"database is locked.*another program holds it"):
            question()
    assert store.recent() == []
