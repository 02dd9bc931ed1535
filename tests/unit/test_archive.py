"""A run goes out as one file and comes back the same; a file from elsewhere is not believed in anything."""

import copy
import io
import json
import random
import stat
import struct
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.attacks.rows import COLUMNS
from engine.attacks.spec import make_spec
from engine.errors import EngineError
from engine.experiments.runs import archive
from engine.experiments.runs.archive import export, imported, open_archive
from engine.experiments.runs.kept import IMPORTED, read
from engine.experiments.runs.pictures import Pictures, pictures_of, table_of
from engine.work.entries import Label
from engine.work.store import Store
from tests.made import keep, ladder, made
from tests.reported import kept_of

Members = dict[str, bytes]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "runs")


def exported(store: Store, key: str, pictures: tuple[Pictures, ...] = ()) -> bytes:
    file = io.BytesIO()
    export(store, read(store, key), file, pictures)
    return file.getvalue()


def some_pictures() -> Pictures:
    return Pictures(1, 2, np.linspace(0, 1, 2 * 3 * 5 * 4, dtype=np.float32).reshape(2, 3, 5, 4))


@pytest.fixture
def data(store: Store) -> bytes:
    """A run of three attacks, with two images."""
    return exported(store, keep(store), (some_pictures(),))


def members(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def zipped(files: Members, **options: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", options.get("packed", zipfile.ZIP_DEFLATED)) as into:
        for name, content in files.items():
            into.writestr(name, content)
    return file.getvalue()


def refused(tmp_path, data: bytes) -> str:
    """What is said of the file, of which nothing was kept."""
    elsewhere = Store(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="this is no run exported by Perturbscope") as caught:
        imported(elsewhere, open_archive(io.BytesIO(data)))
    assert not elsewhere.folder.exists() and str(caught.value).isprintable() and len(str(caught.value)) <= 500
    return str(caught.value)


# ---- out and back


def test_a_run_comes_back_as_it_was(store: Store, tmp_path) -> None:
    key = keep(store)
    store.call(key, "Figure 3", "a note\nof two lines")
    elsewhere, before = Store(tmp_path / "elsewhere"), read(store, key)
    new = imported(elsewhere, open_archive(io.BytesIO(exported(store, key, (some_pictures(),)))))
    after = read(elsewhere, new)
    assert after.imported and new.endswith(IMPORTED) and not before.imported
    assert (after.entry.kind, after.entry.title, after.entry.spec) == (
        before.entry.kind, before.entry.title, before.entry.spec)
    assert after.entry.label == Label("Figure 3", "a note\nof two lines")
    for rows, others in zip(before.runs, after.runs, strict=True):
        assert rows.facts() == others.facts() and rows.identities == others.identities
        assert all(np.array_equal(getattr(rows, name), getattr(others, name), equal_nan=True) for name in COLUMNS)
    found, = pictures_of(elsewhere, after)
    assert (found.run, found.start) == (1, 2) and np.array_equal(found.images, some_pictures().images)
    again = exported(elsewhere, new, (found,))
    assert imported(Store(tmp_path / "third"), open_archive(io.BytesIO(again))) == new


def test_the_file_is_for_other_programs_too(store: Store, data: bytes) -> None:
    files = members(data)
    assert {"spec.json", "rows.parquet", "versions.json", "arrays/labels.npy", "pictures/1-2.npy"} <= files.keys()
    kept = read(store, store.recent()[0].key)
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(files["rows.parquet"])), table_of(kept),
                                  check_categorical=False, check_dtype=False)
    spec = json.loads(files["spec.json"])
    assert spec["spec"] == kept.entry.spec and spec["kind"] == "evaluation"
    assert json.loads(files["versions.json"])["computed"] == [
        {"model": "phantom-cxr/resnet18", "device": "CPU", "numpy": np.__version__}]


