"""Data sets downloaded: with progress, going on where a download was cut off, and believed only by their checksum."""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from filelock import FileLock, Timeout

from engine.data.base import DatasetEntry
from engine.data.files import data_home
from engine.data.remote import Remote
from engine.data.unpack import unpack
from engine.disk import advice, make_writable, read_json
from engine.errors import EngineError
from engine.home import home
from engine.progress import Progress

SETTING = "PERTURBSCOPE_DATA"
TRIES = 5  # times that a connection may break without anything having come
PAUSE = 1.0  # seconds before it is tried again, doubled each time
SECONDS = (10.0, 30.0)  # for a connection, and between two pieces of the answer
MOST = 40 * 2**30  # bytes of a file whose server does not say how many it has
CHUNK = 2**18
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SHARE = 0.9  # of the progress; the rest is for the checksum and unpacking


def folder() -> Path:
    """Where downloads go: PERTURBSCOPE_DATA, or where that is not set a folder beside the runs."""
    return data_home() or home() / "data"


def download(entry: DatasetEntry, progress: Progress | None = None) -> Path:
    """Get a data set that may be downloaded; where it lies then. Raises EngineError and Cancelled."""
    remote, info = entry.info.remote, entry.info
    if remote is None:
        raise EngineError(f"{info.name} cannot be downloaded from here: {info.obtain or 'it is computed'}")
    if entry.missing() is None:
        raise EngineError(f"{info.name} is here already")
    try:
        return fetch(remote, folder(), progress or Progress())
    except _Unreachable as error:
        raise EngineError(f"{error}; or by hand: {info.obtain}") from None


class _Unreachable(EngineError):
    """Nobody answers, or not with the file."""


class _Broken(Exception):
    """The connection broke in the middle."""


@dataclass(frozen=True)
class _Place:
    """Where a file goes, and what there is of it meanwhile."""

    whole: Path

    @property
    def part(self) -> Path:
        return self.whole.with_name(f"{self.whole.name}.part")

    @property
    def note(self) -> Path:
        """From which address the part is, and the server's mark for that very version of the file."""
        return self.whole.with_name(f"{self.whole.name}.part.json")

    @property
    def size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def mark(self, url: str) -> str | None:
        """The server's mark for the version that the part is of ("": it gave none); None: there is no part of it."""
        with contextlib.suppress(OSError, EngineError):
            known = read_json(self.note.read_bytes())
            if isinstance(known, dict) and known.get("url") == url and self.size:
                return str(known.get("mark", ""))
        return None

    def forget(self) -> None:
        for path in (self.part, self.note):
            path.unlink(missing_ok=True)


def fetch(remote: Remote, into: Path, progress: Progress) -> Path:
    """The file, checked, and unpacked where it is an archive; raises EngineError and Cancelled. What has come stays
    where the download is cancelled or cut off, and the next one goes on from there."""
    place = _Place(into / remote.path)
    _allowed(remote.url)
    try:
        make_writable(place.whole.parent)
        with FileLock(place.whole.with_name(f".{place.whole.name}.lock"), timeout=0):
            if not place.whole.exists():
                _all_of_it(remote, place, progress.part(0, _SHARE))
                _believed(remote, place, progress.part(_SHARE, 0.93))
            if not remote.unpacked:
                return place.whole
            found = unpack(place.whole, remote.unpacked, into, progress.part(0.93, 1))
            place.whole.unlink()
            return found
    except Timeout:
        raise EngineError(f"{remote.path} is being downloaded already") from None
    except OSError as error:
        raise EngineError(f"{remote.path} cannot be written to {into} {advice(error, SETTING)}") from None


