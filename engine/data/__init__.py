"""Data sets: `load` opens one by name."""

import engine.data.kermany  # noqa: F401  (registers itself)
from engine.data.base import DATASETS, Dataset, DatasetEntry, DatasetInfo

__all__ = ["DATASETS", "Dataset", "DatasetEntry", "DatasetInfo", "load"]


def load(name: str, split: str | None = None) -> Dataset:
    """Open one split of the data set `name` (default: its test split); raises EngineError."""
    return DATASETS[name].load(split)
