"""python -m engine runs: what a script reads, what a person reads, and one line for what is wrong."""

import json
import zipfile
from pathlib import Path

import pytest

from engine.cli import main
from engine.experiments.runs.kept import IMPORTED, read
from engine.work.room import LIMIT
from engine.work.store import Payload, Store
from tests.made import keep, ladder, made


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Two runs, and a result that is none."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(LIMIT, raising=False)
    kept = Store(tmp_path / "home" / "runs")
    kept.put("f" * 64, "learned", "no run", {}, Payload({}, {}))
    return kept


@pytest.fixture
def keys(store: Store) -> list[str]:
    return [keep(store), keep(store, ladder(attack="fgsm"), contents="b" * 64)]


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["runs", *argv]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:
    return json.loads(said(capsys, *argv, "--json"))


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    try:
        status = main(["runs", *argv])
    except SystemExit as stop:
        status = int(str(stop.code))
    captured = capsys.readouterr()
    assert status == 2 and captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_runs_alone_are_listed_and_found_by_what_they_are_called(capsys, store: Store, keys: list[str]) -> None:
    known = told(capsys, "list")
    assert [run["key"] for run in known["runs"]] == keys[::-1] and known["total"] == 2
    run = known["runs"][0]
    assert (run["kind"], run["name"], run["note"], run["starred"], run["imported"]) == ("evaluation", "", "", False,
                                                                                       False)
    assert told(capsys, "name", keys[0][:8], "Figure", "3")["name"] == "Figure 3"
    assert told(capsys, "note", keys[0], "for the second reviewer")["note"] == "for the second reviewer"
    assert [run["key"] for run in told(capsys, "list", "--text", "reviewer FIGURE")["runs"]] == keys[:1]
    assert [run["key"] for run in told(capsys, "list", "--text", "fgsm phantom")["runs"]] == keys[1:]
    assert told(capsys, "list", "--kind", "evaluation", "--limit", "1", "--offset", "1")["runs"][0]["key"] == keys[0]
    text = said(capsys, "list")
    assert "Figure 3" in text and "1 to 2 of 2" in text and "no run" not in text
    assert "Figure 3" in said(capsys, "name", keys[0], "Figure 3") and told(capsys, "name", keys[0])["name"] == ""
    assert told(capsys, "star", keys[0]) == {"starred": keys[:1]}
    assert [run["key"] for run in told(capsys, "list", "--starred")["runs"]] == keys[:1]
    assert told(capsys, "unstar", keys[0]) == {"unstarred": keys[:1]}


def test_what_a_run_found_is_shown(capsys, store: Store, keys: list[str]) -> None:
    store.call(keys[0], "mine", "one line\nand \x1b[2J another")
    text = said(capsys, "show", keys[0])
    assert "mine" in text and "\\u001b[2J another" in text and "accuracy 100.0% ->  75.0%" in text
    assert "success  25.0% of 4" in text and "python -m engine evaluate --dataset phantom-cxr" in text
    known = told(capsys, "show", keys[0])
    assert [run["accuracy_adversarial"] for run in known["runs"]] == [0.75, 0.5, 0.0]
    assert known["key"] == keys[0] and known["spec"]["dataset"] == "phantom-cxr"


def test_a_deletion_is_undone(capsys, store: Store, keys: list[str]) -> None:
    store.call(keys[0], "mine")
    assert told(capsys, "delete", *keys) == {"deleted": keys, "undo": True}
    assert told(capsys, "list")["total"] == 0
    assert "restored" in said(capsys, "restore")
    assert told(capsys, "list", "--text", "mine")["total"] == 1 and told(capsys, "list")["total"] == 2
    assert "had back" in refused(capsys, "restore")
    assert "runs restore" in said(capsys, "delete", keys[0])


def test_runs_are_compared(capsys, store: Store, keys: list[str]) -> None:
    known = told(capsys, "compare", *keys)
    assert [run["key"] for run in known["runs"]] == keys
    assert {"setting": "attacks pgd eps", "values": ["1/255, 2/255, 4/255", ""]} in known["differences"]
    assert [len(found) for found in known["found"]] == [3, 3]
    other = keep(store, ladder(model="kermany/densenet121"), contents="c" * 64)
    moved = told(capsys, "compare", keys[0], other)["matrices"]
    assert len(moved) == 3 and moved[0]["same_images"] and moved[0]["change"] == [[0] * 3] * 3
    text = said(capsys, "compare", keys[0], other)
    assert "models: phantom-cxr/resnet18 | kermany/densenet121" in text
    assert "at least two" in refused(capsys, "compare", keys[0], keys[0][:9])


