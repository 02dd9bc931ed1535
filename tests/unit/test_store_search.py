"""Kept results are found by kind and text, page by page, and nothing large is read for it."""

import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from engine.errors import EngineError
from engine.work.entries import Order, Wanted
from engine.work.files import Files
from engine.work.store import Payload, Store

MODELS, ATTACKS = ("phantom-cxr/resnet18", "kermany/densenet121"), ("pgd", "fab", "Square")
DIGEST = "fabfab" + "0" * 58


def spec(attack: str = "pgd", model: str = MODELS[0]) -> dict:
    return {"source": {"dataset": "phantom-cxr", "split": "test"}, "model": model,
            "attack": {"attack": attack, "eps": 0.1}, "weights": DIGEST, "files": [["map", "CT_COVID=COVID-19"]]}


def put(store: Store, key: str, title: str = "", kind: str = "explore", size: int = 1, **parts: str) -> None:
    payload = Payload({"of": key}, {"a": np.zeros(size, np.uint8)})
    store.put(key, kind, title or f"title of {key}", spec(**parts), payload)


def keys(store: Store, text: str = "", **wanted: object) -> list[str]:
    return [entry.key for entry in store.search(Wanted(text=text, **wanted)).entries]  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "found"), [
    ("", {"a", "b", "c"}), ("PGD", {"a", "c"}), ("square", {"b"}), ("kermany", {"b"}), ("pgd kermany", set()),
    ("title densenet121 SQUARE", {"b"}), ("ct_covid", {"a", "b", "c"}), ("Ünïcode", {"c"}), ("ÜNÏCODE pgd", {"c"}),
    ("%", set()), ("_", {"a", "b", "c"}), ("'", set()), ("dataset", set()), ("attack", set()), ("0000", set()),
    ("fab", set()), ("nothing", set()), (" ".join(f"word{number}" for number in range(5000)), set()), ("\udcff", set()),
])
def test_all_words_are_looked_for_in_titles_and_values_whatever_their_case(tmp_path, text: str, found: set) -> None:
    put(store := Store(tmp_path), "a")
    put(store, "b", attack="Square", model="kermany/densenet121")
    put(store, "c", "a title in ünïcode")
    assert set(keys(store, text)) == found


@pytest.mark.parametrize("seed", range(3))
def test_what_is_found_is_what_a_plain_look_at_all_results_finds(tmp_path, seed: int) -> None:
    chance, store = random.Random(seed), Store(tmp_path)
    kept = {}
    for number in range(25):
        key, kind = f"{number:02}", chance.choice(["explore", "learned"])
        attack, model, size = chance.choice(ATTACKS), chance.choice(MODELS), chance.choice([1, 2000, 9000])
        put(store, key, kind=kind, size=size, attack=attack, model=model)
        if starred := chance.random() < 0.3:
            store.star(key)
        kept[key] = kind, f"title of {key} {attack} {model}".lower(), starred, (tmp_path / f"{key}.npz").stat().st_size
    for _ in range(40):
        kind = chance.choice([None, "explore", "learned", "none"])
        text = chance.choice(["", "pgd", "resnet18 fab", "TITLE square", "of 1"])
        starred, order = chance.random() < 0.3, chance.choice(list(Order))
        limit, offset = chance.randrange(1, 12), chance.randrange(0, 8)
        names = [key for key, (k, words, star, _) in kept.items() if kind in (None, k) and star >= starred
                 and all(word in words for word in text.lower().split())]
        if order is Order.LARGEST:
            names.sort(key=lambda key: -kept[key][3])
        elif order is Order.NEWEST:
            names.reverse()
        page = store.search(Wanted(kind, text, starred, order), limit, offset)
        assert [entry.key for entry in page.entries] == names[offset:offset + limit]
        assert page.total == len(names)
        assert all((entry.kind, entry.starred, entry.bytes) == (kept[entry.key][0], *kept[entry.key][2:])
                   for entry in page.entries)


def test_pages_after_the_last_are_empty_and_no_number_is_too_large(tmp_path) -> None:
    put(store := Store(tmp_path), "a")
    assert store.search(limit=10**30).total == 1
    page = store.search(limit=1, offset=10**30)
    assert page.entries == [] and page.total == 1


