"""Files that are no whole pictures: found by their first and last bytes, quick enough for tens of thousands, or known
since somebody read all of them."""

import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from engine.data.raster import open_raster
from engine.disk import read_json, replacing
from engine.errors import EngineError
from engine.home import home

HEAD, TAIL = 1024, 4096
MOST_KEPT = 10_000
# How a file begins, and what stands near its end if it is whole; the others do not say where they end.
ENDS = {b"\x89PNG\r\n\x1a\n": b"IEND", b"\xff\xd8\xff": b"\xff\xd9"}
STARTS = (*ENDS, b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
COMPRESSED = b"1.2.840.10008.1.2.4."  # how the names of DICOM's JPEG transfer syntaxes begin
DELIMITER = b"\xfe\xff\xdd\xe0"  # what ends their frames


def fault(path: Path) -> str | None:
    """Why a file cannot be a whole picture, or None: it may still be damaged inside. Raises nothing."""
    return faults([path])[0]


def faults(paths: Sequence[Path]) -> list[str | None]:
    """The same of each."""
    kept = _kept()
    return [_found(str(path), kept) for path in paths]


def _found(path: str, kept: Mapping[str, str]) -> str | None:
    try:
        facts = os.stat(path)
        return _fault(path, facts.st_mtime_ns, facts.st_size) or (kept.get(_key(path, facts)) if kept else None)
    except OSError:  # whoever reads it says what is wrong
        return None


def remember(path: Path, reason: str) -> None:
    """`fault` says so of the file from now on, until it changes; raises OSError where that cannot be kept."""
    place = _place()
    found = {**_kept(), _key(path, path.stat()): reason}
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place) as aside:
        aside.write_text(json.dumps(dict(list(found.items())[-MOST_KEPT:])), encoding="utf-8")


def known() -> int:
    """Changes with what is known of damaged files, so that whoever has listed some lists them again."""
    try:
        return _place().stat().st_mtime_ns
    except OSError:  # nothing is known
        return 0


def _place() -> Path:
    return home() / "damaged.json"


def _key(path: str | Path, facts: os.stat_result) -> str:
    return f"{facts.st_mtime_ns} {facts.st_size} {os.path.abspath(path)}"


def _kept() -> Mapping[str, str]:
    place = _place()
    try:
        facts = place.stat()
    except OSError:
        return {}
    return _read(place, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=2)
def _read(place: Path, modified: int, size: int) -> Mapping[str, str]:
    try:
        found = read_json(place.read_bytes())
    except (OSError, EngineError):  # what is lost is found again by whoever reads all pictures
        return {}
    return {key: str(reason) for key, reason in found.items()} if isinstance(found, dict) else {}


@lru_cache(maxsize=50_000)
def _fault(path: str, modified: int, size: int) -> str | None:
    if not size:
        return "it is empty"
    with open(path, "rb") as file:
        head = file.read(HEAD)
        file.seek(max(0, size - TAIL), os.SEEK_SET)
        tail = file.read(TAIL)
    if path.lower().endswith(".dcm"):
        return "it is cut off" if COMPRESSED in head and DELIMITER not in tail else None
    ending = next((end for start, end in ENDS.items() if head.startswith(start)), b"")
    return None if head.startswith(STARTS) and ending in tail else _why(Path(path))


def _why(path: Path) -> str | None:
    """What is wrong with a suspicious file, or None: some pictures lack their end and nothing else."""
    try:
        open_raster(path)
    except EngineError as error:
        return str(error)
    return None