def test_figures_go_out_and_are_not_read_when_they_come_in(store: Store, tmp_path, data: bytes) -> None:
    kept, file = read(store, store.recent()[0].key), io.BytesIO()
    export(store, kept, file, (some_pictures(),), {"confusion-01.svg": b"<svg/>", "confusion-01.png": b"\x89PNG"})
    assert members(file.getvalue())["figures/confusion-01.svg"] == b"<svg/>"
    for figure in (b"<svg/>", b"<script>alert(1)</script>", bytes(10**6)):
        given = zipped({**members(data), "figures/confusion-01.svg": figure})
        found = open_archive(io.BytesIO(given))
        assert found.key == open_archive(io.BytesIO(data)).key, "a run is its rows, whatever is drawn beside them"
    elsewhere = Store(tmp_path / "elsewhere")
    after = read(elsewhere, imported(elsewhere, found))
    assert not any("figure" in name for name in (*after.payload.arrays, *after.payload.facts))


@pytest.mark.parametrize(("name", "values"), [
    ("film_0", np.zeros((2, 4), np.float16)), ("film_0", np.full((2, 1, 4, 4), np.nan, np.float16)),
    ("find_image", np.array([0, 9, 1, 2])), ("find_image", np.array([1, 0, 2, 3])), ("find_l2", np.full(4, np.inf)),
])
def test_walks_are_walks(store: Store, tmp_path, name: str, values: np.ndarray) -> None:
    whole = exported(store, kept_of(store, "query-curve"))
    open_archive(io.BytesIO(whole))
    assert "its fi" in refused(tmp_path, zipped({**members(whole), f"arrays/{name}.npy": npy(values)}))


def test_refusals_and_models_of_other_classes_come_back(store: Store, tmp_path) -> None:
    runs = [made([0, 1, 2], [0, -1, 2], [-1, -1, 0]), made([0, 1], [0, 1], [1, 1], classes=("no", "yes"), names="x")]
    new = imported(other := Store(tmp_path / "x"), open_archive(io.BytesIO(exported(store, keep(store, runs)))))
    assert [rows.facts() for rows in read(other, new).runs] == [rows.facts() for rows in runs]


def test_an_imported_run_is_never_taken_for_what_was_computed_here(store: Store, data: bytes) -> None:
    own = store.recent()[0].key
    before = (store.folder / f"{own}.npz").read_bytes()
    new = imported(store, open_archive(io.BytesIO(data)))
    assert new != own and (store.folder / f"{own}.npz").read_bytes() == before
    with pytest.raises(EngineError, match="was imported before"):
        imported(store, open_archive(io.BytesIO(data)))
    store.delete(own)
    assert not store.has(own) and store.has(new)


# ---- hostile files


def test_what_is_no_file_of_ours_is_told(tmp_path, data: bytes) -> None:
    for wrong in (b"", b"PK", b"no zip" * 1000, b"\x93NUMPY", b"PK\x05\x06" + bytes(18)):
        assert "zip" in (said := refused(tmp_path, wrong)) or "lacks" in said
    assert "lacks arrays/labels.npy" in refused(tmp_path, zipped({n: d for n, d in members(data).items()
                                                                  if n != "arrays/labels.npy"}))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_told(tmp_path, data: bytes, share: float) -> None:
    assert "cut short" in refused(tmp_path, data[:int(len(data) * share)])


@pytest.mark.parametrize("seed", range(40))
def test_a_file_with_another_byte_somewhere_is_refused_or_the_same(tmp_path, data: bytes, seed: int) -> None:
    chance = random.Random(seed)
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    try:
        found = open_archive(io.BytesIO(bytes(changed)))
    except EngineError as error:
        assert str(error).isprintable()
        return
    assert found.key == open_archive(io.BytesIO(data)).key


