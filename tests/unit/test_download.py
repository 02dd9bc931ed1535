"""Data sets downloaded from a server on loopback: cut off, wrong, unreachable, unpacked with suspicion."""

import hashlib
import io
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.cli import main
from engine.data import DATASETS, download, medmnist, unpack
from engine.data.remote import Remote
from engine.errors import Cancelled, EngineError
from engine.progress import Progress
from tests import collected
from tests.shelf import Shelf, served

DATA = np.random.default_rng(0).integers(0, 256, 700_000, np.uint8).tobytes()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setattr(download, "CHUNK", 50_000)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with served(Shelf(DATA)) as shelf:
        yield shelf


def remote(shelf: Shelf, data: bytes = DATA, **more: object) -> Remote:
    return Remote(shelf.url, "set/file.bin", f"sha256:{hashlib.sha256(data).hexdigest()}", **more)  # type: ignore[arg-type]


def left(folder: Path) -> set[str]:
    """What lies there that is no lock."""
    return {path.name for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")}


@pytest.mark.parametrize(("settings", "requests"), [
    ({}, [None]),
    ({"length": False}, [None]),  # closed at its end, which only the checksum can tell from a broken one
    ({"cut": 250_000}, [None, "bytes=250000-", "bytes=500000-"]),
    ({"cut": 250_000, "mark": ""}, [None, "bytes=250000-", "bytes=500000-"]),
])
def test_a_file_comes_whole_however_often_the_connection_breaks(tmp_path: Path, shelf: Shelf, settings: dict,
                                                                requests: list[str | None]) -> None:
    vars(shelf).update(settings)
    told: list[float] = []
    place = download.fetch(remote(shelf), tmp_path, Progress(lambda fraction, text: told.append(fraction)))
    assert place.read_bytes() == DATA and left(tmp_path) == {"file.bin"} and shelf.asked == requests
    assert told == sorted(told) and len(told) > 10


def test_a_download_that_was_cancelled_goes_on_where_it_was(tmp_path: Path, shelf: Shelf) -> None:
    def enough(fraction: float, text: str) -> None:
        if fraction > 0.4:
            raise Cancelled

    with pytest.raises(Cancelled):
        download.fetch(remote(shelf), tmp_path, Progress(enough))
    come = (tmp_path / "set" / "file.bin.part").stat().st_size
    assert 250_000 < come < len(DATA) and not (tmp_path / "set" / "file.bin").exists()
    assert download.fetch(remote(shelf), tmp_path, Progress()).read_bytes() == DATA
    assert shelf.asked == [None, f"bytes={come}-"]


def test_what_changed_meanwhile_is_fetched_from_its_beginning(tmp_path: Path, shelf: Shelf) -> None:
    shelf.cut = 300_000
    shelf.ranges = False  # every answer begins anew, and none gets to the end
    with pytest.raises(EngineError, match=r"broke off after 0\.3 MiB .*goes on from there"):
        download.fetch(remote(shelf), tmp_path, Progress())
    assert len(shelf.asked) == download.TRIES
    shelf.data, shelf.mark, shelf.cut, shelf.ranges = DATA[::-1], '"two"', None, True
    place = download.fetch(remote(shelf, DATA[::-1]), tmp_path, Progress())
    assert place.read_bytes() == DATA[::-1] and shelf.asked[-1] == "bytes=300000-"


def test_all_that_came_before_a_crash_is_only_checked(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(EngineError, match="broke off"):
        shelf.cut = 0
        download.fetch(remote(shelf), tmp_path, Progress())
    (tmp_path / "set" / "file.bin.part").write_bytes(DATA)
    shelf.cut = None
    assert download.fetch(remote(shelf), tmp_path, Progress()).read_bytes() == DATA


def test_what_has_another_checksum_is_removed_and_that_is_said(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(EngineError, match=r"file\.bin is not what was published: its SHA256 is \w{64}, not \w{64}\. It "
                                          r"was removed"):
        download.fetch(remote(shelf, b"another"), tmp_path, Progress())
    assert left(tmp_path) == set()


@pytest.mark.parametrize(("change", "line"), [
    (lambda shelf: {"url": "http://127.0.0.1:9/x"}, "cannot be reached; connect this machine to the network"),
    (lambda shelf: {"url": "http://example.invalid/x"}, "without encryption"),
    (lambda shelf: {"size": 123}, "has another set/file.bin than was published"),
    (lambda shelf: vars(shelf).update(status=404) or {}, r"does not give set/file.bin \(it answered 404\)"),
])
def test_what_does_not_come_is_one_line(tmp_path: Path, shelf: Shelf, change: Callable[[Shelf], dict],
                                        line: str) -> None:
    with pytest.raises(EngineError, match=line):
        download.fetch(replace(remote(shelf), **change(shelf)), tmp_path, Progress())
    assert left(tmp_path) == set()


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_told_before_anything_comes(
        tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EngineError, match=r"cannot be written to .*PERTURBSCOPE_DATA"):
        download.fetch(remote(shelf), tmp_path / "file", Progress())
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("Free", (), {"free": 1000}))
    with pytest.raises(EngineError, match=r"0\.7 MiB are still to come, and 0\.0 MiB are free"):
        download.fetch(remote(shelf), tmp_path, Progress())


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members.items():
            opened.writestr(name, data)
    return file.getvalue()


def test_an_archive_is_unpacked_beside_itself_and_removed(tmp_path: Path) -> None:
    data = archive(**{"pictures/a/1.png": b"one", "pictures/b/2.png": b"two", "__MACOSX/pictures/._1.png": b"junk",
                      "pictures/.DS_Store": b"junk", "else/3.png": b"not asked for"})
    with served(Shelf(data)) as shelf:
        place = download.fetch(remote(shelf, data, unpacked="pictures"), tmp_path, Progress())
    assert place == tmp_path / "pictures" and left(tmp_path) == {"1.png", "2.png"}
    assert (place / "a" / "1.png").read_bytes() == b"one"


def link() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        info = zipfile.ZipInfo("pictures/link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(info, "/etc/passwd")
    return file.getvalue()


@pytest.mark.parametrize(("data", "line"), [
    (archive(**{"pictures/../../out.png": b"x"}), "leads out of its folder"),
    (archive(**{"/pictures/out.png": b"x"}), "leads out of its folder"),
    (archive(**{"pictures\\..\\..\\out.png": b"x"}), "leads out of its folder"),
    (link(), "leads out of its folder"),
    (archive(**{"pictures/bomb.png": bytes(5_000_000)}), "would unpack to 1 files of 5 MiB"),
    (archive(**{"else/1.png": b"x"}), "has no folder 'pictures'"),
    (archive(**{"pictures/1.png": DATA})[:-100], "no whole zip archive"),
])
def test_hostile_archives_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes,
                                               line: str) -> None:
    monkeypatch.setattr(unpack, "AT_LEAST", 2**20)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file.zip").write_bytes(data)
    with pytest.raises(EngineError, match=line):
        unpack.unpack(tmp_path / "in" / "file.zip", "pictures", tmp_path / "in", Progress())
    assert left(tmp_path) == {"file.zip"}


def test_a_registered_set_is_downloaded_by_name_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("PERTURBSCOPE_DATA", raising=False)
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    collected.medmnist(tmp_path / "made.npz", (6, 4, 4))
    data = (tmp_path / "made.npz").read_bytes()
    with served(Shelf(data)) as shelf:
        entry = DATASETS["pneumoniamnist"]
        there = replace(entry.info.remote, url=shelf.url, checksum=f"md5:{hashlib.md5(data).hexdigest()}")
        monkeypatch.setitem(DATASETS._items, "pneumoniamnist", replace(entry, info=replace(entry.info, remote=there)))
        assert main(["data", "download", "pneumoniamnist"]) == 0
        assert "CC BY 4.0" in capsys.readouterr().out and len(DATASETS["pneumoniamnist"].load("train")) == 6
        assert main(["data", "download", "pneumoniamnist"]) == 2 and "here already" in capsys.readouterr().err
    assert main(["data", "download", "rsna"]) == 2
    assert "cannot be downloaded from here: download it (kaggle.com" in capsys.readouterr().err


def test_every_set_that_is_offered_says_what_its_file_must_be() -> None:
    offered = {entry.info.name: entry.info.remote for entry in DATASETS.values() if entry.info.remote}
    assert {*medmnist.SETS, "kermany"} == set(offered)
    for name, where in offered.items():
        kind, _, text = where.checksum.partition(":")
        assert where.url.startswith("https://") and len(bytes.fromhex(text)) == hashlib.new(kind).digest_size, name
        assert DATASETS[name].info.terms.startswith("CC BY")
    assert len({one.checksum for side in medmnist.SIDES for name in medmnist.SETS
                if (one := medmnist.entry(name, side).info.remote)}) == 4 * len(medmnist.SETS)
