"""The real data sets shrunk to SIDE x SIDE, and networks that are trained on them when first asked for."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.attacks.base import Others
from engine.data import DATASETS
from engine.data import load as load_dataset
from engine.data.base import Dataset, DatasetEntry
from engine.experiments.means import others
from engine.models.checkpoints import load as load_checkpoint
from engine.models.classifier import Classifier
from engine.models.train import TrainSpec, train

SIDE = 64
XRAY, CT = "kermany", "covid-ct"
OTHERS = 16  # training pictures of each class that the attacker has
EPOCHS = {XRAY: 10, CT: 60}


class Shrunk(Dataset):
    """The same pictures, each the mean of what it covers."""

    def __init__(self, whole: Dataset) -> None:
        super().__init__(replace(whole.info, name=_small(whole.info.name)), whole.split, whole.labels)
        self._whole = whole

    def image(self, index: int) -> np.ndarray:
        channels = [Image.fromarray(channel).resize((SIDE, SIDE), Image.Resampling.BOX)
                    for channel in self._whole.image(index)]
        return np.stack([np.asarray(channel) for channel in channels])

    def item_name(self, index: int) -> str:
        return self._whole.item_name(index)


def _small(name: str) -> str:
    return f"{name}-{SIDE}"


@cache
def _register(name: str) -> None:
    entry = DATASETS[name]
    DATASETS.add(_small(name), DatasetEntry(replace(entry.info, name=_small(name)),
                                            lambda split: Shrunk(entry.load(split)), entry.missing))


def _trained(dataset: str, arch: str, home: Path) -> Classifier:
    name = f"{_small(dataset)}-{arch}"
    path = home / f"{name}.safetensors"
    if not path.exists():
        spec = TrainSpec(dataset=_small(dataset), arch=arch, name=name, epochs=EPOCHS[dataset],
                         full_size_epochs=EPOCHS[dataset], small_size=SIDE)
        card = train(spec, path)
        print(card.training["history"], f"{name}: {card.evaluations['test']['accuracy']:.1%} on test")
    return load_checkpoint(path)


@dataclass(frozen=True)
class Scene:
    """Models of several architectures, and test pictures [N, C, H, W] that all of them read correctly."""

    models: dict[str, Classifier]
    images: Tensor
    labels: Tensor
    others: Others


def scene(dataset: str, archs: tuple[str, ...], count: int, home: Path) -> Scene:
    """`count` test pictures (or all there are), spread over the classes evenly; `others` are training pictures."""
    _register(dataset)
    models = {arch: _trained(dataset, arch, home) for arch in archs}
    test = load_dataset(_small(dataset), "test")
    images, labels = torch.from_numpy(test.images(range(len(test)))), torch.from_numpy(test.labels)
    read = torch.ones(len(labels), dtype=torch.bool)
    with torch.no_grad():
        for model in models.values():
            read &= torch.cat([model(some) for some in images.split(64)]).argmax(1) == labels
    classes = labels.unique()
    chosen = torch.cat([(read & (labels == c)).nonzero()[:, 0][:count // len(classes)] for c in classes])
    return Scene(models, images[chosen], labels[chosen], others(test, [], OTHERS))

