"""Archives unpacked with suspicion: no name leads out of the folder, no link is made, nothing swells beyond measure."""

import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from engine.disk import advice
from engine.errors import EngineError
from engine.progress import Progress

MOST_FILES = 200_000
MOST_BYTES = 40 * 2**30
MOST_SWELLING = 20  # times its own size that an archive of pictures, which hardly shrink, may unpack to
AT_LEAST = 64 * 2**20  # bytes that any archive may unpack to
_CHUNK = 2**20
_JUNK = ("__MACOSX",)


def unpack(archive: Path, wanted: str, folder: Path, progress: Progress) -> Path:
    """Unpack the folder `wanted` of a zip archive into `folder`, all of it or nothing; raises EngineError and
    Cancelled."""
    place = folder / wanted
    if place.exists():
        raise EngineError(f"there is a '{wanted}' in {folder} already; move it away first, or use what is there")
    try:
        with zipfile.ZipFile(archive) as opened, tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as aside:
            members = _members(opened, wanted, archive)
            _extract(opened, members, Path(aside), progress)
            os.replace(Path(aside) / wanted, place)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        if isinstance(error, EngineError):
            raise
        raise EngineError(f"{archive.name} is no whole zip archive; download it again") from None
    except OSError as error:
        raise EngineError(f"{archive.name} could not be unpacked {advice(error, 'PERTURBSCOPE_DATA')}") from None
    return place


def _members(opened: zipfile.ZipFile, wanted: str, archive: Path) -> Sequence[zipfile.ZipInfo]:
    """The files that are unpacked; raises EngineError before anything is written."""
    found = [info for info in opened.infolist() if not info.is_dir() and not _junk(info.filename)]
    for info in found:
        if not _inside(info.filename) or stat.S_ISLNK(info.external_attr >> 16):
            raise EngineError(f"{archive.name} holds a file that leads out of its folder; nothing was unpacked")
    found = [info for info in found if PurePosixPath(info.filename).parts[0] == wanted]
    if not found:
        raise EngineError(f"{archive.name} has no folder '{wanted}'")
    total, size = sum(info.file_size for info in found), archive.stat().st_size
    if len(found) > MOST_FILES or total > min(MOST_BYTES, max(AT_LEAST, MOST_SWELLING * size)):
        raise EngineError(f"{archive.name} would unpack to {len(found):,} files of {total / 2**20:,.0f} MiB, which no "
                          "set of pictures does; nothing was unpacked")
    return found


def _junk(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not parts or parts[0] in _JUNK or parts[-1].startswith("._") or parts[-1] == ".DS_Store"


def _inside(name: str) -> bool:
    """Whether a name stays in the folder, on Windows, too."""
    return not (name.startswith(("/", "\\")) or "\\" in name or ":" in name or "\0" in name
                or ".." in PurePosixPath(name).parts)


def _extract(opened: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo], folder: Path, progress: Progress) -> None:
    total, done = sum(info.file_size for info in members) or 1, 0
    for number, info in enumerate(members):
        progress.report(done / total, f"unpacking {number:,} of {len(members):,} files")
        to = folder / info.filename
        to.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(info) as source, to.open("wb") as file:
            shutil.copyfileobj(source, file, _CHUNK)  # never more than the head said: zipfile stops there
        done += info.file_size