def _allowed(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise EngineError(f"{parts.hostname} was to be asked without encryption; nothing was downloaded")


def _all_of_it(remote: Remote, place: _Place, progress: Progress) -> None:
    """Ask until all has come; what came before is not asked for again."""
    tries = 0
    while True:
        before = place.size
        try:
            return _go_on(remote, place, progress)
        except _Broken:
            tries = 1 if place.size > before else tries + 1
            if tries >= TRIES:
                raise _Unreachable(f"{remote.host} broke off after {_mib(place.size)} of {remote.path}; download it "
                                   "again, which goes on from there") from None
            _wait(PAUSE * 2**(tries - 1), place, progress)


def _wait(seconds: float, place: _Place, progress: Progress) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        progress.report(0.0, f"the connection broke after {_mib(place.size)}; trying again")
        time.sleep(min(left, 0.2))


def _go_on(remote: Remote, place: _Place, progress: Progress) -> None:
    """One answer of the server, from where the part ends if it still has the same version; raises _Broken."""
    mark, start = place.mark(remote.url), place.size
    headers = {"Accept-Encoding": "identity"}
    if mark is not None:
        headers |= {"Range": f"bytes={start}-", **({"If-Range": mark} if mark else {})}
    try:
        with requests.get(remote.url, headers=headers, stream=True, timeout=SECONDS) as answer:
            _allowed(answer.url)
            if answer.status_code == 416:  # nothing is left to send
                if answer.headers.get("Content-Range", "") == f"bytes */{start}":
                    return
                place.forget()  # it is a shorter file now
                raise _Broken
            _write(answer, remote, place, start, progress)
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
        raise _Broken from error
    except requests.exceptions.SSLError:
        raise _Unreachable(f"{remote.host} does not prove who it is (its certificate is not trusted here)") from None
    except requests.exceptions.RequestException as error:
        if place.size > start or start:
            raise _Broken from error
        raise _Unreachable(f"{remote.host} cannot be reached; connect this machine to the network, or to its proxy "
                           "(HTTPS_PROXY), and try again") from None


def _write(answer: requests.Response, remote: Remote, place: _Place, start: int, progress: Progress) -> None:
    if answer.status_code not in (200, 206) or answer.headers.get("Content-Encoding", "identity") != "identity":
        raise _Unreachable(f"{remote.host} does not give {remote.path} (it answered {answer.status_code})")
    going_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    if answer.status_code == 206 and not going_on:
        place.forget()
        raise _Broken
    done = start if going_on else 0
    length = answer.headers.get("Content-Length", "")
    total = done + int(length) if length.isdecimal() else None
    most = remote.size or total or MOST
    if total is not None and (total > most or (remote.size and total != remote.size)):
        raise _Unreachable(f"{remote.host} has another {remote.path} than was published ({_mib(total)}, not "
                           f"{_mib(most)})")
    _room(place, (total or done) - done)
    strong = answer.headers.get("ETag", "")
    mark = strong if strong and not strong.startswith("W/") else answer.headers.get("Last-Modified", "")
    place.note.write_text(json.dumps({"url": remote.url, "mark": mark}), encoding="utf-8")
    with place.part.open("ab" if going_on else "wb") as file:
        for piece in _pieces(answer):
            done += len(piece)
            if done > most:
                raise _Unreachable(f"{remote.host} sends more than {_mib(most)} for {remote.path}")
            file.write(piece)
            progress.report(done / (total or most), f"{_mib(done)}{f' of {_mib(total)}' if total else ''}")
    if total is not None and done < total:
        raise _Broken


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    pieces: Iterator[Any] = answer.iter_content(CHUNK)
    return pieces


def _room(place: _Place, needed: int) -> None:
    free = shutil.disk_usage(place.whole.parent).free
    if needed > free:
        raise EngineError(f"{_mib(needed)} are still to come, and {_mib(free)} are free in {place.whole.parent}; free "
                          f"some space there, or set {SETTING} to a folder on another disk")


def _believed(remote: Remote, place: _Place, progress: Progress) -> None:
    """The part becomes the file if it is what was published, and is removed if not."""
    kind, _, wanted = remote.checksum.partition(":")
    known, size, done = hashlib.new(kind, usedforsecurity=False), place.size or 1, 0
    with place.part.open("rb") as file:
        while piece := file.read(2**20):
            known.update(piece)
            done += len(piece)
            progress.report(done / size, "comparing the checksum")
    if known.hexdigest() != wanted:
        place.forget()
        raise EngineError(f"{remote.path} is not what was published: its {kind.upper()} is {known.hexdigest()}, not "
                          f"{wanted}. It was removed; download it again, and if that does not help, ask {remote.host}")
    os.replace(place.part, place.whole)
    place.note.unlink(missing_ok=True)


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