@pytest.mark.parametrize("name", ["../evil.npy", "/etc/passwd", "arrays/../../evil.npy", "C:\\evil", "arrays\\x.npy",
                                  "arrays/", "index.sqlite", "arrays/x.npz", "pictures/1.npy", "spec.JSON", "a" * 3000,
                                  "\x1b[2J", "figures/<script>.svg", "arrays/x.npy\n"])
def test_no_name_in_it_is_a_path(tmp_path, data: bytes, name: str) -> None:
    assert "which no such file has" in refused(tmp_path, zipped({**members(data), name: b"x"}))
    assert [path.name for path in tmp_path.rglob("*evil*")] == []


def test_a_file_that_holds_one_name_twice_is_refused(tmp_path, data: bytes) -> None:
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as into, pytest.warns(UserWarning, match="Duplicate"):
        into.writestr("spec.json", b"{}")
    assert "holds spec.json twice" in refused(tmp_path, file.getvalue())


def test_links_and_other_ways_to_pack_are_refused(tmp_path, data: bytes) -> None:
    file = io.BytesIO(data)
    link = zipfile.ZipInfo("figures/link.svg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "a") as into:
        into.writestr(link, "/etc/passwd")
    assert "is a link" in refused(tmp_path, file.getvalue())
    for packed in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert "packed in a way" in refused(tmp_path, zipped(members(data), packed=packed))


def test_a_bomb_is_refused_before_anything_is_unpacked(tmp_path, data: bytes, monkeypatch) -> None:
    bomb = zipped({**members(data), "figures/bomb.svg": bytes(120 * 10**6)})
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    assert len(bomb) < 10**6 and "would take 120 MB when it is unpacked" in refused(tmp_path, bomb)


def test_a_member_that_is_larger_than_it_says_is_refused(tmp_path, data: bytes) -> None:
    """The list of contents names a small size, and zeros without end come out of it."""
    files = members(data)
    files["arrays/labels.npy"] = files["arrays/labels.npy"] + bytes(30 * 10**6)
    whole = bytearray(zipped(files))
    small = struct.pack("<I", 200)
    for at in _places(bytes(whole), struct.pack("<I", len(files["arrays/labels.npy"]))):
        whole[at:at + 4] = small
    assert "arrays/labels.npy" in (said := refused(tmp_path, bytes(whole))) or "damaged" in said


def _places(data: bytes, what: bytes) -> list[int]:
    return [at for at in range(len(data) - 3) if data[at:at + 4] == what]


def test_endless_lists_of_contents_are_refused_before_they_are_read(tmp_path, data: bytes, monkeypatch) -> None:
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("it was listed"))
    end = data.rindex(b"PK\x05\x06")
    many = data[:end + 8] + b"\xff\xff\xff\xff" + data[end + 12:]
    assert "more than 5000 files" in refused(tmp_path, many)
    long = data[:end + 12] + b"\xff\xff\xff\x7f" + data[end + 16:]
    assert "more than 5000 files" in refused(tmp_path, long)
    large = data[:end] + b"PK\x06\x07" + bytes(16) + data[end:]
    assert "list of contents" in refused(tmp_path, large)
    assert "list of contents" in refused(tmp_path, data[:end] + data[end:] * 2)
    monkeypatch.setattr(archive, "MOST_BYTES", len(data) - 1)
    assert "at most" in refused(tmp_path, data)


