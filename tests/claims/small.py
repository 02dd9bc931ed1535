"""The real data sets with smaller pictures, and networks that are trained on them when first asked for."""

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
from engine.experiments.resources import others
from engine.training.train import TrainSpec, train
from engine.zoo.checkpoints import load as load_checkpoint
from engine.zoo.classifier import Classifier
from engine.zoo.registry import load_model

SIDE = 64
XRAY, CT = "kermany", "covid-ct"
OTHERS = 16  # training pictures of each class that the attacker has
EPOCHS = {(XRAY, "resnet18"): 10, (XRAY, "densenet121"): 6, (CT, "resnet18"): 60}


class Shrunk(Dataset):
    """The same pictures with `side` x `side` pixels, each the mean of what it covers."""

    def __init__(self, whole: Dataset, side: int) -> None:
        super().__init__(replace(whole.info, name=_small(whole.info.name, side)), whole.split, whole.labels)
        self._whole, self._side = whole, side

    def image(self, index: int) -> np.ndarray:
        channels = [Image.fromarray(channel).resize((self._side, self._side), Image.Resampling.BOX)
                    for channel in self._whole.image(index)]
        return np.stack([np.asarray(channel) for channel in channels])

    def item_name(self, index: int) -> str:
        return self._whole.item_name(index)


def _small(name: str, side: int) -> str:
    return f"{name}-{side}"


@cache
def _register(name: str, side: int) -> None:
    entry, small = DATASETS[name], _small(name, side)
    DATASETS.add(small, DatasetEntry(replace(entry.info, name=small), lambda split: Shrunk(entry.load(split), side),
                                     entry.missing))


def _trained(dataset: str, side: int, arch: str, home: Path) -> Classifier:
    name = f"{_small(dataset, side)}-{arch}"
    path = home / f"{name}.safetensors"
    if not path.exists():
        epochs = EPOCHS[dataset, arch]
        spec = TrainSpec(dataset=_small(dataset, side), arch=arch, name=name, epochs=epochs, full_size_epochs=epochs,
                         small_size=side)
        card = train(spec, path)
        print(f"{name}: {card.evaluations['test']['accuracy']:.1%} on test")
    return load_checkpoint(path)


@dataclass(frozen=True)
class Scene:
    """Models of several architectures, and test pictures [N, C, H, W] that all of them read correctly."""

    models: dict[str, Classifier]
    images: Tensor
    labels: Tensor
    others: Others


def scene(dataset: str, archs: tuple[str, ...], count: int, home: Path, side: int = SIDE) -> Scene:
    """`count` test pictures (or all there are), spread over the classes evenly; `others` are training pictures."""
    _register(dataset, side)
    models = {arch: _trained(dataset, side, arch, home) for arch in archs}
    return _scene(models, load_dataset(_small(dataset, side), "test"), count)


def full_size_scene(dataset: str, arch: str, count: int) -> Scene:
    """The same with pictures as they are, and the bundled model."""
    return _scene({arch: load_model(f"{dataset}/{arch}")}, load_dataset(dataset, "test"), count)


def _scene(models: dict[str, Classifier], test: Dataset, count: int) -> Scene:
    images, labels = torch.from_numpy(test.images(range(len(test)))), torch.from_numpy(test.labels)
    read = torch.ones(len(labels), dtype=torch.bool)
    with torch.no_grad():
        for model in models.values():
            read &= torch.cat([model(some) for some in images.split(64)]).argmax(1) == labels
    classes = labels.unique()
    chosen = torch.cat([(read & (labels == c)).nonzero()[:, 0][:count // len(classes)] for c in classes])
    return Scene(models, images[chosen], labels[chosen], others(test, [], OTHERS))

