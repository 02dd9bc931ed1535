"""Data sets: `load` opens one by name."""

# Each registers itself; this is the order in which they are offered, the default first.
from engine.data import phantom_cxr, phantom_ct, phantom_histology, kermany, covid_ct, folder, shrunk  # noqa: F401, I001
from engine.data.base import DATASETS, Dataset, DatasetEntry, DatasetInfo

__all__ = ["DATASETS", "Dataset", "DatasetEntry", "DatasetInfo", "find", "load"]


def find(name: str) -> DatasetEntry:
    """The data set `name`, registered, or so with @SIDE for smaller pictures, or folder:PATH; raises EngineError."""
    if name.startswith(folder.PREFIX):
        return folder.entry(name.removeprefix(folder.PREFIX))
    if shrunk.SEPARATOR in name:
        return shrunk.entry(name)
    return DATASETS[name]


def load(name: str, split: str | None = None) -> Dataset:
    """Open one split of the data set `name` (default: its own default, mostly test); raises EngineError."""
    return find(name).load(split)
