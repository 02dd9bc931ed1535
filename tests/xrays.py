"""Real X-rays and a network that reads them, small enough that attacks on 200 of them take seconds.

The X-rays are those of PneumoniaMNIST (MedMNIST, 28 x 28, CC BY 4.0) in the folder of real data; the network is trained
on its training split, in a few seconds, whenever it is needed.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import engine
from engine.attacks.base import Others, length
from engine.attacks.result import AttackResult
from engine.attacks.runner import Resources
from engine.zoo.classifier import Classifier

FILE = "medmnist/pneumoniamnist.npz"
CLASSES = ("normal", "pneumonia")
EPOCHS, BATCH, RATE = 5, 64, 3e-3
ORDERS = {"l0": 0.0, "l2": 2.0, "linf": float("inf")}


class Enough(Exception):
    """The budget is spent."""


@dataclass(frozen=True)
class XRays:
    """A trained model, X-rays of the validation and test splits that it reads correctly, [N, 1, 28, 28], their
    classes [N], and further X-rays of the training split that an attacker may have."""

    model: Classifier
    images: Tensor
    labels: Tensor
    others: Others

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int) -> "XRays":
        """The first `count` images; both classes alternate."""
        return XRays(self.model, self.images[:count], self.labels[:count], self.others)

    def often(self, times: int) -> "XRays":
        """All images so many times over."""
        return XRays(self.model, self.images.repeat(times, 1, 1, 1), self.labels.repeat(times), self.others)

    def ours(self, name: str, norm: str, eps: float | None = None, **options: object) -> AttackResult:
        return engine.attack(name, self.model, self.images, self.labels, eps=eps, norm=norm, batch=100,
                             numerics="reference", device="cpu", resources=Resources(others=self.others),
                             **options).arrays

    def fooled(self, images: Tensor) -> Tensor:
        """Which of `images` the model gets wrong, bool [N]."""
        with torch.no_grad():
            return self.model(images).argmax(1) != self.labels

    def sizes(self, images: Tensor | np.ndarray, norm: str) -> np.ndarray:
        """How far each of `images` lies from the clean one; infinite where it does not fool the model."""
        images = torch.tensor(images) if isinstance(images, np.ndarray) else images
        change = images - self.images
        if norm == "l0":
            change = change.abs().amax(1, keepdim=True) * (change.abs() > 1e-6)
        return length(change, ORDERS[norm]).flatten().where(self.fooled(images), float("inf")).numpy()

    def of_class(self, label: int) -> "XRays":
        """Only the images of class `label`."""
        mine = self.labels == label
        return XRays(self.model, self.images[mine], self.labels[mine], self.others)

    @property
    def one_hot(self) -> np.ndarray:
        return np.eye(2, dtype=np.float32)[self.labels]

    def torchattacks(self, name: str, **options: object) -> Tensor:
        """What that attack of torchattacks makes of the images."""
        torchattacks = pytest.importorskip("torchattacks")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return getattr(torchattacks, name)(self.model, **options)(self.images, self.labels).detach()

    def foolbox(self, name: str, **options: object) -> Tensor:
        foolbox = pytest.importorskip("foolbox")
        model = foolbox.PyTorchModel(self.model, bounds=(0, 1), device="cpu")
        attack = getattr(foolbox.attacks, name)(**options)
        return attack.run(model, self.images, foolbox.criteria.Misclassification(self.labels)).detach()

    def art(self, name: str, aims: np.ndarray | None = None, **options: object) -> Tensor:
        """Towards the classes `aims` (one-hot), if any; otherwise away from the true ones."""
        evasion = pytest.importorskip("art.attacks.evasion")
        attack = getattr(evasion, name)(art_classifier(self.model), **{"verbose": False, **options})
        return torch.from_numpy(attack.generate(self.images.numpy(), self.one_hot if aims is None else aims))

    def one_by_one(self, attack: Callable[["Metered", Tensor, Tensor], object], norm: str, *,
                   queries: int | None = None, gradients: int | None = None) -> np.ndarray:
        """The distance of the nearest image that fools the model among those that `attack(model, image, label)` asked
        about within a budget, for each image."""
        found = []
        for clean, label in zip(self.images.split(1), self.labels.split(1), strict=True):
            metered = Metered(self.model, clean, label, norm, queries, gradients)
            with suppress(Enough):
                attack(metered, clean, label)
            found.append(metered.best)
        return np.array(found)


def art_classifier(model: nn.Module) -> object:
    """`model` as ART sees it."""
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(model, loss=nn.CrossEntropyLoss(), input_shape=(1, 28, 28), nb_classes=2,
                             clip_values=(0, 1), device_type="cpu")


def as_near(ours: np.ndarray, theirs: np.ndarray, grain: int = 1) -> None:
    """Our attack finds as many, but for `grain` images or 3 %, and its median distance is within 3 % or smaller."""
    print(f"median {np.median(ours):.4g} against {np.median(theirs):.4g}, found {np.isfinite(ours).sum()} against "
          f"{np.isfinite(theirs).sum()} of {len(ours)}")
    assert np.isfinite(theirs).any() and np.isfinite(np.median(ours)), "this compares nothing"
    as_many(np.isfinite(ours), np.isfinite(theirs), grain)
    assert np.median(ours) <= 1.03 * np.median(theirs)


def as_many(ours: np.ndarray | Tensor, theirs: np.ndarray | Tensor, grain: int = 1) -> None:
    """Our attack fools as many of the images, but for `grain` of them or 3 %."""
    mine, other = int(ours.sum()), int(theirs.sum())
    print(f"{mine} against {other} of {len(ours)}")
    assert other > 0, "the other attack did nothing: this compares nothing"
    assert mine >= other - max(grain, round(0.03 * len(ours)))


class Metered(nn.Module):
    """Lets so many images and gradients through, and remembers the nearest to `clean` that is not taken for `label`."""

    def __init__(self, model: nn.Module, clean: Tensor, label: Tensor, norm: str, queries: int | None,
                 gradients: int | None) -> None:
        super().__init__()
        self.model, self.clean, self.label, self.order = model, clean, int(label), ORDERS[norm]
        self.queries, self.gradients = queries or 10**9, gradients or 10**9
        self.best = float("inf")
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        if self.queries <= 0 or self.gradients <= 0:
            raise Enough
        x = x[:self.queries].float()  # ART asks in float64
        logits = self.model(x)
        self.queries -= len(x)
        fooled = logits.argmax(1) != self.label
        if bool(fooled.any()):
            self.best = min(self.best, float(length(x[fooled].detach() - self.clean, self.order).min()))
        if logits.requires_grad:
            logits.register_hook(self._spend)
        return logits

    def _spend(self, gradient: Tensor) -> None:
        self.gradients -= len(gradient)


def load(data_home: Path, count: int) -> XRays:
    """The model, trained now, and `count` further X-rays that it reads correctly."""
    with np.load(data_home / FILE, allow_pickle=False) as file:
        images, labels = (torch.cat([torch.from_numpy(file[f"{split}_{kind}"]) for split in ("train", "val", "test")])
                          for kind in ("images", "labels"))
        size = len(file["train_images"])
    images, labels = images[:, None].float() / 255, labels[:, 0].long()
    train_images, train_labels, images, labels = images[:size], labels[:size], images[size:], labels[size:]
    model = Classifier(_trained(train_images, train_labels), CLASSES, mean=(0.57,), std=(0.17,), channels=1,
                       name="small X-ray network")
    with torch.no_grad():
        right = model(images).argmax(1) == labels
    each = [(right & (labels == label)).nonzero()[: (count + 1) // 2, 0] for label in (0, 1)]
    chosen = torch.stack(each, 1).flatten()[:count]
    return XRays(model, images[chosen], labels[chosen], Others(train_images[::size // 64], train_labels[::size // 64]))


def _trained(images: Tensor, labels: Tensor) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential()
        for channels, more in ((1, 16), (16, 32), (32, 32)):
            net.extend([nn.Conv2d(channels, more, 3, padding=1), nn.BatchNorm2d(more), nn.ReLU(), nn.AvgPool2d(2)])
        net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2)])
        adam = torch.optim.Adam(net.parameters(), RATE, weight_decay=1e-4)
        normalised = (images - 0.57) / 0.17
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(images)).split(BATCH):
                adam.zero_grad()
                F.cross_entropy(net(normalised[rows]), labels[rows]).backward()
                adam.step()
    return net.eval()
