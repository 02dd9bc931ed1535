"""Files are written whole or not at all, and read within bounds."""

import contextlib
import errno
import sqlite3

import pytest

from engine.disk import MAX_DEPTH, MAX_JSON, Hindrance, advice, hindrance, make_writable, read_json, replacing_all
from engine.errors import EngineError, UnknownName


def test_all_files_take_their_places_together(tmp_path) -> None:
    paths = [tmp_path / "a", tmp_path / ("b" * 255)]  # the longest name there is
    with replacing_all(paths) as asides:
        for aside in asides:
            aside.write_text("new")
        assert not any(path.exists() for path in paths)
    assert [path.read_text() for path in paths] == ["new", "new"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_where_one_fails_all_stay_as_they_were_and_no_scraps_are_left(tmp_path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_text("old")
    with pytest.raises(OSError, match="full"), replacing_all(paths) as (first, second):
        first.write_text("new")
        second.write_text("half")
        raise OSError(errno.ENOSPC, "full")
    assert paths[0].read_text() == "old" and list(tmp_path.iterdir()) == [paths[0]]


def test_a_file_that_was_not_written_fails_before_any_takes_its_place(tmp_path) -> None:
    with pytest.raises(FileNotFoundError), replacing_all([tmp_path / "a", tmp_path / "b"]) as (first, _):
        first.write_text("new")
    assert list(tmp_path.iterdir()) == []


def test_trying_whether_a_folder_can_be_written_leaves_nothing(tmp_path) -> None:
    make_writable(tmp_path / "made" / "deep")
    assert list((tmp_path / "made" / "deep").iterdir()) == []


@pytest.mark.parametrize(("error", "kind"), [
    (OSError(errno.ENOSPC, "No space left on device"), Hindrance.FULL),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), Hindrance.FULL),
    (OSError(errno.EFBIG, "File too large"), Hindrance.FULL),
    (PermissionError(errno.EACCES, "Permission denied"), Hindrance.DENIED),
    (OSError(errno.EROFS, "Read-only file system"), Hindrance.DENIED),
    (NotADirectoryError(errno.ENOTDIR, "Not a directory"), Hindrance.DENIED),
    (OSError(errno.EIO, "Input/output error"), Hindrance.FAILED),
    (TimeoutError("the lock is held"), Hindrance.LOCKED),
    (sqlite3.OperationalError("no code"), Hindrance.FAILED),
])
def test_each_trouble_has_its_own_advice(error: OSError | sqlite3.Error, kind: Hindrance) -> None:
    assert hindrance(error) is kind
    assert ("free some space" in advice(error)) == (kind is Hindrance.FULL)
    assert "\n" not in advice(error)


def test_an_index_that_cannot_grow_is_a_full_disk(tmp_path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "x.sqlite")) as connection:
        connection.execute("create table t (x)")
        connection.execute("pragma max_page_count = 4")
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("insert into t values (zeroblob(100000))")
    assert hindrance(caught.value) is Hindrance.FULL


@pytest.mark.parametrize(("data", "line"), [
    (b'{"a":' + b"[" * 200_000, "nested"),
    (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested"),
    ('{"a":"∀' + "[" * 1000, "not JSON"),
    (b'{"a"', "not JSON"),
    (b"\xff\xfe[\x00", "not JSON"),
    (b"1" * 5000, "not JSON"),
    (b" " * (MAX_JSON + 1), "at most"),
])
def test_what_is_too_long_too_deep_or_no_json_is_refused(data: bytes | str, line: str) -> None:
    with pytest.raises(EngineError, match=line):
        read_json(data.encode() if isinstance(data, str) else data)


def test_brackets_within_texts_are_not_levels() -> None:
    text = '["' + r"\"[" * 1000 + '", "\\\\", ' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "]"
    assert read_json(b"\xef\xbb\xbf" + text.encode())[0] == '"[' * 1000


def test_messages_are_one_line_of_bearable_length_whatever_they_quote() -> None:
    for error in (EngineError("bad\nname\0" + "x" * 5000 + "; take another"), UnknownName("model", "x" * 5000, ["y"])):
        assert len(str(error)) < 600 and str(error).isprintable()
    assert str(EngineError("bad\nname\0")) == r"bad\nname\x00"
    assert str(EngineError("x" * 5000 + "; take another")).endswith("; take another")
