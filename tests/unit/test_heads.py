"""Networks with one logit, and multi-label ones: every attack does with them what it does with two classes."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import engine
from engine.attacks import ATTACKS
from engine.attacks.base import Others
from engine.attacks.runner import Resources
from engine.errors import EngineError
from engine.zoo.classifier import Classifier
from tests.tiny import quick, small_net, some_images

STATISTICS = {"mean": (0.4,) * 3, "std": (0.2,) * 3}
LABELS = ("effusion", "mass", "nodule")
IMAGES = some_images(2)


class Head(nn.Module):
    """The second logit z of a small network, centred: alone, [0, z], or among two others."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net = small_net().module
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        z = logits[:, 1] - 0.1
        if self.kind == "single":
            return z
        if self.kind == "two":
            return torch.stack([torch.zeros_like(z), z], dim=1)
        return torch.stack([logits[:, 0], z, logits[:, 2]], dim=1)


def _labels(model: Classifier) -> list[int]:
    with torch.no_grad():
        return model(IMAGES).argmax(1).tolist()


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_treats_one_logit_and_one_finding_like_two_classes(name: str) -> None:
    two = engine.wrap(Head("two"), ("no mass", "mass"), **STATISTICS)
    single = engine.wrap(Head("single"), ("no mass", "mass"), **STATISTICS)
    finding = engine.wrap(Head("many"), LABELS, finding="mass", **STATISTICS)
    labels = _labels(two)
    resources = Resources(others=Others(some_images(3, seed=1), torch.tensor([0, 1, 1])))
    expected, *others = (quick(name, model, IMAGES, labels, norm=ATTACKS[name].info.norms[0], resources=resources)
                         for model in (two, single, finding))
    assert expected.attacked.all()
    for result in others:
        np.testing.assert_allclose(result.adversarial, expected.adversarial, atol=1e-4)
        assert (result.queries == expected.queries).all() and (result.gradients == expected.gradients).all()


def test_a_finding_is_one_of_the_classes() -> None:
    model = engine.wrap(Head("many"), LABELS, finding="mass")
    assert model.classes == ("no mass", "mass")
    with pytest.raises(EngineError, match="did you mean: nodule"):
        engine.wrap(Head("many"), LABELS, finding="nodul")
