"""Our black-box attacks and APGD against foolbox, ART and torchattacks, at the same number of queries.

The peers run on one image at a time, and a model that counts cuts them off where the budget ends, so that they are
judged by what they had found by then. The images are small, because each takes thousands of forward passes; labels are
what the model says of them. PERTURBSCOPE_PEER_IMAGES and PERTURBSCOPE_PEER_SIDE make it say more and take longer.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import engine
from engine.attacks.base import Others, length
from engine.attacks.result import AttackResult
from engine.attacks.runner import Means
from engine.errors import EngineError
from engine.models.classifier import Classifier

pytestmark = [pytest.mark.peers, pytest.mark.skipif(
    "PERTURBSCOPE_PEER_IMAGES" not in os.environ, reason="takes many minutes: make peers")]

COUNT = int(os.environ.get("PERTURBSCOPE_PEER_IMAGES", "6"))
SIDE = int(os.environ.get("PERTURBSCOPE_PEER_SIDE", "96"))
QUERIES = 500
MODEL, DATA = "phantom-cxr/resnet18", "phantom-cxr"
ORDERS = {"l2": 2.0, "linf": float("inf")}


class Enough(Exception):
    """The budget is spent."""


class Metered(nn.Module):
    """Lets `QUERIES` images through, and remembers the nearest to `clean` that is not taken for `label`."""

    def __init__(self, model: nn.Module, clean: Tensor, label: int, norm: str) -> None:
        super().__init__()
        self.model, self.clean, self.label, self.order = model, clean, label, ORDERS[norm]
        self.left, self.best = QUERIES, float("inf")

    def forward(self, x: Tensor) -> Tensor:
        x = x[:self.left] if self.left else x[:1]
        if not self.left:
            raise Enough
        logits = self.model(x)
        self.left -= len(x)
        fooled = logits.argmax(1) != self.label
        if bool(fooled.any()):
            self.best = min(self.best, float(length(x[fooled] - self.clean, self.order).min()))
        if not self.left:
            raise Enough
        return logits


@dataclass(frozen=True)
class Subject:
    model: Classifier
    images: Tensor
    labels: Tensor
    starts: Tensor  # the nearest image of another class, for each

    def ours(self, name: str, norm: str, eps: float | None = None, **options: object) -> AttackResult:
        means = Means(others=Others(self.starts, self.model(self.starts).argmax(1).detach()))
        return engine.attack(name, self.model, self.images, self.labels, eps=eps, norm=norm, queries=QUERIES,
                             numerics="reference", device="cpu", means=means, **options)

    def theirs(self, norm: str, attack: Callable[[nn.Module, Tensor, Tensor, Tensor], object]) -> np.ndarray:
        """The distance of the nearest image that `attack` showed the model within the budget, for each image."""
        found = []
        for clean, label, start in zip(self.images.split(1), self.labels, self.starts.split(1), strict=True):
            metered = Metered(self.model, clean, int(label), norm).eval()
            try:
                with torch.no_grad():
                    attack(metered, clean, label[None], start)
            except Enough:
                pass
            found.append(metered.best)
        return np.array(found)


@pytest.fixture(scope="module")
def subject() -> Subject:
    try:
        model, data = engine.load_model(MODEL), engine.load_dataset(DATA, "test")
    except EngineError as error:
        pytest.skip(str(error))
    chosen = [int(i) for i in np.linspace(0, len(data) - 1, 4 * COUNT)]
    images = F.interpolate(torch.from_numpy(data.images(chosen)), size=(SIDE, SIDE), mode="area")
    with torch.no_grad():
        labels = model(images).argmax(1)
    few = images[:: len(images) // COUNT][:COUNT]
    few_labels = labels[:: len(images) // COUNT][:COUNT]
    apart = torch.cdist(few.flatten(1), images.flatten(1))
    apart[few_labels[:, None] == labels[None]] = float("inf")
    assert bool(apart.isfinite().any(1).all()), "all images are of one class"
    return Subject(model, few, few_labels, images[apart.argmin(1)])


def _foolbox(name: str, **options: object) -> Callable[[nn.Module, Tensor, Tensor, Tensor], object]:
    foolbox = pytest.importorskip("foolbox")

    def attack(model: nn.Module, image: Tensor, label: Tensor, start: Tensor) -> object:
        theirs = getattr(foolbox.attacks, name)(**options)
        return theirs.run(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), image,
                          foolbox.criteria.Misclassification(label), starting_points=start)

    return attack


def _art(name: str, **options: object) -> Callable[[nn.Module, Tensor, Tensor, Tensor], object]:
    evasion = pytest.importorskip("art.attacks.evasion")
    from art.estimators.classification import PyTorchClassifier

    def attack(model: nn.Module, image: Tensor, label: Tensor, start: Tensor) -> object:
        theirs = PyTorchClassifier(model, loss=nn.CrossEntropyLoss(), input_shape=image.shape[1:], nb_classes=3,
                                   clip_values=(0, 1), device_type="cpu")
        one_hot = np.eye(3, dtype=np.float32)[label.numpy()]
        return getattr(evasion, name)(theirs, verbose=False, **options).generate(image.numpy(), one_hot,
                                                                                 x_adv_init=start.numpy())

    return attack


def _never_weaker(ours: np.ndarray, theirs: np.ndarray, allowed: float = 1.03) -> None:
    """By the median; a method draws at random, so what is allowed grows where images are few."""
    allowed += 0.6 / np.sqrt(len(ours)) / 2
    print(f"median {np.median(ours):.4g} against {np.median(theirs):.4g}; {np.round(ours / theirs, 2)}")
    assert np.median(ours) <= allowed * np.median(theirs)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("peer", [
    lambda norm: _foolbox("HopSkipJumpAttack", steps=200, constraint=norm),
    lambda norm: _art("HopSkipJump", norm=2 if norm == "l2" else "inf", max_iter=200),
], ids=["foolbox", "ART"])
def test_hopskipjump_gets_as_near(subject: Subject, norm: str, peer: Callable[[str], Callable]) -> None:
    ours = subject.ours("hopskipjump", norm)
    assert ours.success.all() and (ours.queries <= QUERIES).all()
    _never_weaker(getattr(ours, norm), subject.theirs(norm, peer(norm)))


@pytest.mark.parametrize("peer", [
    lambda: _foolbox("BoundaryAttack", steps=5000),
    lambda: _art("BoundaryAttack", targeted=False, max_iter=5000),
], ids=["foolbox", "ART"])
def test_boundary_gets_as_near(subject: Subject, peer: Callable[[], Callable]) -> None:
    ours = subject.ours("boundary", "l2")
    assert ours.success.all() and (ours.queries <= QUERIES).all()
    _never_weaker(ours.l2, subject.theirs("l2", peer()))


@pytest.mark.parametrize(("norm", "eps"), [("linf", 1 / 255), ("l2", 0.3)])
def test_square_fools_as_often_as_torchattacks_and_art(subject: Subject, norm: str, eps: float) -> None:
    torchattacks = pytest.importorskip("torchattacks")

    def square(model: nn.Module, image: Tensor, label: Tensor, start: Tensor) -> object:
        return torchattacks.Square(model, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, n_queries=QUERIES,
                                   seed=0)(image, label)

    ours = subject.ours("square", norm, eps)
    theirs = subject.theirs(norm, square) <= eps * 1.0001
    assert theirs.sum() > 0
    print(f"{ours.success.sum()} of {COUNT} against {theirs.sum()}")
    assert ours.success.sum() >= theirs.sum() - max(1, round(0.03 * COUNT))


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.2 / 255), ("l2", 0.05)])
def test_apgd_fools_as_many_as_torchattacks(subject: Subject, norm: str, eps: float, loss: str) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    images = torch.cat([subject.images, subject.starts])
    labels = subject.model(images).argmax(1).detach()
    theirs = torchattacks.APGD(subject.model, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, steps=20, seed=0,
                               loss=loss)(images, labels)
    name = {"ce": "cross-entropy", "dlr": "difference of logits ratio"}[loss]
    ours = engine.attack("apgd", subject.model, images, labels, eps=eps, norm=norm, steps=20, loss=name,
                         numerics="reference", device="cpu")
    fooled = int((subject.model(theirs).argmax(1) != labels).sum())
    print(f"{ours.success.sum()} of {len(labels)} against {fooled}")
    assert ours.success.sum() >= fooled - 1
