"""A series of slices, a folder's files or a ZIP's, sorted by position. Files from outside are believed nothing."""

from __future__ import annotations

import io
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from engine.data.dicom import BURNED_IN, frame_of, opened, scan_in
from engine.data.dicom_pixels import Decoders, decoding, frames_in
from engine.data.raster import MAX_DECODED, enough_memory
from engine.data.scan import Frame, Scan, scan_of
from engine.data.upload import MAX_BYTES, MOST_BYTES, MOST_FILES
from engine.errors import EngineError

_PLAIN_ZIP = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_REFUSED = "this ZIP file is refused"


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice, which series it belongs to, and what it is sorted by."""

    frame: Frame
    series: tuple[object, ...]
    place: tuple[float, ...]


def unzipped(data: bytes) -> Iterator[bytes]:
    """The files in a ZIP file, one after the other; raises EngineError where it may do harm, or is damaged.

    Their names are looked at for tricks, and used for nothing.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = [member for member in archive.infolist() if not member.is_dir()]
    except Exception:  # whatever a hostile directory brings about
        raise EngineError("this ZIP file is damaged; pack it again") from None
    _check(members)
    for member in members:
        try:
            with archive.open(member) as file:
                content = file.read(member.file_size + 1)
        except Exception:  # as above
            raise EngineError("this ZIP file is damaged; pack it again") from None
        if len(content) > member.file_size:
            raise EngineError(f"{_REFUSED}: a file in it unpacks to more than it says")
        yield content


def _check(members: list[zipfile.ZipInfo]) -> None:
    if not members:
        raise EngineError("this ZIP file is empty; choose another")
    if len(members) > MOST_FILES:
        raise EngineError(f"{_REFUSED}: it holds {len(members):,} files, and at most {MOST_FILES:,} are read")
    if (size := sum(member.file_size for member in members)) > MOST_BYTES:
        raise EngineError(f"{_REFUSED}: it unpacks to {size / 2**20:,.0f} MiB, and at most {MOST_BYTES // 2**20:,} "
                          "are read; pack fewer slices")
    if (largest := max(member.file_size for member in members)) > MAX_BYTES:
        raise EngineError(f"{_REFUSED}: a file in it has {largest / 2**20:,.0f} MiB, and at most {MAX_BYTES // 2**20} "
                          "are read")
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0] or "\0" in member.orig_filename:
            raise EngineError(f"{_REFUSED}: a name in it leads out of it")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise EngineError(f"{_REFUSED}: it holds a link, not a file")
        if member.flag_bits & 1:
            raise EngineError(f"{_REFUSED}: it is encrypted; pack it without a password")
        if member.compress_type not in _PLAIN_ZIP:
            raise EngineError(f"{_REFUSED}: it is packed in a way that is not read here; use ordinary ZIP compression")


@enough_memory("this series")
def series_in(files: Iterable[bytes]) -> Scan:
    """The largest series among the files of slices, sorted by position; of one file, its frames. Other files are left
    out, and it is said how many. Raises EngineError where there is no picture."""
    slices: list[Slice] = []
    errors: Counter[str] = Counter()
    lonely, count, room = b"", 0, MAX_DECODED
    with decoding() as decoders:
        for data in files:
            count += 1
            try:
                slices.append(_slice(data, decoders))
            except EngineError as error:
                errors[str(error)] += 1
                lonely = data if isinstance(error, _Several) else lonely
            else:
                room -= slices[-1].frame.room
                if room < 0:
                    raise EngineError(f"these slices take more than {MAX_DECODED // 2**20} MiB unpacked; choose fewer")
    if not slices and lonely:
        return scan_in(lonely)
    if not slices:
        raise EngineError("there is no DICOM picture among these files" if count > 1 else next(iter(errors), "")
                          or "there is nothing in it")
    return _largest(slices, sum(errors.values()))


class _Several(EngineError):
    """A file of several frames, which is no slice."""


def _slice(data: bytes, decoders: Decoders) -> Slice:
    """The slice in a file's bytes; raises EngineError."""
    try:
        source = opened(data)
        if frames_in(source) > 1:
            raise _Several("it holds several frames")
        frame = frame_of(source, 0, decoders)
        series = (str(source.get("SeriesInstanceUID", "")), frame.stored.ndim, frame.header.orientation)
        return Slice(frame, series, _place(frame, float(source.get("SliceLocation") or 0),
                                           float(source.get("InstanceNumber") or 0)))
    except (EngineError, MemoryError):
        raise
    except Exception:  # a hostile file can make a parser raise anything, and its message may quote the file
        raise EngineError("it is damaged, or no DICOM file") from None


def _place(frame: Frame, location: float, number: float) -> tuple[float, ...]:
    """Along the line on which the slices lie; where that is not known, as the scanner numbered them."""
    position, orientation = frame.header.position, frame.header.orientation
    if position is None or orientation is None:
        return (location, number)
    normal = np.cross(orientation[:3], orientation[3:])
    return (round(float(normal @ position), 3), number)


def _largest(slices: list[Slice], left_out: int) -> Scan:
    """The slices of the series that has most of them, in order."""
    counts = Counter(one.series for one in slices)
    series, count = counts.most_common(1)[0]
    chosen = sorted((one for one in slices if one.series == series), key=lambda one: one.place)
    notes = []
    if len(chosen) > 1 and not all(one.frame.header.position for one in chosen):
        notes.append("the slices are sorted by number: their positions are not known")
    if len(counts) > 1:
        notes.append(f"{len(counts) - 1} smaller series of {len(slices) - count} slices left out")
    if left_out:
        notes.append(f"{left_out} files that are no DICOM slices left out")
    if any(one.frame.header.burned_in for one in chosen):
        notes.append(BURNED_IN)
    return scan_of([one.frame for one in chosen], notes, "slice")
