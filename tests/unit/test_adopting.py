"""Checkpoints that others saved, without a card: recognised by their tensors, attacked, or refused with a reason."""

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.cli import main
from engine.errors import EngineError
from engine.serving.prepare import prepare
from engine.zoo import adopting, checkpoints
from engine.zoo.adopting import Said, adopt
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.cards import card_text, read_card
from engine.zoo.classifier import wrap
from engine.zoo.registry import load_model, model_card, model_digest
from engine.zoo.variants import PAPERS, Variant
from tests import nets

TORCHVISIONS = [name for name in ARCHITECTURES if name != "efficientnet_lite0"]
KNOWN = ("no", "yes")


@pytest.fixture(autouse=True)
def own_home(monkeypatch, tmp_path):
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def plain(arch: str, outputs: int) -> dict[str, Tensor]:
    """What a plain torchvision script saves, without values."""
    from torchvision.models import get_model

    with torch.device("meta"):
        return get_model(arch, weights=None, num_classes=outputs).state_dict()


def small(outputs: int = 2, seed: int = 0) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ARCHITECTURES["mobilenet_v3_small"].build(outputs).state_dict()


# ---- recognised ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", [*TORCHVISIONS, "efficientnet_lite0"])
@pytest.mark.parametrize("beginning", ["", "module.", "net.backbone."])
def test_every_architecture_is_recognised_whatever_its_tensors_begin_with(monkeypatch, tmp_path, arch, beginning):
    known = arch in TORCHVISIONS
    state = plain(arch, 5) if known else dict(checkpoints._skeleton(Variant(arch, 5)))
    assert not known or arch != "inception_v3" or any(name.startswith("AuxLogits.") for name in state)
    named = {beginning + name: value for name, value in state.items()}
    if beginning:  # what Lightning keeps beside the network
        named["criterion.weight"] = torch.zeros(5)
    monkeypatch.setattr(checkpoints, "_stored", lambda _: named)
    assert checkpoints.recognised(tmp_path / "net.pt") == Variant(arch, 5)


@pytest.mark.parametrize("arch", TORCHVISIONS)
@pytest.mark.parametrize("beginning", [pytest.param("module.", marks=pytest.mark.slow)])
def test_what_torchvision_saved_is_loaded_as_it_was(tmp_path, arch, beginning):
    from torchvision.models import get_model

    net = get_model(arch, weights=None, num_classes=3).eval()
    path = tmp_path / "net.pth"
    torch.save({beginning + name: value for name, value in net.state_dict().items()}, path)
    assert list(adopt(path, Said(("a", "b", "c")), "", ()))
    x = torch.rand(1, 3, 224, 224)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        torch.testing.assert_close(load_model(str(path))(x), net((x - mean) / std), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("form", "suffix"), [
    (lambda s: s, ".pt"), (lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "epoch": 3}, ".ckpt"),
    (lambda s: {"model_state_dict": s, "loss": 0.5}, ".pth"), (None, ".safetensors")])
def test_a_stranger_gets_a_card_of_assumptions_that_are_said(tmp_path, form, suffix):
    path, state = tmp_path / f"net{suffix}", small()
    save_file(state, path) if form is None else torch.save(form(state), path)
    before = sorted(p.name for p in tmp_path.iterdir())
    said = " ".join(adopt(path, Said(), "pictures", KNOWN))
    assert "mobilenet_v3_small with 2 outputs" in said and "those of pictures" in said and "ImageNet" in said
    card = model_card(str(path))
    assert (card.arch, card.classes, card.mean[0]) == ("mobilenet_v3_small", KNOWN, 0.485)
    assert torch.equal(load_model(str(path)).module.classifier[3].weight, state["classifier.3.weight"])
    # Nothing is written beside somebody's file, and what is said otherwise makes another model of it.
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "home") == before
    first = model_digest(str(path))
    assert not any("ImageNet" in line for line in adopt(path, Said(("x", "y"), (0.5,), (0.25,)), "pictures", KNOWN))
    assert read_card(path).classes == ("x", "y") and model_digest(str(path)) != first


def test_a_network_whose_answers_do_not_depend_on_the_picture_is_told(tmp_path):
    state = small()
    state["classifier.3.weight"].zero_()
    torch.save(state, tmp_path / "net.pt")
    assert any("gradients are 0" in line for line in adopt(tmp_path / "net.pt", Said(), "pictures", KNOWN))


