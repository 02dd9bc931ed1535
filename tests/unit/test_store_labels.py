"""What people call results, and note of them, outlives the process, the index and the result itself."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.errors import EngineError
from engine.work.entries import Label, Wanted
from engine.work.store import Payload, Store


def put(store: Store, key: str = "k", kind: str = "evaluation") -> None:
    store.put(key, kind, f"title of {key}", {"model": "phantom-cxr/resnet18"}, Payload({}, {"a": np.arange(9)}))


def found(store: Store, text: str = "", **wanted: object) -> list[str]:
    return [entry.key for entry in store.search(Wanted(text=text, **wanted)).entries]  # type: ignore[arg-type]


def overwritten(path: Path) -> None:
    path.write_bytes(b"x" * 4096)


def test_a_name_and_a_note_are_shown_and_found(tmp_path) -> None:
    put(store := Store(tmp_path), "a")
    put(store, "b")
    assert store.entry("a").called == "title of a"
    assert store.call("a", name="  Figure\n 3 ") == Label("Figure 3", "")
    assert store.call("a", note="for the Reviewer\nsecond line") == Label("Figure 3", "for the Reviewer\nsecond line")
    assert store.entry("a").called == "Figure 3" and store.entry("a").label.note.endswith("second line")
    assert found(store, "FIGURE reviewer") == ["a"] and found(store, "figure resnet18 title") == ["a"]
    store.call("a", name="")
    assert store.entry("a").label == Label("", "for the Reviewer\nsecond line") and found(store, "figure") == []
    store.call("a", note="")
    assert list(tmp_path.glob("*.label")) == [] and found(store, "reviewer") == [] and len(found(store)) == 2


@pytest.mark.parametrize("damage", [overwritten, Path.unlink])
@pytest.mark.parametrize("restarted", [True, False])
def test_names_outlive_the_process_and_the_index(tmp_path, damage: Callable[[Path], None], restarted: bool) -> None:
    store = Store(tmp_path)
    for key in "abc":
        put(store, key)
    store.call("b", "Figure 3", "a note")
    assert Store(tmp_path).entry("b").label == Label("Figure 3", "a note")
    damage(tmp_path / "index.sqlite")
    if restarted:
        store = Store(tmp_path)
    assert store.entry("b").label == Label("Figure 3", "a note") and found(store, "figure") == ["b"]
    put(store, "b")  # computed again
    assert store.entry("b").called == "Figure 3"


def test_a_damaged_result_has_its_name_again_once_it_is_computed_again(tmp_path) -> None:
    put(store := Store(tmp_path))
    store.call("k", "mine")
    (tmp_path / "k.npz").write_bytes(b"no zip")
    assert store.get("k") is None and found(store) == []
    put(store)
    assert store.entry("k").called == "mine"
    store.delete("k")
    put(store)
    assert store.entry("k").called == "title of k"


def test_an_index_of_the_second_version_takes_names(tmp_path) -> None:
    put(store := Store(tmp_path))
    store.call("k", "mine")
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection, connection:
        for column in ("name", "note"):
            connection.execute(f"alter table results drop column {column}")
        connection.execute("pragma user_version = 2")
    assert Store(tmp_path).entry("k").called == "mine"


@pytest.mark.parametrize("text", [b"", b"[]", b'{"name": 7}', b"\xff", b'{"note": ["a"]}'])
def test_a_damaged_name_is_none(tmp_path, text: bytes) -> None:
    put(Store(tmp_path))
    (tmp_path / "k.label").write_bytes(text)
    (tmp_path / "index.sqlite").unlink()
    assert Store(tmp_path).entry("k").label == Label()


def test_a_name_that_is_no_text_hides_no_result(tmp_path) -> None:
    put(Store(tmp_path))
    (tmp_path / "k.label").write_bytes(b'{"name": "\\udcff"}')
    (tmp_path / "index.sqlite").unlink()
    assert Store(tmp_path).entry("k").called == "\\udcff"


def test_what_cannot_be_a_name_is_told(tmp_path) -> None:
    put(store := Store(tmp_path))
    with pytest.raises(EngineError, match="there is no kept result x"):
        store.call("x", "mine")
    with pytest.raises(EngineError, match="a name has at most 100 characters, and this one has 101; shorten it"):
        store.call("k", "x" * 101)
    with pytest.raises(EngineError, match="a note has at most 5000"):
        store.call("k", note="x" * 5001)
    assert store.call("k", "\udcff\x00").name == "\\udcff\x00" and found(store, "udcff") == ["k"]


def test_results_of_some_kinds_are_looked_for_together(tmp_path) -> None:
    store = Store(tmp_path)
    for key, kind in (("a", "evaluation"), ("b", "curve"), ("c", "learned"), ("d", "curve")):
        put(store, key, kind)
    assert set(found(store, among=("evaluation", "curve"))) == {"a", "b", "d"}
    assert set(found(store, among=("evaluation", "curve"), kind="curve")) == {"b", "d"}
    assert found(store, among=()) == [] and len(found(store, among=None)) == 4
