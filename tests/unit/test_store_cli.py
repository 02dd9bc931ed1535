"""python -m engine store: what a script reads, what a person reads, and one line for what is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.cli import main
from engine.work.room import LIMIT
from engine.work.store import Payload, Store

ROOT = Path(__file__).resolve().parents[2]
KEYS = ("aa11" + "0" * 60, "aa22" + "0" * 60, "bb33" + "0" * 60)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Three results, the last the newest and largest."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path))
    monkeypatch.delenv(LIMIT, raising=False)
    kept = Store(tmp_path / "runs")
    for number, (key, kind) in enumerate(zip(KEYS, ("explore", "explore", "learned"), strict=True)):
        payload = Payload({"eps": number}, {"a": np.zeros(1000 * number, np.uint8)})
        kept.put(key, kind, f"title {number}", {"model": f"net{number}"}, payload)
    return kept


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["store", *argv]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def read(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:
    return json.loads(said(capsys, *argv, "--json"))


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    try:
        status = main(["store", *argv])
    except SystemExit as stop:
        status = int(str(stop.code))
    captured = capsys.readouterr()
    assert status == 2 and captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def listed(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    return [KEYS.index(result["key"]) for result in read(capsys, "list", *argv)["results"]]


def test_a_list_is_by_kind_text_and_star_in_any_order_and_paged(capsys, store: Store) -> None:
    store.star(KEYS[1])
    assert listed(capsys) == [2, 1, 0]
    assert listed(capsys, "--kind", "explore") == [1, 0]
    assert listed(capsys, "--text", "NET2 title") == [2]
    assert listed(capsys, "--starred") == [1]
    assert listed(capsys, "--order", "oldest", "--limit", "1", "--offset", "1") == [1]
    assert listed(capsys, "--order", "largest") == [2, 1, 0]
    whole = read(capsys, "list", "--limit", "1")
    assert whole["total"] == 3 and whole["offset"] == 0
    (entry,) = whole["results"]
    assert entry == {"key": KEYS[2], "kind": "learned", "title": "title 2", "spec": {"model": "net2"}, "starred": False,
                     "bytes": (store.folder / f"{KEYS[2]}.npz").stat().st_size, "created": entry["created"]}
    lines = said(capsys, "list").splitlines()
    assert len(lines) == 4 and lines[0].startswith("bb33") and "title 2" in lines[0] and lines[1][14] == "*"
    assert "1 to 3 of 3" in lines[-1]
    assert "none of 3" in said(capsys, "list", "--offset", "7")
    assert "no such results are kept" in said(capsys, "list", "--text", "nothing")


def test_one_is_shown_with_its_facts(capsys, store: Store) -> None:
    assert read(capsys, "show", "bb")["facts"] == {"eps": 2}
    text = said(capsys, "show", "aa2")
    assert KEYS[1] in text and '"model": "net1"' in text and '"eps": 1' in text


def test_several_are_starred_unstarred_and_deleted_by_their_beginnings(capsys, store: Store) -> None:
    assert read(capsys, "star", "aa1", "bb", "aa11") == {"starred": [KEYS[0], KEYS[2]]}
    assert listed(capsys, "--starred") == [2, 0]
    assert read(capsys, "unstar", "aa1", "aa2") == {"unstarred": [KEYS[0], KEYS[1]]}
    assert listed(capsys, "--starred") == [2]
    assert "deleted bb33" in said(capsys, "delete", "bb")
    assert read(capsys, "delete", KEYS[0]) == {"deleted": [KEYS[0]]}
    assert listed(capsys) == [1] and Store(store.folder).recent()[0].key == KEYS[1]


@pytest.mark.parametrize("command", ["delete", "star", "unstar"])
def test_where_one_name_is_wrong_nothing_is_done(capsys, store: Store, command: str) -> None:
    store.star(KEYS[1])
    assert "several results' keys: aa11" in refused(capsys, command, "bb", "aa")
    assert "begins with 'zz'" in refused(capsys, command, KEYS[1], "zz")
    assert listed(capsys) == [2, 1, 0] and listed(capsys, "--starred") == [1]


def test_disk_use_is_told(capsys, store: Store) -> None:
    store.star(KEYS[2])
    known = read(capsys, "usage")
    sizes = [(store.folder / f"{key}.npz").stat().st_size for key in KEYS]
    assert known["all"] == {"results": 3, "bytes": sum(sizes)} and known["starred"] == {"results": 1, "bytes": sizes[2]}
    assert known["kinds"] == {"explore": {"results": 2, "bytes": sum(sizes[:2])},
                              "learned": {"results": 1, "bytes": sizes[2]}}
    assert known["free"] > 0 and known["limit"] is None and known["folder"] == str(store.folder)
    text = said(capsys, "usage")
    assert "explore" in text and "free on that disk" in text and "no limit" in text


def test_the_limit_is_set_shown_and_lifted(capsys, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(capsys, "limit", "show")["limit"] is None
    assert read(capsys, "limit", "set", "20", "GB")["limit"] == 20 * 10**9 == Store(store.folder).limit.bytes
    assert said(capsys, "limit", "show") == "limit 20 GB\n"
    text = said(capsys, "limit", "set", "2 kB")
    assert text.startswith("limit 2 kB\n") and "until all fit" in text
    assert listed(capsys) == [2, 1, 0]  # nothing goes before something new is kept
    monkeypatch.setenv(LIMIT, "3 GB")
    assert f"limit 3 GB, as {LIMIT} says" in said(capsys, "limit", "set", "1 GB")
    assert read(capsys, "limit", "show")["said_by"] == LIMIT
    monkeypatch.setenv(LIMIT, "lots")
    for command in (("limit", "show"), ("usage",)):
        assert f"{LIMIT}: 'lots' is no size" in refused(capsys, *command)
    monkeypatch.delenv(LIMIT)
    assert read(capsys, "limit", "off")["limit"] is None


@pytest.mark.parametrize(("argv", "says"), [
    (("list", "--order", "x"), "unknown order 'x'; there are: largest, newest, oldest"),
    (("list", "--limit", "0"), "--limit must be at least 1"), (("list", "--offset", "-1"), "--offset at least 0"),
    (("list", "--limit", "many"), "invalid int"), (("limit", "set", "plenty"), "'plenty' is no size"),
    (("limit", "set"), "required: SIZE"), (("limit", "show", "20", "GB"), "unrecognized"),
    (("limit", "raise"), "invalid choice"), (("show",), "required: key"), (("show", ""), "begins with ''"),
    (("show", "\x1b[2J\n"), r"\x1b[2J\n"), (("show", "\udcff"), "udcff"), (("delete",), "required: KEY"),
    ((), "required"), (("forget",), "invalid choice"), (("show", "../models/x"), "begins with '../models/x'"),
    (("delete", "*"), "'*'"),
])
def test_what_is_wrong_is_one_line(capsys, store: Store, argv: tuple[str, ...], says: str) -> None:
    assert says in refused(capsys, *argv)
    assert listed(capsys) == [2, 1, 0]


def test_a_home_that_was_never_used_holds_nothing_and_none_is_made(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    assert read(capsys, "list") == {"results": [], "total": 0, "offset": 0}
    assert read(capsys, "usage")["all"] == {"results": 0, "bytes": 0}
    refused(capsys, "show", "a")
    assert not (tmp_path / "home").exists()


def test_a_home_that_is_no_folder_holds_nothing_and_takes_no_limit(capsys, tmp_path, monkeypatch) -> None:
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    assert read(capsys, "list")["total"] == 0
    assert "PERTURBSCOPE_HOME" in refused(capsys, "limit", "set", "1 GB")


def test_a_result_that_is_damaged_is_told(capsys, store: Store) -> None:
    (store.folder / f"{KEYS[0]}.npz").write_bytes(b"no zip")
    assert "cannot be read" in refused(capsys, "show", "aa1")


def test_a_time_that_no_calendar_has_is_shown(capsys, store: Store) -> None:
    said_of_it = json.dumps(["cc", "explore", "from the far future", "{}", "{}", 1e300])
    np.savez(store.folder / "cc.npz", **{"#about": np.frombuffer(said_of_it.encode(), np.uint8)})
    assert "no known time" in said(capsys, "list") and "no known time" in said(capsys, "show", "cc")


NASTY = "\x1b]0;mine\x07 \x9b2J \u202egnp \u2028 \udcff \x00 end"


@pytest.mark.parametrize("argv", [("list",), ("show", "cc"), ("star", "cc"), ("usage",), ("list", "--json"),
                                  ("show", "cc", "--json"), ("usage", "--json"), ("delete", "cc")])
def test_texts_from_outside_do_nothing_to_a_terminal(store: Store, argv: tuple[str, ...]) -> None:
    payload = Payload({NASTY: NASTY}, {})
    store.put("cc44", f"kind{NASTY}", NASTY, {NASTY: [NASTY]}, payload)
    run = subprocess.run([sys.executable, "-m", "engine", "store", *argv], capture_output=True, cwd=ROOT, check=False,
                         env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    assert run.returncode == 0, run.stderr
    text = run.stdout.decode()
    assert all(line.isprintable() for line in text.split("\n"))
    if argv == ("show", "cc", "--json"):
        known = json.loads(text)
        assert known["facts"] == {NASTY: NASTY} and known["spec"] == {NASTY: [NASTY]}
