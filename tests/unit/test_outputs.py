"""Networks that give probabilities instead of logits: noticed on a single image, and made attackable again."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer

import engine
from engine.attacks import ATTACKS
from engine.attacks.base import Others
from engine.attacks.result import AttackResult
from engine.attacks.runner import Resources
from engine.cli import main
from engine.errors import EngineError
from engine.serving.prepare import prepare
from engine.zoo import checkpoints
from engine.zoo.architectures import ARCHITECTURES, Architecture
from engine.zoo.classifier import Classifier
from engine.zoo.ensemble import ensemble
from engine.zoo.outputs import doubts
from tests import nets
from tests.tiny import Slope, quick, small_net, some_images

STATISTICS = {"mean": (0.4,) * 3, "std": (0.2,) * 3}
LABELS = ("effusion", "mass", "nodule")
BINARY = ("no mass", "mass")
IMAGES = some_images(2)
# Without knowing the model's classes, one of each way to attack.
ATTACKED_BY = ("fgsm", "pgd", "mifgsm", "cw", "deepfool", "apgd", "square", "simba", "hopskipjump", "boundary")


class Ending(nn.Module):
    """The small network, followed by `end`; `outputs` are the logits that are kept."""

    def __init__(self, end, outputs: slice = slice(None)) -> None:
        super().__init__()
        self.net = small_net().module
        self.end, self.outputs = end, outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.end(centred(self.net(x))[:, self.outputs])


def centred(logits: Tensor) -> Tensor:
    """Small, and of another sign for each of the two images."""
    return (logits - torch.tensor([6.7, 6.7, 10.4])) / 4


def thresholded(logits: Tensor) -> Tensor:
    """Sigmoids squeezed piecewise linearly, so that each output's own threshold becomes 0.5, as TorchXRayVision does;
    an output without a threshold stays 0.5."""
    p = logits.sigmoid()
    thresholds = torch.tensor([0.2, 0.55, float("nan")]).expand(len(p), -1)
    out = torch.zeros_like(p) + 0.5
    low = (p < thresholds) & ~thresholds.isnan()
    high = ~(p < thresholds) & ~thresholds.isnan()
    out[low] = p[low] / (thresholds[low] * 2)
    out[high] = 1 - (1 - p[high]) / ((1 - thresholds[high]) * 2)
    return out


def softmax(logits: Tensor) -> Tensor:
    return logits.softmax(1)


SINGLE = slice(1, 2)


def _labels(model: Classifier, images: Tensor = IMAGES) -> list[int]:
    with torch.no_grad():
        return model(images).argmax(1).tolist()


def _doubted(result: AttackResult) -> list[str]:
    return [w for w in result.warnings if "look like probabilities" in w]


# ---- noticed ------------------------------------------------------------------------------------------------------


PROBABILITIES = [
    ("sigmoid", Ending(torch.sigmoid, SINGLE), BINARY, {}),
    ("sigmoid", nn.Sequential(Ending(nn.Identity(), SINGLE), nn.Sigmoid()), BINARY, {}),
    ("sigmoid", Ending(lambda z: z.sigmoid()[:, 0], SINGLE), BINARY, {}),
    ("sigmoid", Ending(torch.sigmoid), LABELS, {"finding": "mass"}),
    ("sigmoid", Ending(thresholded), LABELS, {"finding": "mass"}),
    ("sigmoid", Ending(torch.sigmoid), LABELS, {}),
    ("softmax", Ending(softmax), LABELS, {}),
    ("softmax", nn.Sequential(Ending(nn.Identity()), nn.Softmax(dim=1)), LABELS, {}),
    ("softmax", Ending(softmax), LABELS, {"finding": "mass"}),
]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("kind", "module", "classes", "options"), PROBABILITIES)
def test_probabilities_are_noticed_whatever_the_number_of_images(kind, module, classes, options, count, channels):
    model = engine.wrap(module, classes, name="xray", **options, **STATISTICS)
    result = quick("fgsm", model, some_images(count, channels), [0] * count)
    (line,) = _doubted(result)
    assert "xray" in line and f'outputs="{kind}"' in line and "\n" not in line
    undone = engine.wrap(module, classes, outputs=kind, **options, **STATISTICS)
    assert not _doubted(quick("fgsm", undone, some_images(count, channels), [0] * count))


class Vit(VisionTransformer):
    """A vision transformer as torchvision initialises it: all its logits are 0."""

    def __init__(self, spread: float = 0, classes: int = 2) -> None:
        super().__init__(image_size=8, patch_size=4, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16,
                         num_classes=classes)
        nn.init.normal_(self.heads.head.weight, std=spread)
        nn.init.constant_(self.heads.head.bias, 0.5 if spread else 0)


class Squeezed(nn.Module):
    """One logit in [0,1], whatever it is shown, from a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = Vit(spread=0.01, classes=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.vit(x).squeeze(1)


HONEST = [
    (Ending(nn.Identity()), LABELS, {}), (Ending(nn.Identity(), SINGLE), BINARY, {}),
    (Ending(nn.Identity()), LABELS, {"finding": "mass"}),
    (Ending(lambda z: z.log_softmax(1)), LABELS, {}),
    (Ending(lambda z: 0.5 + z / 100, SINGLE), BINARY, {}),  # as before any training: between 0 and 1 on real images
    (Ending(lambda z: 0.5 + z / 100), LABELS, {}),
    (Vit(), BINARY, {}), (Vit(spread=0.01), BINARY, {}), (Squeezed(), BINARY, {}),
    (Slope((0.001,) * 192, b=-0.2), BINARY, {}),
]


@pytest.mark.parametrize(("module", "classes", "options"), HONEST)
@pytest.mark.parametrize("count", [1, 6])
def test_logits_are_not_taken_for_probabilities(module, classes, options, count):
    model = engine.wrap(module, classes, **options, **STATISTICS)
    assert not _doubted(quick("fgsm", model, some_images(count), [0] * count))
    assert not list(doubts(model, some_images(count)))


def test_a_surrogate_that_gives_probabilities_is_noticed_too():
    model = engine.wrap(Ending(nn.Identity()), LABELS, **STATISTICS)
    squashed = engine.wrap(Ending(softmax), LABELS, name="squashed", **STATISTICS)
    for surrogate in (squashed, ensemble([model, squashed])):
        result = quick("fgsm", model, IMAGES, _labels(model), resources=Resources(surrogate=surrogate))
        (line,) = _doubted(result)
        assert "squashed" in line and 'outputs="softmax"' in line


def test_a_network_that_refuses_strange_pictures_is_judged_by_the_others():
    class Strict(Ending):
        def forward(self, x: Tensor) -> Tensor:
            if float(x.abs().max()) > 5:
                raise ValueError("not an image")
            return super().forward(x)

    model = engine.wrap(Strict(torch.sigmoid, SINGLE), BINARY, **STATISTICS)
    assert len(_doubted(quick("fgsm", model, IMAGES, [0, 0]))) == 1


def test_looking_changes_nothing():
    model = engine.wrap(Ending(torch.sigmoid), LABELS, finding="mass", **STATISTICS)
    weights, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert list(doubts(model, IMAGES))
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_the_command_line_says_so(capsys, monkeypatch, tmp_path):
    def build(outputs: int) -> nn.Module:
        net = nets.small_cnn(outputs)
        net.add_module("end", nn.Softmax(dim=1))
        return net

    entry = Architecture("squashed", "Squashed CNN", "", "", build, head="head", cam_layers=("conv",))
    monkeypatch.setitem(ARCHITECTURES._items, "squashed", entry)
    classes = engine.load_dataset("phantom-cxr", "test").classes
    checkpoints.save(tmp_path / "net.safetensors", build(3), nets.card(arch="squashed", classes=classes))
    for command in ("attack", "curve"):
        assert main([command, "--dataset", "phantom-cxr", "--model", str(tmp_path / "net.safetensors"), "--attack",
                     "fgsm", "--eps", "1/255", "--limit", "1", "--json"]) == 0
        warnings = json.loads(capsys.readouterr().out)["warnings"]
        assert any("net look like probabilities" in w and 'outputs="softmax"' in w for w in warnings), warnings


# ---- undone -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("end", "outputs", "kind", "classes", "options"), [
    (torch.sigmoid, SINGLE, "sigmoid", BINARY, {}),
    (lambda z: z.sigmoid()[:, 0], SINGLE, "sigmoid", BINARY, {}),
    (torch.sigmoid, slice(None), "sigmoid", LABELS, {"finding": "mass"}),
    (torch.sigmoid, slice(None), "sigmoid", LABELS, {}),
    (softmax, slice(None), "softmax", LABELS, {}),
])
def test_what_is_undone_is_the_network_before_its_probabilities(end, outputs, kind, classes, options):
    honest = engine.wrap(Ending(nn.Identity(), outputs), classes, **options, **STATISTICS)
    undone = engine.wrap(Ending(end, outputs), classes, outputs=kind, **options, **STATISTICS)

    def seen(model: Classifier) -> tuple[Tensor, Tensor]:
        x = IMAGES.clone().requires_grad_()
        logits = model(x)
        return logits.softmax(1).detach(), torch.autograd.grad(logits.log_softmax(1)[:, 0].sum(), x)[0]

    for found, wanted in zip(seen(undone), seen(honest), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)
    assert undone.digest != engine.wrap(Ending(end, outputs), classes, **options, **STATISTICS).digest
    twin = prepare(undone)
    torch.testing.assert_close(twin(IMAGES), undone(IMAGES), rtol=1e-3, atol=1e-5)
    assert twin.numerics == "fast"