def npy(values: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def header(said: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(said)) + said.encode() + data


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize(("content", "says"), [
    (npy(np.array([Evil()] * 12, object), allow_pickle=True), "only numbers and texts"),
    (header("{'descr': '|O', 'fortran_order': False, 'shape': (12,), }", bytes(96)), "only numbers and texts"),
    (header("{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }", bytes(96)), "other sizes"),
    (header("{'descr': '<i8', 'fortran_order': False, 'shape': (-12,), }", bytes(96)), "other sizes"),
    (header("{'descr': '<i8', 'fortran_order': False, 'shape': (-1, -12), }", bytes(96)), "other sizes"),
    (header("__import__('os').abort()"), "no array"), (header("[" * 60_000), "no array"), (b"", "no array"),
    (b"\x93NUMPY\x09\x00", "no array"), (npy(np.zeros(12, "<i8"))[:-1], "other sizes"),
    (npy(np.zeros(12, "<i8")) + b"x", "other sizes"), (npy(np.zeros(11, "<i8")), "labels"),
    (npy(np.zeros((12, 1), "<i8")), "labels"), (npy(np.zeros(12)), "labels"), (npy(np.full(12, 3)), "labels"),
    (npy(np.full(12, -1)), "labels"), (npy(np.array(["0"] * 12)), "labels"),
    (npy(np.zeros(12, "datetime64[s]")), "only numbers"), (npy(np.zeros(12, [("a", "<i8")])), "only numbers"),
    (npy(np.zeros(12, complex)), "only numbers"),
])
def test_arrays_are_what_they_must_be(tmp_path, data: bytes, content: bytes, says: str) -> None:
    assert says in refused(tmp_path, zipped({**members(data), "arrays/labels.npy": content}))


@pytest.mark.parametrize(("name", "values"), [
    ("images", np.full(12, 4, np.int32)), ("images", np.full(12, -1, np.int32)), ("identities", np.zeros(4)),
    ("identities", np.array(["a", "b", "\udcff", "c"])), ("digests", np.array(["a"] * 5)),
    ("logits_clean", np.zeros((12, 2), np.float32)), ("logits_clean", np.full((12, 3), np.nan, np.float32)),
    ("logits_8bit", np.full((12, 3), np.inf, np.float32)), ("l2", np.full(12, np.nan)), ("linf", np.full(12, -1.0)),
    ("queries", np.full(12, -1)), ("refused_clean", np.zeros(12, int)),
])
def test_columns_are_what_they_must_be(tmp_path, data: bytes, name: str, values: np.ndarray) -> None:
    what = "identities" if name == "digests" else name
    assert what in refused(tmp_path, zipped({**members(data), f"arrays/{name}.npy": npy(values)}))


@pytest.mark.parametrize("values", [
    np.zeros((2, 3, 5, 4)), np.full((2, 3, 5, 4), 2, np.float32), np.full((2, 3, 5, 4), np.nan, np.float32),
    np.zeros((3, 3, 5, 4), np.float32), np.zeros((2, 4, 5, 4), np.float32), np.zeros((0, 3, 5, 4), np.float32),
])
def test_pictures_are_pictures(tmp_path, data: bytes, values: np.ndarray) -> None:
    assert "pictures_1_2" in refused(tmp_path, zipped({**members(data), "pictures/1-2.npy": npy(values)}))


def changed(data: bytes, file: str, place: str, value: Any) -> bytes:
    """With another value there in a JSON file; the value `...`: with nothing there."""
    files = members(data)
    facts = copy.deepcopy(json.loads(files[file]))
    *way, last = (int(part) if part.isdecimal() else part for part in place.split("."))
    inner = facts
    for part in way:
        inner = inner[part]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return zipped({**files, file: json.dumps(facts).encode()})


ODD = [None, True, -1, 1.5, float("nan"), float("inf"), 10**30, "", "x" * 10_000, "../../x", "\0", [], {}, [[]], ...]
PLACES = [*(("spec.json", place) for place in ("format", "kind", "title", "name", "note", "created", "spec",
                                                "spec.attacks", "spec.attacks.0", "spec.attacks.0.attack",
                                                "spec.attacks.0.params", "spec.attacks.0.eps", "spec.indices",
                                                "spec.contents")),
          *(("facts.json", f"runs{place}") for place in ("", ".0", ".0.n", ".0.classes", ".0.classes.0", ".0.spec",
                                                          ".0.provenance", ".0.provenance.batches", ".0.seconds",
                                                          ".0.tally", ".0.tally.notes", ".0.spec.attack",
                                                          ".0.spec.norm", ".0.spec.target", ".0.spec.batch"))]


@pytest.mark.parametrize(("file", "place"), PLACES)
def test_a_value_that_does_not_belong_there_is_refused_or_read_as_it_is(tmp_path, data: bytes, file: str,
                                                                        place: str) -> None:
    taken = 0
    for number, value in enumerate(ODD):
        bad = changed(data, file, place, value)
        elsewhere = Store(tmp_path / str(number))
        try:
            found = open_archive(io.BytesIO(bad))
        except EngineError as error:
            assert str(error).isprintable() and len(str(error)) <= 500
            continue
        taken += 1
        kept = read(elsewhere, imported(elsewhere, found))
        assert all(rows.summary() for rows in kept.runs) and len(table_of(kept)) == 12
        assert exported(elsewhere, kept.entry.key)
    assert taken < len(ODD)


def test_attacks_that_nobody_could_ask_for_are_refused(tmp_path, data: bytes) -> None:
    for place, value, says in (("attack", "no such", "unknown attack"), ("eps", 7.0, "eps"), ("norm", "l7", "norm"),
                               ("params", {"steps": -4}, "steps"), ("params", {"no such": 1}, "no such"),
                               ("mask", "../x.png", "mask"), ("defenses", "evil()", "defense")):
        for file, where in (("spec.json", "spec.attacks.0."), ("facts.json", "runs.0.spec.")):
            assert says in refused(tmp_path, changed(data, file, where + place, value))
    assert "kind 'learned'" in refused(tmp_path, changed(data, "spec.json", "kind", "learned"))


@pytest.mark.parametrize("text", [b"", b"\xff", b"{", b"[" * 100_000, b"[]", b"3", b" " * 5 * 2**20,
                                  b'{"a": 1' + b"0" * 5000])
@pytest.mark.parametrize("file", ["spec.json", "facts.json"])
def test_what_is_no_json_of_ours_is_told(tmp_path, data: bytes, file: str, text: bytes) -> None:
    assert file in refused(tmp_path, zipped({**members(data), file: text}))


def test_the_ladder_of_these_tests_is_a_run(store: Store) -> None:
    kept = read(store, keep(store, ladder()))
    assert len(kept.runs) == 3 and asdict(kept.runs[0].spec) == asdict(make_spec("pgd", eps=1 / 255))


def test_images_that_are_kept_with_the_units_go_along(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path))
    from engine.experiments.sweeps import evaluation_task, sweep_of
    from engine.experiments.units import images_task
    from engine.progress import Progress
    from engine.work.kinds import Bench

    store = Store(tmp_path / "runs")
    bench = Bench("cpu", store, Progress(), lambda task: task.kept(store))
    attacks = [make_spec("fgsm", eps=eps / 255, batch=2) for eps in (1, 2)]
    sweep = sweep_of("phantom-cxr", "test", (5, 0, 17), ("phantom-cxr/resnet18",), attacks)
    task = evaluation_task(sweep, "cpu")
    bench.result(task)
    images = [bench.result(images_task(unit, "cpu")).arrays["adversarial"] for unit in (sweep.plan()[1][1],
                                                                                        sweep.plan()[0][0])]
    kept = read(store, task.key)
    found = list(pictures_of(store, kept))
    assert [(some.run, some.start) for some in found] == [(0, 0), (1, 2)]
    assert np.array_equal(found[0].images, images[1]) and np.array_equal(found[1].images, images[0])
    elsewhere = Store(tmp_path / "elsewhere")
    new = read(elsewhere, imported(elsewhere, open_archive(io.BytesIO(exported(store, task.key, tuple(found))))))
    assert [np.array_equal(a.images, b.images) for a, b in zip(pictures_of(elsewhere, new), found, strict=True)] == [
        True, True]
    assert list(table_of(kept)["image"][:3]) == list(sweep.images)
