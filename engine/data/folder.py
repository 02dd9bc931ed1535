"""`folder:PATH`: the user's own pictures, one folder a class, with or without train and test folders above."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine.data import splits
from engine.data.base import Damaged, Dataset, DatasetEntry, DatasetInfo, Gaps
from engine.data.files import FileDataset, image_files, listed
from engine.data.raster import open_raster
from engine.errors import EngineError
from engine.home import expanded

PREFIX = "folder:"
SPLIT_OF = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
PUBLISHED = {"train": "The pictures in train/.",
             "validation": "The pictures in val/.", "test": "The pictures in test/."}
DRAWN = {
    "all": "All pictures.",
    "train": "80 % of each class, drawn at random by file; pictures of one patient may be in several parts.",
    "validation": "10 % of each class, drawn at random by file.",
    "test": "10 % of each class, drawn at random by file.",
}

SETTLED = 2.0  # seconds after which a further file shows in a folder's time of change
LED_OUT = "it is a link that leads out of the folder"

# File names that tell more than the class: BreaKHis (Spanhol et al. 2016) says slide and magnification.
_TELLING = (re.compile(r"SOB_[BM]_[A-Z]+-(?P<Slide>\d+-\w+)-(?P<Magnification>\d+)-\d+"),)


class Pictures(FileDataset):
    """The user's pictures, with the subgroups that known ways of naming files tell."""

    def groups(self, index: int) -> Mapping[str, str]:
        found = (pattern.match(self.paths[index].name) for pattern in _TELLING)
        return next((match.groupdict() for match in found if match), {})


@dataclass(frozen=True)
class _File:
    path: Path
    class_name: str
    split: str


def entry(path: str) -> DatasetEntry:
    """The data set in the folder `path`; raises EngineError where it is no folder of class folders with pictures."""
    root = expanded(path)
    # Unlike Path.is_dir this raises nothing, whatever the path: too long, a loop of links, bytes that no name has.
    if not path or not os.path.isdir(root):
        raise EngineError(f"there is no folder '{path}'; give folder:PATH with one folder of pictures a class")
    return _entry(path, root, _state(root))


def _state(root: Path) -> tuple[float, ...]:
    """Changes with what lies in the folder and in those of splits and classes below it: pages ask at every click, and
    tens of thousands of files take long to list. What was changed just now, or cannot be looked at, is always new."""
    now = time.time()
    folders = [root, *(within for d in _folders(root)
                       for within in (d, *(_folders(d) if d.name.lower() in SPLIT_OF else ())))]
    try:
        facts = [os.stat(folder) for folder in folders]
    except OSError:
        return (now,)
    latest = max(max(one.st_mtime, one.st_ctime) for one in facts)
    return (*(when for one in facts for when in (one.st_mtime_ns, one.st_ctime_ns)),
            *((now,) if now - latest < SETTLED else ()))


@lru_cache(maxsize=8)
def _entry(path: str, root: Path, state: tuple[float, ...]) -> DatasetEntry:
    published = [d for d in _folders(root) if d.name.lower() in SPLIT_OF]
    files = [f for d in published for f in _in_classes(d, SPLIT_OF[d.name.lower()])] or _in_classes(root, "")
    classless = sum(len(image_files(d)) for d in (root, *published))
    classes = tuple(sorted({f.class_name for f in files}))
    numbers = {name: number for number, name in enumerate(classes)}
    if len(classes) < 2:
        found = f"only '{classes[0]}'" if classes else "none"
        raise EngineError(f"'{path}' needs at least two class folders with pictures in them, and has {found}")
    if published:
        kept = {f.split for f in files}
        offered = {name: sentence for name, sentence in PUBLISHED.items() if name in kept}
    else:
        offered = DRAWN
        labels = [numbers[f.class_name] for f in files]
        drawn = splits.draw_by_class([f.path.relative_to(root).as_posix() for f in files], labels)
        files = [_File(f.path, f.class_name, part) for f, part in zip(files, drawn, strict=True)]
    info = DatasetInfo(
        name=f"{PREFIX}{path}",
        title=root.resolve().name or path,
        sentence=f"{len(files):,} pictures of your own in {len(classes)} classes.",
        classes=classes,
        splits=offered,
        source="your own folder",
        terms="yours",
        default_split=next(s for s in ("all", "test", "validation", "train") if s in offered),
    )

    def open_split(split: str) -> Dataset:
        chosen = [f for f in files if split in ("all", f.split)]
        if not chosen:
            raise EngineError(f"'{path}' has too few pictures to draw a {split} split; use the split all")
        there = _inside([f.path for f in chosen], root)
        inside = [f for f, here in zip(chosen, there, strict=True) if here]
        outside = tuple(Damaged(f.path.relative_to(root).as_posix(), LED_OUT)
                        for f, here in zip(chosen, there, strict=True) if not here)
        if not inside:
            raise EngineError(f"all pictures of the {split} split of '{path}' are links out of that folder; copy them "
                              "there, or give the folder that they are in")
        return Pictures(info, split, [f.path for f in inside], [numbers[f.class_name] for f in inside], root,
                        coloured([f.path for f in inside]), gaps=Gaps(outside, without_label=classless))

    return DatasetEntry(info, open_split)


def _inside(paths: Sequence[Path], root: Path) -> list[bool]:
    """Which files lie in the folder itself, whatever links there are."""
    whole = os.path.realpath(root)

    def within(path: str) -> bool:
        return os.path.realpath(path).startswith(os.path.join(whole, ""))

    folders = {parent: within(parent) for parent in {os.path.dirname(path) for path in paths}}
    return [within(str(path)) if os.path.islink(path) else folders[os.path.dirname(path)] for path in paths]


def _folders(root: Path) -> list[Path]:
    return [p for p in listed(root) if os.path.isdir(p)]


def _in_classes(root: Path, split: str) -> list[_File]:
    files = []
    for folder in _folders(root):
        found = image_files(folder)
        if not found:
            raise EngineError(f"the class folder '{folder.relative_to(root.parent).as_posix()}' holds no picture; put "
                              "PNG, JPEG, BMP or TIFF files directly into it, or remove it")
        files += [_File(path, folder.name, split) for path in found]
    return files


def coloured(paths: Sequence[Path], looked_at: int = 6) -> bool:
    """Whether most of a few pictures spread over the list have colour in more than a hundredth of their pixels."""
    seen = [_has_colour(paths[place]) for place in np.linspace(0, len(paths) - 1, looked_at).astype(int)]
    return sum(seen) > looked_at / 2


def _has_colour(path: Path) -> bool:
    try:
        picture = open_raster(path)
    except EngineError:  # an unreadable file is named when it is asked for
        return False
    if picture.mode != "RGB":
        return False
    picture.thumbnail((128, 128))
    pixels = np.asarray(picture, dtype=np.int16)
    return bool(((pixels.max(-1) - pixels.min(-1)) > 16).mean() > 0.01)