def test_one_of_several_exclusive_classes_is_told_from_all_others():
    undone = engine.wrap(Ending(softmax), LABELS, finding="mass", outputs="softmax", **STATISTICS)
    together = engine.wrap(Ending(softmax), LABELS, outputs="softmax", **STATISTICS)
    torch.testing.assert_close(undone(IMAGES).softmax(1)[:, 1], together(IMAGES).softmax(1)[:, 1])


@pytest.mark.parametrize("name", ATTACKED_BY)
@pytest.mark.parametrize("end", [torch.sigmoid, thresholded])
def test_attacks_that_could_not_succeed_do_once_the_probabilities_are_undone(name, end):
    module = Ending(end)
    hidden = engine.wrap(module, LABELS, finding="mass", **STATISTICS)
    undone = engine.wrap(module, LABELS, finding="mass", outputs="sigmoid", **STATISTICS)
    with torch.no_grad():
        decision = (module((IMAGES - 0.4) / 0.2)[:, 1] > 0.5).long().tolist()
    assert _labels(undone) == decision
    resources = Resources(others=Others(IMAGES, torch.tensor(decision)))
    before, after = (quick(name, model, IMAGES, decision, norm=ATTACKS[name].info.norms[0], resources=resources)
                     for model in (hidden, undone))
    assert not before.success.any() and len(_doubted(before)) == 1
    assert after.attacked.all() and after.success.any() and not _doubted(after)


