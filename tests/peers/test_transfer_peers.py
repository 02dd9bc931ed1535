"""Our transfer attacks against torchattacks, where it has them: on the model they are made on, as strong or stronger.

The number of images keeps this within some minutes on two cores; PERTURBSCOPE_PEER_IMAGES=200 takes longer and says
more. torchattacks' DI resizes and pads a whole batch alike, ours every image by itself; its TI takes colours only.
"""

import os
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import engine
from engine.attacks.result import AttackResult
from engine.errors import EngineError
from engine.models.classifier import Classifier

pytestmark = [pytest.mark.peers, pytest.mark.skipif(
    "PERTURBSCOPE_PEER_IMAGES" not in os.environ, reason="takes many minutes: make peers")]

COUNT = int(os.environ.get("PERTURBSCOPE_PEER_IMAGES", "32"))
BATCH = 16
EPS = 1 / 255
STEPS = 5
MODEL, DATA = "phantom-cxr/resnet18", "phantom-cxr"


@dataclass(frozen=True)
class Subject:
    """A trained model and the images it is attacked on, [N, 3, H, W] with equal channels."""

    model: Classifier
    images: Tensor
    labels: Tensor

    def ours(self, name: str, **options: object) -> AttackResult:
        return engine.attack(name, self.model, self.images, self.labels, eps=EPS, steps=STEPS, batch=BATCH,
                             device="cpu", keep_steps=True, **options)

    def theirs(self, name: str, steps: int = STEPS, **options: object) -> Tensor:
        torchattacks = pytest.importorskip("torchattacks")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            attack = getattr(torchattacks, name)(self.model, eps=EPS, alpha=EPS / STEPS, steps=steps, **options)
            return torch.cat([attack(x, y).detach() for x, y in zip(self.images.split(BATCH), self.labels.split(BATCH),
                                                                    strict=True)])

    def logits(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.model(x) for x in images.split(BATCH)])

    def fooled(self, images: Tensor) -> int:
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
    images = torch.from_numpy(data.images(chosen)).expand(-1, 3, -1, -1).contiguous()
    return Subject(model, images, torch.from_numpy(data.labels[chosen]).long())


SI_NI = {"kind": "none", "scales": 5, "diversity": 0.0, "rule": "plain", "acceleration": "ni"}
VNI = {"kind": "none", "scales": 1, "diversity": 0.0, "rule": "vmi", "neighbours": 5, "acceleration": "ni"}
EXACT = [
    ("nifgsm", {}, "NIFGSM", {}),
    ("combined", SI_NI | {"scales": 3}, "SINIFGSM", {"m": 3}),
    ("tifgsm", {}, "TIFGSM", {"decay": 1.0, "diversity_prob": 0.0}),
]
RANDOM = [
    ("difgsm", {}, "DIFGSM", {"decay": 1.0}),
    ("vmifgsm", {"neighbours": 5}, "VMIFGSM", {}),
    ("combined", VNI, "VNIFGSM", {}),
]


def _differs(ours: np.ndarray, theirs: Tensor) -> float:
    """The share of the pixels that moved otherwise, those aside whose gradient is float noise on either side."""
    return float((np.abs(ours - theirs.numpy()) > 1e-5).mean())


@pytest.mark.parametrize(("name", "options", "their_name", "their_options"), EXACT)
def test_where_nothing_is_random_the_first_step_and_the_strength_are_theirs(
        subject: Subject, name: str, options: dict, their_name: str, their_options: dict) -> None:
    ours = subject.ours(name, **options)
    assert ours.trace.images is not None
    assert _differs(ours.trace.images[1], subject.theirs(their_name, steps=1, **their_options)) < 2e-3
    theirs = subject.theirs(their_name, **their_options)
    assert subject.loss(torch.tensor(ours.adversarial)) == pytest.approx(subject.loss(theirs), rel=0.01)
    fooled = int((ours.predicted_adversarial != ours.labels).sum())
    assert abs(fooled - subject.fooled(theirs)) <= max(1, round(0.01 * COUNT))
    assert subject.loss(theirs) > 1.5 * subject.loss(subject.images), "the attack did nothing: this compares nothing"


@pytest.mark.parametrize(("name", "options", "their_name", "their_options"), RANDOM)
def test_where_something_is_random_ours_is_no_weaker(subject: Subject, name: str, options: dict, their_name: str,
                                                     their_options: dict) -> None:
    ours, theirs = subject.ours(name, **options), subject.theirs(their_name, **their_options)
    fooled = int((ours.predicted_adversarial != ours.labels).sum())
    assert fooled >= subject.fooled(theirs) - max(1, round(0.03 * COUNT))
    assert subject.loss(torch.tensor(ours.adversarial)) > 0.97 * subject.loss(theirs)
    assert subject.loss(theirs) > 1.5 * subject.loss(subject.images), "the attack did nothing: this compares nothing"
