"""Data sets: `load` opens one by name."""

from collections.abc import Callable  # noqa: I001

# Each registers itself; this is the order in which they are offered, the default first.
from engine.data import phantom_cxr, phantom_ct, phantom_histology, kermany, covid_ct  # noqa: F401
from engine.data import sars_ct, rsna, covidx, breakhis, medmnist, folder, manifest, findings, renamed, shrunk, workshop  # noqa: F401
from engine.data.base import DATASETS, Dataset, DatasetEntry, DatasetInfo

__all__ = ["DATASETS", "PATHS", "Dataset", "DatasetEntry", "DatasetInfo", "find", "load"]

# Data sets that a path of the user's names, by what stands before it.
PATHS = {folder.PREFIX: folder.entry, manifest.PREFIX: manifest.entry}


def find(name: str) -> DatasetEntry:
    """The data set `name`, registered, or so with @SIDE for smaller pictures, or folder:PATH, or manifest:PATH, or
    made:PHANTOM for one made to order, or map:NAMES:NAME for one with other names of classes, or finding:LABEL:NAME for
    one of several labels; raises EngineError."""
    for prefix, entry in _READ.items():
        if name.startswith(prefix):
            return entry(name.removeprefix(prefix))
    if shrunk.SEPARATOR in name:
        return shrunk.entry(name)
    return DATASETS[name]


# What a name may begin with, and how the rest of it is read.
_READ: dict[str, Callable[[str], DatasetEntry]] = {
    **PATHS, workshop.PREFIX: workshop.entry, renamed.PREFIX: lambda text: renamed.entry(renamed.PREFIX + text, find),
    findings.PREFIX: lambda text: findings.entry(findings.PREFIX + text, find)}


def load(name: str, split: str | None = None) -> Dataset:
    """Open one split of the data set `name` (default: its own default, mostly test); raises EngineError."""
    return find(name).load(split)
