"""Every architecture: its quick twin agrees, its heatmap layers are maps, and it takes what it says it takes."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.errors import EngineError
from engine.explain.cam import _LAYOUTS, cam, layers_for
from engine.serving.fold import folded
from engine.serving.prepare import prepare
from engine.training.augment import STRENGTHS, Augmentation, flips_of
from engine.zoo import checkpoints, pretrained
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.classifier import Classifier
from tests import nets

CLASSES = ("a", "b", "c")
GREY = (0.48,) * 3
LARGE = ("resnet50", "densenet201", "vgg16", "inception_v3", "convnext_tiny", "vit_b_16", "swin_t")  # seconds each
ALL = [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in ARCHITECTURES]


@pytest.fixture(autouse=True)
def one_thread():
    """Threads only wait for one another in networks as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(arch: str) -> nn.Module:
    """With weights and statistics as after a training; transformers begin with a last layer of zeros."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ARCHITECTURES[arch].build(len(CLASSES))
        nets.shake(net)
        nn.init.normal_(net.get_submodule(ARCHITECTURES[arch].head).weight, std=0.1)  # type: ignore[arg-type]
    return net.eval()


def outcome(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_(True)
    out = model(x)
    return out.detach(), torch.autograd.grad((out[:, 0] - out[:, 1]).sum(), x)[0]


@pytest.mark.parametrize("arch", ALL)
def test_it_is_quick_and_exact_and_shows_where_it_looks(arch):
    known = ARCHITECTURES[arch]
    model = Classifier(network(arch), CLASSES, mean=GREY, std=(0.23,), arch=arch, size=224 if known.fixed else 0)
    side = {"inception_v3": 128}.get(arch, 64)  # of which its last map has 2 x 2
    x = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0))
    assert layers_for(model) == known.cam_layers
    for layer in known.cam_layers:
        map_ = cam(model, x, [0], "layer-cam", layer).maps
        assert map_.shape == (1, side, side) and np.isfinite(map_).all()
    assert cam(model, x, [1], "eigen-cam", known.cam_layers[0]).maps.max() == 1
    # In double precision: there a unit that closes by rounding, which moves a float gradient by 1 %, is rare.
    exact = model.double()
    quick = folded(exact.module, exact.mean.expand(-1, 3, -1, -1), exact.std)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in quick.modules())
    whole = exact.resized(x.double())
    for found, wanted in zip(outcome(quick, whole), outcome(exact, whole), strict=True):
        assert float((found - wanted).norm() / wanted.norm()) < 1e-6


def test_tokens_and_channels_last_become_maps():
    maps = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    assert torch.equal(_LAYOUTS["channels-last"](maps.permute(0, 2, 3, 1)), maps)
    tokens = torch.cat([torch.full((2, 1, 3), -1.0), maps.flatten(2).transpose(1, 2)], dim=1)
    assert torch.equal(_LAYOUTS["tokens"](tokens), maps)
    assert _LAYOUTS["tokens"](tokens[:, 1:]) is None and _LAYOUTS["maps"](tokens) is None


def test_pictures_are_brought_to_the_side_that_a_network_takes(tmp_path):
    path = tmp_path / "net.safetensors"
    checkpoints.save(path, network("mobilenet_v3_small"), nets.card("mobilenet_v3_small", size=48))
    model, free = checkpoints.load(path), Classifier(network("mobilenet_v3_small"), CLASSES)
    x = torch.rand(2, 1, 32, 40)
    brought = nn.functional.interpolate(x, (48, 48), mode="bilinear")
    for one in (model, prepare(model)):
        torch.testing.assert_close(one(x), model(brought), rtol=1e-4, atol=1e-4)
        assert outcome(one, x)[1].shape == x.shape
    assert prepare(model)(x).shape == (2, 3) and free.size == 0
    same = Classifier(network("mobilenet_v3_small"), CLASSES, size=48)
    assert same.digest != free.digest


# ---- weights to begin with -----------------------------------------------------------------------------------------


def test_lite0_with_the_packages_weights_answers_as_the_packages_network():
    pytest.importorskip(pretrained.LITE_PACKAGE)
    net = ARCHITECTURES["efficientnet_lite0"].build(1000).eval()
    net.load_state_dict(pretrained.lite0().state)
    with torch.no_grad():
        logits = net(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64))[0]
    # What efficientnet_lite_pytorch 0.1.0 answers.
    torch.testing.assert_close(logits[[0, 1, 500, 999]],
                               torch.tensor([-0.4591708779, -0.1270232201, 0.1415672451, 0.0033221841]),
                               rtol=1e-4, atol=1e-5)
    assert int(logits.argmax()) == 782


def test_weights_that_are_not_here_are_told_in_one_line(monkeypatch):
    monkeypatch.setattr(pretrained, "LITE_PACKAGE", "no_such_package")

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host\nor so")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    for arch, words in (("efficientnet_lite0", "requirements-pretrained"), ("densenet121", "densenet121-a639ec97.pth")):
        with pytest.raises(EngineError, match=words) as caught:
            ARCHITECTURES[arch].imagenet()
        assert "\n" not in str(caught.value) and "scratch" in str(caught.value)


def test_torchvisions_weights_are_read_as_weights_only_and_under_todays_names(monkeypatch):
    with torch.device("meta"):
        today = ARCHITECTURES["densenet121"].build(1000).state_dict()
    old = {name.replace("norm1", "norm.1").replace("conv2", "conv.2"): value for name, value in today.items()}
    asked = {}
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda url, **k: asked.update(k) or old)
    assert ARCHITECTURES["densenet121"].imagenet().state.keys() == today.keys()
    assert asked["weights_only"] and asked["check_hash"]


# ---- augmentation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flips", "ways"), [("none", 1), ("horizontal", 2), ("all", 8)])
def test_mirrors_are_the_pictures_and_all_that_may_occur_do(flips, ways):
    picture = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    seen = Augmentation(STRENGTHS["none"], flips)(picture.expand(200, -1, -1, -1), 6, torch.Generator().manual_seed(1))
    mirrored = [picture[0], picture[0].flip(2)]
    every = [torch.rot90(p, k, (1, 2)) for k in range(4) for p in mirrored]
    counts = [sum(bool(torch.allclose(one, p, atol=1e-3)) for one in seen) for p in every]
    assert sum(counts) == 200 and sum(c > 0 for c in counts) == ways and min(c for c in counts if c) > 10


def test_modality_says_what_may_be_mirrored():
    from engine.data import DATASETS

    found = {name: flips_of("modality", DATASETS[name].info)
             for name in ("kermany", "covid-ct", "breakhis", "phantom-cxr", "phantom-ct", "phantom-histology")}
    assert list(found.values()) == ["none", "horizontal", "all"] * 2
    assert flips_of("all", DATASETS["kermany"].info) == "all"
