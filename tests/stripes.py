"""A small data set on which `nets.small_cnn` is trained in a moment."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from engine.data.base import DATASETS, Dataset, DatasetEntry, DatasetInfo
from engine.training.spec import TrainSpec
from tests import nets

SIZES = {"train": 80, "validation": 20, "test": 30, "few": 5, "one": 1, "no": 0}


class Stripes(Dataset):
    """32 x 32 pictures whose stripes run one way or the other."""

    channels = 1

    def image(self, index: int) -> np.ndarray:
        random = np.random.default_rng([index, len(self)])
        wave = 0.5 + 0.4 * np.sin(np.arange(32) * 1.2 + random.uniform(0, 6))
        across = np.broadcast_to(wave, (32, 32)) if self.labels[index] else np.broadcast_to(wave[:, None], (32, 32))
        noisy = np.clip(across + random.normal(0, 0.05, (self.channels, 32, 32)), 0, 1)
        return noisy.astype(np.float32)

    def item_name(self, index: int) -> str:
        return f"{self.split}/{index}"


class ColouredStripes(Stripes):
    """As `Stripes`, but red is dark and blue hardly changes."""

    channels = 3

    def image(self, index: int) -> np.ndarray:
        return super().image(index) * np.array([0.2, 1.0, 0.1], np.float32)[:, None, None]


@contextmanager
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both, and the network, are known for one test."""
    nets.register(monkeypatch)
    for kind in (Stripes, ColouredStripes):
        name = kind.__name__
        info = DatasetInfo(name.lower(), name, "", ("across", "along"), dict.fromkeys(SIZES, ""), "", "")

        def opened(split: str, kind: type[Dataset] = kind, info: DatasetInfo = info) -> Dataset:
            return kind(info, split, np.arange(SIZES[split]) % 2)  # type: ignore[abstract]

        monkeypatch.setitem(DATASETS._items, info.name, DatasetEntry(info, opened))
    # Threads only wait for one another in networks as small as these.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spec(**changes: object) -> TrainSpec:
    """A training of the network on them."""
    options = {"dataset": "stripes", "arch": "small-cnn", "name": "stripes/cnn", "epochs": 6, "full_size_epochs": 2,
               "small_size": 32, "batch": 16, "lr": 0.03, "precision": "float32"}
    return TrainSpec(**options | changes)  # type: ignore[arg-type]
