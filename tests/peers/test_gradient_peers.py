"""Our gradient attacks against torchattacks, foolbox and ART: on the same model and images they must find the same.

The number of images keeps this within a minute or two on two cores; `make peers` takes more, as many as
PERTURBSCOPE_PEER_IMAGES says.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import engine
from engine.attacks.result import AttackResult
from engine.errors import EngineError
from engine.zoo.classifier import Classifier

pytestmark = pytest.mark.peers

COUNT = int(os.environ.get("PERTURBSCOPE_PEER_IMAGES", "8"))
BATCH = 8
EPS = 1 / 255
STEPS = 5
MODEL, DATA = "phantom-cxr/resnet18", "phantom-cxr"


@dataclass(frozen=True)
class Subject:
    """A trained model and the images it is attacked on, [N, C, H, W]; the first of each class come first in turn."""

    model: Classifier
    images: Tensor
    labels: Tensor

    def in_batches(self, work: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """What `work` makes of each batch of images and labels, joined."""
        return torch.cat([work(x, y) for x, y in zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True)])

    def ours(self, name: str, numerics: str = "fast", **options: object) -> AttackResult:
        return engine.attack(name, self.model, self.images, self.labels, eps=EPS, batch=BATCH, numerics=numerics,
                             device="cpu", **options).arrays

    def logits(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.model(x) for x in images.split(BATCH)])

    def fooled(self, images: Tensor) -> int:
        """How many of the images the model gets wrong: N minus robust accuracy times N."""
        return int((self.logits(images).argmax(dim=1) != self.labels).sum())

    def loss(self, images: Tensor) -> float:
        return float(F.cross_entropy(self.logits(images), self.labels))


@pytest.fixture(scope="module")
def subject() -> Subject:
    try:
        model, data = engine.load_model(MODEL), engine.load_dataset(DATA, "test")
    except EngineError as error:
        pytest.skip(str(error))
    chosen = [int(i) for i in np.linspace(0, len(data) - 1, COUNT)]
    return Subject(model, torch.from_numpy(data.images(chosen)), torch.from_numpy(data.labels[chosen]).long())


def _torchattacks(subject: Subject, name: str, **options: object) -> Tensor:
    torchattacks = pytest.importorskip("torchattacks")
    theirs = getattr(torchattacks, name)(subject.model, eps=EPS, **options)
    return subject.in_batches(lambda x, y: theirs(x, y).detach())


def _foolbox(subject: Subject, name: str, **options: object) -> Tensor:
    foolbox = pytest.importorskip("foolbox")
    model = foolbox.PyTorchModel(subject.model, bounds=(0, 1), device="cpu")
    theirs = getattr(foolbox.attacks, name)(random_start=False, **options)
    return subject.in_batches(lambda x, y: theirs(model, x, y, epsilons=EPS)[1].detach())


def _art(subject: Subject, name: str, **options: object) -> Tensor:
    evasion = pytest.importorskip("art.attacks.evasion")
    from art.estimators.classification import PyTorchClassifier

    model = PyTorchClassifier(subject.model, loss=torch.nn.CrossEntropyLoss(), input_shape=subject.images.shape[1:],
                              nb_classes=len(subject.model.classes), clip_values=(0, 1), device_type="cpu")
    theirs = getattr(evasion, name)(model, norm=np.inf, eps=EPS, batch_size=BATCH, num_random_init=0, **options)
    labels = np.eye(len(subject.model.classes), dtype=np.float32)[subject.labels]
    return torch.from_numpy(theirs.generate(subject.images.numpy(), labels))


def _assert_same_step(ours: np.ndarray, theirs: Tensor, clean: Tensor) -> None:
    """Equal to 1e-5, but for under 0.1 % of the pixels, whose gradient is float noise and may have either sign."""
    theirs = theirs.numpy()
    differs = np.abs(ours - theirs) > 1e-5
    assert differs.mean() < 1e-3, f"{differs.mean():.3%} of the pixels differ"
    # Where they differ it is by the sign alone: both moved as far, within what black and white allow.
    there, here = (np.abs(x - clean.numpy()) for x in (theirs, ours))
    inside = differs & (clean.numpy() > EPS) & (clean.numpy() < 1 - EPS) & (here > 0) & (there > 0)
    np.testing.assert_allclose(here[inside], there[inside], atol=1e-5)


def _allowed(count: int) -> int:
    """One image in 200, and one where there are fewer."""
    return max(1, count // 200)


@pytest.mark.parametrize("numerics", ["reference", "fast"])
def test_fgsm_gives_torchattacks_images(subject: Subject, numerics: str) -> None:
    ours = subject.ours("fgsm", numerics)
    theirs = _torchattacks(subject, "FGSM")
    _assert_same_step(ours.adversarial, theirs, subject.images)
    assert abs(int((ours.predicted_adversarial != ours.labels).sum()) - subject.fooled(theirs)) <= _allowed(COUNT)


ITERATED = [
    ("bim", {}, "BIM", EPS / STEPS, {}),
    ("pgd", {"random_start": False}, "PGD", 2.5 * EPS / STEPS, {"random_start": False}),
    ("mifgsm", {}, "MIFGSM", EPS / STEPS, {}),
]


@pytest.mark.parametrize(("name", "options", "their_name", "alpha", "their_options"), ITERATED)
def test_iterated_attacks_begin_and_end_like_torchattacks(subject: Subject, name: str, options: dict, their_name: str,
                                                          alpha: float, their_options: dict) -> None:
    ours = subject.ours(name, steps=STEPS, keep_steps=True, **options)
    their_first = _torchattacks(subject, their_name, alpha=alpha, steps=1, **their_options)
    assert ours.trace.images is not None
    _assert_same_step(ours.trace.images[1], their_first, subject.images)
    theirs = _torchattacks(subject, their_name, alpha=alpha, steps=STEPS, **their_options)
    our_loss = subject.loss(torch.tensor(ours.adversarial))
    assert our_loss == pytest.approx(subject.loss(theirs), rel=0.01)
    fooled = int((ours.predicted_adversarial != ours.labels).sum())
    assert abs(fooled - subject.fooled(theirs)) <= max(1, round(0.01 * COUNT))
    assert subject.loss(theirs) > 1.5 * subject.loss(subject.images), "the attack did nothing: this compares nothing"


@pytest.fixture(scope="module")
def our_pgd(subject: Subject) -> AttackResult:
    return subject.ours("pgd", steps=STEPS, random_start=False)


@pytest.mark.parametrize(("theirs", "name", "options"), [
    (_torchattacks, "PGD", {"alpha": 2.5 * EPS / STEPS, "steps": STEPS, "random_start": False}),
    (_foolbox, "LinfPGD", {"abs_stepsize": 2.5 * EPS / STEPS, "steps": STEPS}),
    (_art, "ProjectedGradientDescentPyTorch", {"eps_step": 2.5 * EPS / STEPS, "max_iter": STEPS, "verbose": False}),
])
def test_robust_accuracy_is_the_same_everywhere(subject: Subject, our_pgd: AttackResult,
                                                theirs: Callable[..., Tensor], name: str, options: dict) -> None:
    images = theirs(subject, name, **options)
    assert float((images - subject.images).abs().max()) <= EPS + 1e-6
    fooled = int((our_pgd.predicted_adversarial != our_pgd.labels).sum())
    assert abs(fooled - subject.fooled(images)) <= _allowed(COUNT)