# ---- other heads, grey pictures, several findings -------------------------------------------------------------------


def of_papers(trunk: nn.Module, features: int, outputs: int) -> nn.Module:
    """As one writes it in a script, with layers that have no weights between those that do."""
    top = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(features), nn.Dropout(0.5), nn.Linear(features, 32), nn.ReLU(),
                        nn.Dropout(0.5), nn.Linear(32, outputs))
    trunk.set_submodule("classifier" if hasattr(trunk, "classifier") else "fc", top)
    nets.shake(trunk)
    nn.init.uniform_(top[1].running_mean, 0, 0.1)
    return trunk.eval()


@pytest.mark.parametrize("arch", [*ARCHITECTURES])
def test_every_network_with_the_papers_head_is_recognised(monkeypatch, tmp_path, arch):
    network = Variant(arch, 4, PAPERS, channels=1, width=17)
    state = {f"module.{name}": value for name, value in checkpoints._skeleton(network).items()}
    monkeypatch.setattr(checkpoints, "_stored", lambda _: state)
    assert checkpoints.recognised(tmp_path / "net.pt") == network and "head of papers" in network.text


def test_a_network_with_the_papers_head_is_attacked_as_it_was_and_as_quickly(tmp_path):
    from torchvision.models import mobilenet_v3_small

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = of_papers(mobilenet_v3_small(), 576, 2)
    torch.save({f"module.{k}": v for k, v in net.state_dict().items()}, tmp_path / "net.pt")
    said = " ".join(adopt(tmp_path / "net.pt", Said(), "pictures", KNOWN))
    assert "mobilenet_v3_small with the head of papers with 2 outputs" in said
    model, card = load_model(str(tmp_path / "net.pt")), model_card(str(tmp_path / "net.pt"))
    assert card.head == PAPERS and model.module.classifier[1].out_features == 32
    x = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (card.mean, card.std))
    torch.testing.assert_close(model(x), net((x - mean) / std), rtol=1e-4, atol=1e-5)
    twin = prepare(model)
    torch.testing.assert_close(twin(x), model(x), rtol=1e-4, atol=1e-4)
    assert (twin.numerics, twin.note) == ("fast", "")


@pytest.mark.parametrize(("known", "said", "classes"), [
    (("no effusion", "effusion"), Said(("Mass", "Effusion", "Hernia"), multilabel=True), ("no effusion", "effusion")),
    (("Effusion", "Well"), Said(("Mass", "Effusion", "Hernia"), multilabel=True), ("Well", "Effusion")),
    (KNOWN, Said(("Mass", "Effusion", "Hernia"), finding="effusion"), ("no Effusion", "Effusion"))])
def test_of_several_findings_one_is_attacked(tmp_path, known, said, classes):
    path, state = tmp_path / "net.pt", small(3)
    torch.save(state, path)
    lines = " ".join(adopt(path, said, "pictures", known))
    card = model_card(str(path))
    assert "asked for Effusion only" in lines and card.classes == classes
    assert (card.findings, card.finding) == (("Mass", "Effusion", "Hernia"), "Effusion")
    net = ARCHITECTURES["mobilenet_v3_small"].build(3)
    net.load_state_dict(state)
    wrapped = wrap(net, card.findings, mean=card.mean, std=card.std, finding="Effusion")
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(load_model(str(path))(x), wrapped(x))


def test_torchxrayvisions_network_is_taken_with_its_range_findings_and_thresholds(tmp_path, monkeypatch):
    monkeypatch.setattr(adopting, "SIZE", 64)  # quicker than 224
    network, path = Variant("densenet121", 18, channels=1), tmp_path / "xrv.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = network.build().eval()
    thresholds = torch.full((18,), torch.nan)
    thresholds[8] = 0.0568
    torch.save(net.state_dict() | {"op_threshs": thresholds}, path)
    lines = " ".join(adopt(path, Said(), "pictures", ("Normal", "Pneumonia")))
    assert "densenet121 for grey pictures with 18 outputs" in lines and "-1024 to 1024" in lines
    kept = tmp_path / "again.safetensors"
    assert checkpoints.rewritten(path, kept) == network
    x = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    z, card = net((2 * x - 1) * 1024)[:, 8], model_card(str(path))
    for model in (load_model(str(path)), checkpoints.load_as(kept, card), prepare(load_model(str(path)))):
        assert (model.classes, model.size) == (("Normal", "Pneumonia"), 64)
        torch.testing.assert_close(model(x).diff()[:, 0], z - torch.log(torch.tensor(0.0568 / (1 - 0.0568))),
                                   rtol=1e-3, atol=1e-3)
        assert model(x).argmax(1).tolist() == (z.sigmoid() >= 0.0568).int().tolist()


