"""Checkpoints that others saved, without a card: recognised by their tensors, attacked, or refused with a reason."""

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from engine.cli import main
from engine.errors import EngineError
from engine.zoo import checkpoints
from engine.zoo.adopting import Said, adopt
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.cards import card_text, read_card
from engine.zoo.registry import load_model, model_card, model_digest
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
    state = plain(arch, 5) if known else dict(checkpoints._skeleton(arch, 5))
    assert not known or arch != "inception_v3" or any(name.startswith("AuxLogits.") for name in state)
    named = {beginning + name: value for name, value in state.items()}
    if beginning:  # what Lightning keeps beside the network
        named["criterion.weight"] = torch.zeros(5)
    monkeypatch.setattr(checkpoints, "_stored", lambda _: named)
    assert checkpoints.recognised(tmp_path / "net.pt") == (arch, 5)


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


# ---- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "said", "words"), [
    (lambda s: {"conv.weight": torch.zeros(1), "b": torch.zeros(1)}, Said(), "has 'conv.weight' and 'b'"),
    (lambda s: {k: v for k, v in s.items() if k != "features.0.0.weight"}, Said(),
     "nearest to mobilenet_v3_small, but it has no 'features.0.0.weight'"),
    (lambda s: s | {"features.0.0.weight": torch.zeros(16, 1, 3, 3)}, Said(), r"shape \[16, 1, 3, 3\], not \[16, 3"),
    (lambda s: small(7), Said(), "7 outputs, and 2 classes are in pictures; .*--classes"),
    (lambda s: small(7), Said(("a", "b", "c")), "7 outputs, and 3 classes are named"),
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