def test_several_are_deleted_together_and_their_stars_with_them(tmp_path) -> None:
    store = Store(tmp_path)
    for key in "abc":
        put(store, key)
        store.star(key)
    store.delete("a", "c", "never kept")
    assert keys(store) == ["b"] and store.usage().all.results == 1
    put(store, "a")
    assert keys(store, starred=True) == ["b"]


def test_what_cannot_be_deleted_stays_listed(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    for key in "abc":
        put(store, key)
    unlink = Path.unlink

    def held(path: Path, missing_ok: bool = False) -> None:
        if path.name == "b.npz":
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", held)
    with pytest.raises(EngineError, match=r"could not be deleted.*Permission denied"):
        store.delete("a", "b", "c")
    assert keys(store) == ["c", "b"] == keys(Store(tmp_path))


def test_the_beginning_of_a_key_is_enough_where_no_other_begins_so(tmp_path) -> None:
    store = Store(tmp_path)
    for key in ("abc", "abd", "ab", "x_z", "xyz"):
        put(store, key)
    assert store.entry("abd").key == "abd" and store.entry("ab").key == "ab" and store.entry("x_").key == "x_z"
    for wrong, says in (("a", "several results' keys: ab, abc, abd; write more"), ("x", "x_z, xyz"),
                        ("", "begins with ''"), ("%", "begins with '%'"), ("b", "begins with 'b'"),
                        ("\x1b[2J", r"\\x1b"), ("\udcff", "begins")):
        with pytest.raises(EngineError, match=says):
            store.entry(wrong)
    with pytest.raises(EngineError, match="store list"):
        Store(tmp_path / "never made").entry("a")


def test_facts_are_read_without_arrays_and_arrays_by_name(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.put("k", "explore", "k", {}, Payload({"n": 1}, {"a": np.arange(3), "b": np.arange(4)}))
    found = store.get("k", ["b", "no such"])
    assert found is not None and found.facts == {"n": 1} and list(found.arrays) == ["b"]
    whole = (tmp_path / "k.npz").read_bytes()
    place = whole.index(np.arange(3).tobytes())
    (tmp_path / "k.npz").write_bytes(whole[:place] + b"\xff" + whole[place + 1:])  # "a" cannot be read any more
    assert store.facts("k") == {"n": 1} and store.get("k", ["b"]) is not None
    assert store.facts("never kept") is None
    assert store.get("k") is None


def test_lists_and_their_mending_hold_no_facts_in_memory(tmp_path) -> None:
    store, large = Store(tmp_path), {"rows": "x" * 1_000_000}
    for number in range(12):
        store.put(str(number), "explore", "t", spec(), Payload(large, {}))
    (tmp_path / "index.sqlite").unlink()
    again = Store(tmp_path)
    tracemalloc.start()
    try:
        assert len(again.search().entries) == 12  # listed again from the files first
        mended = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        assert len(again.search(Wanted(text="pgd")).entries) == 12 and again.usage().all.results == 12
        listed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert listed < 200_000 and mended < 6_000_000
    assert (tmp_path / "index.sqlite").stat().st_size < 200_000


def test_asking_looks_at_the_files_of_the_page_alone(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    for number in range(30):
        put(store, str(number))
    looked: list[str] = []
    has = Files.has
    monkeypatch.setattr(Files, "has", lambda files, key: looked.append(key) or has(files, key))
    for walk in ("glob", "iterdir", "stat"):
        monkeypatch.setattr(Path, walk, lambda *_: pytest.fail("walks over files"))
    assert len(store.search(limit=4, offset=3).entries) == 4 and len(looked) == 4
    monkeypatch.setattr(Files, "free", lambda files: 1)
    assert store.usage().all.results == 30 and len(looked) == 4


def test_a_title_with_bytes_that_are_no_text_is_kept_and_found(tmp_path) -> None:
    put(store := Store(tmp_path), "k", "folder \udcff\x1b[2J of mine")
    assert keys(store, "of mine") == ["k"] and store.get("k") is not None
    (tmp_path / "index.sqlite").unlink()
    assert keys(Store(tmp_path), "of mine") == ["k"]


def test_a_damaged_line_hides_no_other(tmp_path) -> None:
    put(store := Store(tmp_path), "a")
    put(store, "b")
    store._index.ask(lambda index: index.execute("update results set spec = '{' where key = 'a'"))
    assert keys(store) == ["b"] and store.search().total == 1