# ---- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "said", "words"), [
    (lambda s: {"conv.weight": torch.zeros(1), "b": torch.zeros(1)}, Said(), "has 'conv.weight' and 'b'"),
    (lambda s: {k: v for k, v in s.items() if k != "features.0.0.weight"}, Said(),
     "nearest to mobilenet_v3_small, but it has no 'features.0.0.weight'"),
    (lambda s: s | {"features.0.0.weight": torch.zeros(16, 2, 3, 3)}, Said(), r"shape \[16, 2, 3, 3\], not \[16, 3"),
    (lambda s: small(7), Said(), "7 outputs, and 2 classes are in pictures; .*--classes"),
    (lambda s: small(7), Said(("a", "b", "c")), "7 outputs, and 3 classes are named"),
    (lambda s: small(3), Said(("a", "b", "c"), multilabel=True), "which of its findings .* a, b, c"),
    (lambda s: small(3), Said(("a", "b", "c"), finding="d"), "unknown finding 'd'"),
    (lambda s: small(3), Said(("a", "b"), finding="a"), "3 outputs, and 2 findings"),
    (lambda s: s, Said(("a", "a")), "two different classes"),
    (lambda s: s, Said(std=(0.0,)), "'std' must be above 0"),
    (lambda s: s, Said(mean=(0.1, 0.2)), "one value, or one for each"),
    (lambda s: {"anything": print}, Said(), "code in it is not run"),
])
def test_what_is_no_such_checkpoint_is_refused_with_what_was_found(tmp_path, change, said, words):
    path = tmp_path / "net.pt"
    torch.save(change(small()), path)
    with pytest.raises(EngineError, match=words) as caught:
        list(adopt(path, said, "pictures", KNOWN))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    with pytest.raises(EngineError):
        load_model(str(path))


def test_a_card_beside_it_is_what_holds(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(small(), path)
    path.with_suffix(".json").write_text(card_text(nets.card("mobilenet_v3_small", ("p", "q"))))
    assert not list(adopt(path, Said(), "pictures", KNOWN)) and model_card(str(path)).classes == ("p", "q")
    with pytest.raises(EngineError, match=r"has a card.*leave them out"):
        list(adopt(path, Said(("x", "y")), "pictures", KNOWN))


# ---- from the command line -----------------------------------------------------------------------------------------


def test_a_stranger_is_attacked_from_the_command_line(tmp_path, capsys):
    for kind in KNOWN:
        (tmp_path / "data" / kind).mkdir(parents=True)
        for i in range(2):
            noise = np.random.default_rng(i).integers(0, 255, (40, 40), np.uint8)
            Image.fromarray(noise).save(tmp_path / "data" / kind / f"{i}.png")
    torch.save(small(), tmp_path / "net.pt")
    asked = ["attack", "--dataset", f"folder:{tmp_path / 'data'}", "--model", str(tmp_path / "net.pt"), "--attack",
             "fgsm", "--json"]
    assert main([*asked, "--split", "all", "--mean", "0.5", "--std", "0.25"]) == 0
    said = capsys.readouterr()
    assert '"accuracy_adversarial"' in said.out and "recognised as mobilenet_v3_small" in said.err
    assert "ImageNet" not in said.err
    assert main([*asked, "--classes", "a,b,c"]) == 2 and "2 outputs, and 3 classes" in capsys.readouterr().err
    assert main(["attack", "--dataset", "kermany", "--model", "phantom-cxr/resnet18", "--attack", "fgsm", "--mean",
                 "0.5"]) == 2
    assert "leave them out with a model's name" in capsys.readouterr().err