@pytest.mark.parametrize("name", ["lbfgs", "cw"])
def test_a_steep_softmax_can_be_attacked_again(name):
    steep = Ending(lambda z: (z * 60).softmax(1))
    hidden, undone = (engine.wrap(steep, LABELS, outputs=kind, **STATISTICS) for kind in ("logits", "softmax"))
    before, after = (quick(name, model, IMAGES, _labels(model)) for model in (hidden, undone))
    assert not before.success.any() and len(_doubted(before)) == 1
    assert after.success.all() and not _doubted(after)


# ---- where it cannot be undone ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [lambda z: (z * 1e4).sigmoid(), lambda z: 5 * z])
@pytest.mark.parametrize("numerics", ["fast", "reference", "draft"])
def test_saturation_is_finite_and_said(end, numerics):
    undone = engine.wrap(Ending(end, SINGLE), BINARY, outputs="sigmoid", **STATISTICS)
    result = quick("fgsm", undone, IMAGES, _labels(undone), numerics=numerics)
    assert np.isfinite(result.logits_clean).all()
    lost = [w for w in result.warnings if "exactly 0 or 1" in w]
    assert len(lost) == 1 and lost[0].startswith("2 of 2 images")


def test_a_softmax_of_zero_is_finite_and_said():
    undone = engine.wrap(Ending(lambda z: (z * 1e4).softmax(1)), LABELS, outputs="softmax", **STATISTICS)
    result = quick("fgsm", undone, IMAGES, _labels(undone))
    assert np.isfinite(result.logits_clean).all()
    assert any(w.startswith("2 of 2 images") and "exactly 0 or 1" in w for w in result.warnings)


def test_outputs_are_one_of_three():
    with pytest.raises(EngineError, match=r"outputs 'probabilities'.* logits, sigmoid, softmax"):
        engine.wrap(Ending(softmax), LABELS, outputs="probabilities")
