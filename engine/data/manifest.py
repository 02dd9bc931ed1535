"""`manifest:PATH`: the user's own pictures, listed in a CSV file with the columns path and label and, where there are
any, patient, split, mask and box. What it names lies in its folder, or below.

A label cell may hold several labels with | or ; between them. Then each combination is a class, and each label a
finding that can be looked for alone (`engine.data.findings`).
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine.data import boxes, findings, splits
from engine.data.base import Dataset, DatasetEntry, DatasetInfo, Gaps
from engine.data.boxes import Box
from engine.data.files import DICOM, SUFFIXES, FileDataset
from engine.data.folder import SPLIT_OF, coloured
from engine.data.masks import marked_in
from engine.data.raster import open_raster
from engine.data.tables import numbers, rows
from engine.data.upload import read_limited
from engine.errors import EngineError
from engine.home import expanded

PREFIX = "manifest:"
ALL = "all"
BETWEEN = "|"
_BETWEEN = re.compile(r"[|;]")
PUBLISHED = {part: f"The pictures of which the manifest says {part}." for part in splits.PARTS}
BY_PATIENT = {"train": "80 % of each class, whole patients together.", "validation": "10 % of each class by patient.",
              "test": "10 % of each class by patient."}
BY_FILE = {"train": "80 % of each class, drawn at random by file: the manifest names no patients.",
           "validation": "10 % of each class, drawn at random by file.",
           "test": "10 % of each class, drawn at random by file."}


@dataclass(frozen=True)
class Line:
    """What a manifest says of a picture; paths are as they are written there, `part` is "" where it says nothing.

    `label` is one label, or several in the order of the alphabet.
    """

    path: str
    label: str
    patient: str = ""
    part: str = ""
    mask: str = ""
    boxes: tuple[Box, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(filter(None, self.label.split(BETWEEN)))


Marks = dict[Path, tuple[Path | None, tuple[Box, ...]]]  # by file, its mask and its boxes


class Listed(FileDataset):
    """Pictures of a manifest with what it says is the lesion. `marks` says by file what marks it; a class is a
    combination of labels."""

    def __init__(self, info: DatasetInfo, split: str, paths: Sequence[Path], labels: Sequence[int], root: Path,
                 colour: bool, patients: Sequence[str], gaps: Gaps, marks: Marks) -> None:
        super().__init__(info, split, paths, labels, root, colour, patients, gaps)
        self._marks = marks

    @property
    def truth(self) -> np.ndarray:
        if not self.info.findings:
            return super().truth
        return findings.among(self.info.findings, [self.classes[label].split(BETWEEN) for label in self.labels])

    def findings(self, index: int) -> tuple[str, ...]:
        return tuple(self.classes[self.labels[index]].split(BETWEEN)) if self.info.findings else ()

    def lesion(self, index: int) -> np.ndarray | None:
        path = self.paths[index]
        mask, found = self._marks[path]
        marked = _mask(mask) if mask else None
        if found:
            boxed = boxes.mask(found, *_size(path))
            marked = boxed if marked is None else marked | boxed
        return marked


def entry(path: str) -> DatasetEntry:
    """The data set that the manifest `path` lists; raises EngineError where it is none."""
    file = expanded(path)
    if not path or not os.path.isfile(file):
        raise EngineError(f"there is no file '{path}'; give manifest:PATH with a CSV file that has the columns path "
                          "and label")
    try:
        facts = file.stat()
    except OSError as error:
        raise EngineError(f"'{path}' cannot be read ({error.strerror})") from None
    return _entry(path, file, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=8)
def _entry(path: str, file: Path, modified: int, size: int) -> DatasetEntry:
    lines = _lines(file, modified, size)
    classes = tuple(sorted({line.label for line in lines if line.label}))
    if len(classes) < 2:
        found = f"only '{classes[0]}'" if classes else "none"
        raise EngineError(f"'{path}' needs at least two different labels, and has {found}")
    several = any(len(line.labels) > 1 for line in lines)
    labels = tuple(sorted({label for line in lines for label in line.labels})) if several else ()
    what = f"{len(classes)} combinations of {len(labels)} labels" if several else f"{len(classes)} classes"
    parts = {line.part for line in lines} - {""}
    drawn = BY_PATIENT if any(line.patient for line in lines) else BY_FILE
    offered = {name: sentence for name, sentence in PUBLISHED.items() if name in parts} or drawn
    info = DatasetInfo(
        name=f"{PREFIX}{path}", title=file.stem, classes=classes, splits={ALL: "All pictures.", **offered},
        sentence=f"{len(lines):,} pictures of your own in {what}.", findings=labels,
        source="your own manifest", terms="yours",
        default_split="test" if "test" in parts else ALL, layouts=("a CSV file: path,label[,patient,split,mask,box]",),
        grouping="by the column patient" if drawn is BY_PATIENT else "none: the manifest names no patients")
    return DatasetEntry(info, lambda split: _open(info, split, file, lines, bool(parts)))


@lru_cache(maxsize=4)
def _lines(file: Path, modified: int, size: int) -> tuple[Line, ...]:
    """Every picture once: further lines with the same path add their boxes."""
    found: dict[str, Line] = {}
    for number, row in enumerate(rows(file, ("path", "label")), start=2):
        line = _line(row, number)
        before = found.get(line.path)
        if before is not None and replace(before, boxes=line.boxes) != line:
            raise EngineError(f"line {number} of the manifest says something else of '{line.path}' than an earlier "
                              "one; give each picture one label, patient, split and mask")
        found[line.path] = line if before is None else replace(before, boxes=before.boxes + line.boxes)
    return tuple(found.values())


def _line(row: dict[str, str], number: int) -> Line:
    if not row["path"]:
        raise EngineError(f"line {number} of the manifest has no path")
    if (part := row.get("split", "")) and part.lower() not in SPLIT_OF:
        raise EngineError(f"line {number} of the manifest has the split '{part}'; take train, validation or test")
    path = os.path.normpath(row["path"].replace("\\", "/"))
    labels = sorted({label for text in _BETWEEN.split(row["label"]) if (label := text.strip())})
    return Line(path, BETWEEN.join(labels), row.get("patient", ""), SPLIT_OF.get(part.lower(), ""), row.get("mask", ""),
                tuple(_box(text, number) for text in row.get("box", "").split(";") if text.strip()))


def _box(text: str, number: int) -> Box:
    words = text.replace(",", " ").split()
    found = numbers(words) if len(words) == 4 else None
    if found is None or min(found[2:]) <= 0:
        raise EngineError(f"line {number} of the manifest has the box '{text.strip()}'; write left, top, width and "
                          "height in the picture's pixels, such as 120 80 64 40, and ; between several")
    return Box(*found)


def _open(info: DatasetInfo, split: str, file: Path, lines: Sequence[Line], published: bool) -> Dataset:
    confined = _Confined(file.parent)
    labelled = [line for line in lines if line.label]
    paths = {line.path: confined.path(line.path) for line in labelled}
    there = [line for line in labelled if os.path.isfile(paths[line.path])]
    numbers = {name: number for number, name in enumerate(info.classes)}
    parts = [line.part for line in there] if published else splits.draw_whole(
        [line.patient or line.path for line in there], [numbers[line.label] for line in there])
    chosen = [line for line, part in zip(there, parts, strict=True) if split in (ALL, part)]
    if not chosen:
        raise EngineError(f"'{info.title}' has too few pictures ({len(there)} of {len(labelled)} are there) for a "
                          f"{split} split; use the split all")
    gaps = Gaps((), len(labelled) - len(there), _unlabelled(paths.values()))
    marks = {paths[line.path]: (confined.path(line.mask) if line.mask else None, line.boxes) for line in chosen}
    return Listed(info, split, [paths[line.path] for line in chosen],
                  [numbers[line.label] for line in chosen], confined.root,
                  coloured([paths[line.path] for line in there]), [line.patient for line in chosen], gaps, marks)


class _Confined:
    """Paths in a folder or below, whatever links there are."""

    def __init__(self, folder: Path) -> None:
        self.root = Path(os.path.realpath(folder))

    def path(self, written: str) -> Path:
        """The path that is written so; raises EngineError where it leads out of the folder."""
        path = Path(os.path.normpath(self.root / written.replace("\\", "/")))
        try:
            inside = path.is_relative_to(self.root) and Path(os.path.realpath(path)).is_relative_to(self.root)
        except (OSError, ValueError):  # bytes that no name has, a loop of links
            inside = False
        if not inside:
            raise EngineError(f"the manifest names '{written}', which is not in its own folder or leads out of it; put "
                              "the pictures beside the manifest, and write paths from there on")
        return path


def _unlabelled(named: Iterable[Path]) -> int:
    """How many pictures lie in the folders of those that are named, and are not named."""
    known = set(named)
    count = 0
    for folder in {path.parent for path in known}:
        try:
            count += sum(os.path.splitext(name)[1].lower() in {*SUFFIXES, DICOM} and folder / name not in known
                         for name in os.listdir(folder) if not name.startswith("."))
        except OSError:  # a folder that is not there has no pictures
            continue
    return count


def _mask(path: Path) -> np.ndarray:
    try:
        return marked_in(path.read_bytes())
    except OSError as error:
        raise EngineError(f"the mask {path.name} cannot be read ({error.strerror}); put it back, or take it out of the "
                          "manifest") from None


def _size(path: Path) -> tuple[int, int]:
    if path.suffix.lower() == DICOM:
        height, width = read_limited(path).levels.shape[1:]
        return width, height
    return open_raster(path).size