def test_a_run_goes_out_as_a_file_and_comes_in_elsewhere(capsys, store: Store, keys: list[str], undrawn: None,
                                                         tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    facts = told(capsys, "export", keys[0])
    file = Path(facts["file"])
    assert file.name == f"{keys[0][:12]}.perturbscope.zip" and zipfile.is_zipfile(file) and facts["images"] == 0
    assert facts["bytes"] == file.stat().st_size
    assert {"figures/confusion-03.svg", "figures/confusion-03.png"} <= set(zipfile.ZipFile(file).namelist())
    assert "with 0 of 12 perturbed images" in said(capsys, "export", keys[0], "--out", "a.zip", "--images")
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "elsewhere"))
    new, = told(capsys, "import", str(file))["imported"]
    assert new.endswith(IMPORTED) and "(imported)" in said(capsys, "list")
    assert [rows.facts() for rows in read(Store(tmp_path / "elsewhere" / "runs"), new).runs] == [
        rows.facts() for rows in read(store, keys[0]).runs]
    assert "imported before" in refused(capsys, "import", "a.zip")
    assert told(capsys, "list")["runs"][0]["imported"] is True


@pytest.mark.parametrize(("argv", "says"), [
    (("list", "--order", "x"), "unknown order"), (("list", "--kind", "learned"), "unknown kind of run 'learned'"),
    (("list", "--limit", "0"), "--limit must be"), (("show", "ff"), "is no run but of the kind learned"),
    (("delete", "ff"), "is no run"), (("star", "zz"), "begins with 'zz'"), (("show", ""), "begins with ''"),
    (("import", "none.zip"), "none.zip cannot be read (No such file"), (("import", "/"), "cannot be read"),
    (("import", "\x00"), "cannot be read"), ((), "required"), (("name",), "required: KEY"),
    (("name", "ff", "x"), "no run"),
])
def test_what_is_wrong_is_one_line(capsys, store: Store, keys: list[str], argv: tuple[str, ...], says: str) -> None:
    assert says in refused(capsys, *argv)
    assert told(capsys, "list")["total"] == 2


def test_a_file_that_is_no_run_is_told_and_nothing_is_kept(capsys, store: Store, keys: list[str], undrawn: None,
                                                           tmp_path) -> None:
    (tmp_path / "wrong.zip").write_bytes(b"no zip")
    told(capsys, "export", keys[0], "--out", str(tmp_path / "right.zip"))
    line = refused(capsys, "import", str(tmp_path / "right.zip"), str(tmp_path / "wrong.zip"))
    assert "wrong.zip: this is no run exported by Perturbscope" in line and told(capsys, "list")["total"] == 2
    assert "could not be written" in refused(capsys, "export", keys[0], "--out", str(tmp_path / "no" / "x.zip"))


NASTY = "\x1b]0;mine\x07 \x9b2J \u202egnp \u2028 \udcff \x00 end"


def test_texts_from_outside_do_nothing_to_a_terminal(capsys, store: Store) -> None:
    rows = made([0, 1], [0, 1], [1, 1], model=NASTY.replace("\udcff", ""), classes=(f"no{NASTY}", "yes"))
    key, other = keep(store, [rows]), keep(store, contents="b" * 64)
    store.call(key, NASTY, NASTY)
    for argv in (("list",), ("show", key), ("star", key), ("compare", key, other), ("note", key, NASTY),
                 ("name", key, NASTY), ("delete", key), ("restore",)):
        for form in ((), ("--json",)):
            if (*argv, *form) not in {("delete", key, "--json"), ("restore", "--json")}:
                assert all(line.isprintable() for line in said(capsys, *argv, *form).split("\n"))


def test_a_home_that_was_never_used_holds_nothing_and_none_is_made(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    assert told(capsys, "list") == {"runs": [], "total": 0, "offset": 0}
    assert "no such runs are kept" in said(capsys, "list")
    refused(capsys, "restore")
    assert not (tmp_path / "home").exists()
