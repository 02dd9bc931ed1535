"""What attacks see of a model, and how models are found by name."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

import engine
from engine.errors import EngineError, UnknownName
from engine.zoo import registry
from engine.zoo.classifier import Classifier, wrap
from tests import nets

CLASSES = ("a", "b", "c")


class Seen(nn.Module):
    """Returns the mean of each channel it is given, as logits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


class OneLogit(nn.Module):
    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.flat = flat

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = x.mean(dim=(1, 2, 3))
        return z if self.flat else z[:, None]


# ---- the classifier ------------------------------------------------------------------------------------------------


def test_each_channel_is_normalised_by_its_own_mean_and_std():
    model = Classifier(Seen(), CLASSES, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    logits = model(torch.full((1, 3, 4, 4), 0.6))
    assert logits[0].tolist() == pytest.approx([1.0, 0.4, 0.15])


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 3, 7), nn.AvgPool2d(8)])
def test_pictures_that_are_too_small_for_a_network_are_one_line(layer: nn.Module) -> None:
    model = Classifier(nn.Sequential(layer, Seen()), CLASSES, name="mine")
    assert model(torch.zeros(1, 1, 9, 9)).shape == (1, 3)
    with pytest.raises(EngineError, match="mine cannot look at pictures as small as 5 x 5"):
        model(torch.zeros(1, 1, 5, 5))


def test_grey_images_are_repeated_and_colours_averaged():
    colour = Classifier(Seen(), CLASSES, mean=(0.0,), std=(1.0,))
    assert colour(torch.full((1, 1, 4, 4), 0.25))[0].tolist() == [0.25] * 3
    grey = Classifier(OneLogit(True), ("no", "yes"), channels=1)
    pixels = torch.tensor([0.0, 0.3, 0.6]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert float(grey(pixels)[0, 1]) == pytest.approx(0.3)


@pytest.mark.parametrize("flat", [True, False])
def test_one_logit_becomes_two_whose_softmax_is_the_sigmoid(flat):
    model = Classifier(OneLogit(flat), ("no", "yes"), channels=1)
    images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    z = images.mean(dim=(1, 2, 3))
    assert torch.allclose(model(images).softmax(1)[:, 1], z.sigmoid())


@pytest.mark.parametrize(("options", "words"), [
    ({"classes": ("only",)}, "two classes"), ({"channels": 2}, "1 or 3 channels"), ({"std": (0.0,)}, "above 0"),
    ({"mean": (0.1, 0.2)}, "one value"), ({"numerics": "quick"}, "reference"),
])
def test_what_makes_no_classifier_is_refused_in_one_line(options, words):
    with pytest.raises(EngineError, match=words) as caught:
        Classifier(Seen(), **{"classes": CLASSES} | options)
    assert "\n" not in str(caught.value)


def test_a_network_with_another_number_of_outputs_says_so():
    with pytest.raises(EngineError, match="3 logits for 2 classes"):
        Classifier(Seen(), ("a", "b"))(torch.rand(1, 3, 4, 4))


def test_wrap_leaves_the_network_as_it_is():
    net = nets.small_cnn(3).train()
    model = engine.wrap(net, CLASSES, mean=(0.4,), std=(0.2,), numerics="reference")
    assert net.training and all(p.requires_grad for p in net.parameters())
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert not model.train().module.training


def test_the_digest_tells_apart_everything_that_decides_an_output():
    def made(change=lambda net: None, **options):
        net = nets.seeded(3)
        change(net)
        return wrap(net, **{"classes": CLASSES, "mean": (0.4,)} | options).digest

    def nudge(net):
        net.head.weight.data[0, 0] = torch.nextafter(net.head.weight.data[0, 0], torch.tensor(9.0))

    base = made()
    assert made() == base
    others = [made(nudge), made(lambda net: net.norm.running_mean.add_(1e-3)), made(mean=(0.5,)), made(std=(2.0,)),
              made(classes=("a", "c", "b")), made(lambda net: setattr(net, "relu", nn.Tanh())),
              made(lambda net: setattr(net.norm, "eps", 1e-3)), made(lambda net: net.double())]
    assert len({base, *others}) == len(others) + 1


def test_copies_share_their_number_and_others_do_not():
    model = wrap(nets.seeded(3), CLASSES)
    assert copy.deepcopy(model).number == model.number != wrap(nets.seeded(3), CLASSES).number


# ---- the registry --------------------------------------------------------------------------------------------------


@pytest.fixture
def shelves(tmp_path, monkeypatch):
    """An empty shelf of bundled models and an empty home."""
    nets.register(monkeypatch)
    monkeypatch.setattr(registry, "BUNDLED", tmp_path / "bundled")
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    return tmp_path / "bundled", tmp_path / "home" / "models"


def test_models_are_listed_from_both_shelves_and_broken_cards_left_out(shelves):
    bundled, trained = shelves
    assert registry.models() == []
    nets.kept(bundled / "xray" / "one.safetensors", dataset="xray")
    nets.kept(trained / "mine.v2.safetensors")
    nets.kept(trained / "broken.safetensors")
    (trained / "broken.json").write_text("{")
    assert [(m.name, m.bundled) for m in registry.models()] == [("xray/one", True), ("mine.v2", False)]
    assert registry.models()[0].title == "Small CNN, xray"
    assert registry.models()[0].card.classes == CLASSES


def test_a_model_is_loaded_once_under_its_name_and_anew_when_its_file_changes(shelves):
    _, trained = shelves
    nets.kept(trained / "mine.safetensors")
    first = registry.load_model("mine")
    assert first.name == "mine" and registry.load_model("mine") is first
    before = registry.model_digest("mine")
    nets.kept(trained / "mine.safetensors", mean=(0.1,))
    assert registry.model_digest("mine") != before
    assert registry.load_model("mine").digest != first.digest


def test_an_own_model_hides_a_bundled_one_of_its_name(shelves):
    bundled, trained = shelves
    nets.kept(bundled / "same.safetensors")
    nets.kept(trained / "same.safetensors", mean=(0.1,))
    (entry,) = registry.models()
    assert not entry.bundled and entry.path.parent == trained
    assert float(registry.load_model("same").mean) == pytest.approx(0.1)


def test_a_checkpoint_can_be_named_by_its_path(shelves, tmp_path):
    nets.kept(tmp_path / "elsewhere" / "it.safetensors")
    assert registry.load_model(str(tmp_path / "elsewhere" / "it.safetensors")).name == "it"


def test_an_unknown_name_is_answered_with_the_nearest(shelves):
    bundled, _ = shelves
    nets.kept(bundled / "xray" / "resnet.safetensors")
    with pytest.raises(UnknownName, match="xray/resnet"):
        registry.load_model("xray/resent")
    with pytest.raises(EngineError, match="no checkpoint at"):
        registry.load_model("gone.safetensors")


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc/secret", "", "a\x00b", "x" * 5000, "~/x"])
def test_a_name_that_leads_out_of_the_shelves_is_refused(shelves, tmp_path, name):
    nets.kept(tmp_path / "secret.safetensors")
    with pytest.raises(UnknownName):
        registry.load_model(name)
    with pytest.raises(EngineError, match="cannot be called"):
        registry.trained_path(name)


def test_listing_models_does_not_import_torch():
    code = ("import sys, engine.zoo.registry as r, engine.training.spec;"
            "r.models(); sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
