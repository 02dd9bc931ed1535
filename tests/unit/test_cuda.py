"""What a GPU computes is what the processor does. Skipped where there is none.

With PERTURBSCOPE_TEST_DEVICE=cuda the other tests of attacks run there too.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.attacks import ATTACKS
from engine.attacks.runner import Resources
from engine.device import exact
from engine.explain.cam import CAMS, cam
from engine.serving.prepare import prepared
from engine.training.spec import TrainSpec
from engine.training.train import train
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.classifier import Classifier
from tests.tiny import attack, quick, small_net, some_images

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
EVERY = [(name, norm) for name in ATTACKS for norm in ATTACKS[name].info.norms]
LABELS = [0, 1, 2, 0]


@pytest.mark.parametrize(("name", "norm"), EVERY)
def test_an_attack_comes_to_the_same_as_on_the_processor(name: str, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = small_net(), some_images(4)
    found = {}
    for device in ("cpu", "cuda"):
        monkeypatch.setattr("tests.tiny.DEVICE", device)
        found[device] = quick(name, model, images, LABELS, norm=norm, seed=3)
    here, there = found["cpu"], found["cuda"]
    assert there.provenance.device != here.provenance.device
    np.testing.assert_allclose(there.logits_clean, here.logits_clean, atol=2e-3)
    np.testing.assert_array_equal(there.clean, here.clean)
    # Rounding may turn a sign, or a choice among pixels or queries, and from there the paths part.
    alike = np.isclose(there.adversarial, here.adversarial, atol=1e-3).mean(axis=(1, 2, 3))
    assert np.median(alike) > 0.9, alike
    if (alike == 1).all():
        np.testing.assert_array_equal(there.queries, here.queries)
        np.testing.assert_array_equal(there.gradients, here.gradients)


@pytest.mark.parametrize("arch", ["resnet18", "densenet121"])
@pytest.mark.parametrize("draft", [False, True])
def test_the_quick_twin_is_quick_there(arch: str, draft: bool) -> None:
    """As it is used, in float32: TF32 would part the two by a thousandth."""
    torch.manual_seed(0)
    classifier = Classifier(ARCHITECTURES[arch].build(3), ("a", "b", "c"), arch=arch)
    twin = prepared(classifier, "cuda", draft=draft)
    with exact():
        twin(some_images(2, size=224).cuda())
    assert twin.numerics == ("draft" if draft else "fast"), twin.note


@pytest.mark.parametrize("method", CAMS)
def test_a_heatmap_is_the_processors(method: str) -> None:
    model, images = small_net(), some_images(2)
    here = cam(model, images, [0, 1], method)
    there = cam(small_net().cuda(), images.cuda(), [0, 1], method)
    np.testing.assert_allclose(there.maps, here.maps, atol=0.02)


def test_an_attack_on_a_model_and_images_there_stays_there() -> None:
    import engine

    images = some_images(3).cuda()
    result = engine.attack(small_net().cuda(), images, LABELS[:3], "pgd", eps=0.1)
    assert result.adversarial.device == images.device


def test_a_surrogate_and_a_mask_go_along() -> None:
    mask = torch.zeros(4, 1, 8, 8, dtype=torch.bool)
    mask[:, :, :4] = True
    result = attack("pgd", small_net(), some_images(4), LABELS, eps=0.1,
                    resources=Resources(surrogate=small_net(1), mask=mask), numerics="fast")
    assert not (result.adversarial - result.clean)[:, :, 4:].any()


@pytest.mark.parametrize("defense", ["", "noise", "at:attack=fgsm", "trades:steps=1", "ant:made=anew,attack=fgsm"])
def test_a_network_is_trained_there(tmp_path: Path, defense: str) -> None:
    spec = TrainSpec(dataset="phantom-cxr@32", arch="resnet18", name="tiny", epochs=1, full_size_epochs=1, limit=300,
                     defense=defense)
    card = train(spec, tmp_path / "tiny.safetensors", device="cuda")
    assert card.evaluations["test"]["accuracy"] > 0
