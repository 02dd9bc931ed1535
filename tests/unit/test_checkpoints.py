"""Checkpoints and their cards: what is written comes back, and what is broken is refused in one line."""

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine.errors import EngineError
from engine.zoo import checkpoints
from engine.zoo.cards import read_card
from tests import nets


@pytest.fixture(autouse=True)
def small_architecture(monkeypatch):
    nets.register(monkeypatch)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def refusal(path) -> str:
    """The one line that loading `path` ends with."""
    with pytest.raises(EngineError) as caught:
        checkpoints.load(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250
    return str(caught.value)


def rewrite(path, **facts) -> None:
    """Change the card beside `path`; None takes a fact away."""
    card = path.with_suffix(".json")
    whole = json.loads(card.read_text()) | facts
    card.write_text(json.dumps({k: v for k, v in whole.items() if v is not None}))


# ---- what comes back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("storage", "tolerance"), [("float16", 2e-3), ("uint8", 3e-2)])
def test_weights_come_back_as_the_storage_allows(path, storage, tolerance):
    net = nets.kept(path, storage=storage)
    model = checkpoints.load(path)
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    wanted = net((images.expand(-1, 3, -1, -1) - 0.4) / 0.2)
    error = float((model(images) - wanted).abs().max() / wanted.abs().max())
    assert 0 < error < tolerance
    assert model.classes == ("a", "b", "c") and not any(p.requires_grad for p in model.parameters())


def test_what_is_on_disk_is_exactly_what_packing_promises(path):
    net = nets.seeded(3)
    for storage in ("float16", "uint8"):
        promised = checkpoints.unpacked(checkpoints.packed(net.state_dict(), storage))
        checkpoints.save(path, net, nets.card(storage=storage))
        loaded = checkpoints.load(path).module.state_dict()
        assert promised.keys() == loaded.keys()
        assert all(torch.equal(promised[k], loaded[k]) for k in loaded)


def test_uint8_is_half_a_step_exact_for_each_output_channel():
    kernel = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    kernel *= 10.0 ** torch.arange(-3, 3).view(-1, 1, 1, 1)
    kernel[2] = 0.25  # all alike
    stored = checkpoints.packed({"w": kernel, "b": torch.ones(6)}, "uint8")
    assert (stored["w"].dtype, stored["b"].dtype) == (torch.uint8, torch.float16)
    back = checkpoints.unpacked(stored)["w"]
    rows = kernel.flatten(1)
    step = (rows.amax(1) - rows.amin(1)) / 255
    assert ((back.flatten(1) - rows).abs().amax(1) <= step * 0.501 + 1e-6 * rows.abs().amax(1)).all()
    assert torch.equal(back[2], kernel[2])


def test_numbers_too_large_for_float16_stay_float32():
    state = {"variance": torch.tensor([1e6, 1.0]), "count": torch.tensor(7)}
    back = checkpoints.unpacked(checkpoints.packed(state, "float16"))
    assert torch.equal(back["variance"], state["variance"]) and torch.equal(back["count"], state["count"])


def test_what_has_one_row_is_not_kept_as_bytes():
    # One scale for all tokens and places of a transformer would be too coarse.
    places = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(0))
    assert checkpoints.packed({"places": places}, "uint8")["places"].dtype == torch.float16


def test_loading_uses_up_no_random_numbers(path):
    nets.kept(path)
    before = torch.get_rng_state()
    checkpoints.load(path)
    assert torch.equal(before, torch.get_rng_state())


def test_a_single_output_serves_two_classes(path):
    nets.kept(path, outputs=1, classes=("no", "yes"))
    assert checkpoints.load(path)(torch.rand(2, 1, 16, 16)).shape == (2, 2)


def test_a_plain_state_dict_is_taken_with_a_card_beside_it(tmp_path):
    path = tmp_path / "net.pt"
    net = nets.kept(tmp_path / "net.safetensors")
    torch.save(net.state_dict(), path)
    assert torch.equal(checkpoints.load(path).module.head.weight, net.head.weight)


@pytest.mark.parametrize("method", ["write_bytes", "write_text"])  # the weights, the card
def test_a_failed_save_leaves_the_old_files_and_no_others(path, monkeypatch, method):
    nets.kept(path)
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), method, full)
    with pytest.raises(EngineError, match="No space left"):
        nets.kept(path, mean=(0.9,))
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before


def test_a_card_nested_too_deep_is_refused(path):
    nets.kept(path)
    path.with_suffix(".json").write_text('{"limits":' + "[" * 200_000)
    assert "nested" in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_an_error_in_one_line(path):
    path.parent.chmod(0o500)
    with pytest.raises(EngineError, match="PERTURBSCOPE_HOME"):
        nets.kept(path)


# ---- what is refused -----------------------------------------------------------------------------------------------


class Trap:
    """Pickled code: makes a file when it is unpickled."""

    def __init__(self, mark) -> None:
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize("write", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, protocol=2))])
def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path, suffix, write):
    nets.kept(tmp_path / "net.safetensors")
    path, mark = tmp_path / f"net{suffix}", tmp_path / "ran"
    write({"conv.weight": torch.zeros(1), "trap": Trap(mark)}, path)
    said = refusal(path)
    assert not mark.exists()
    assert "net" + suffix in said and "safetensors" in said


@pytest.mark.parametrize("content", [{}, {"epoch": 3, "state_dict": {}}, nn.Linear(1, 1), torch.zeros(3)])
def test_a_pickle_that_is_no_plain_state_dict_is_refused(tmp_path, content):
    nets.kept(tmp_path / "net.safetensors")
    torch.save(content, tmp_path / "net.pt")
    assert "state_dict" in refusal(tmp_path / "net.pt")


def test_a_truncated_file_is_refused(path):
    nets.kept(path)
    path.write_bytes(path.read_bytes()[:-10])
    assert "not a complete safetensors file" in refusal(path)
    path.write_bytes(b"")
    assert "not a complete safetensors file" in refusal(path)


def test_another_architecture_is_refused_by_name(path):
    nets.kept(path)
    rewrite(path, arch="resnet18")
    assert "saved from small-cnn; correct 'arch'" in refusal(path)
    rewrite(path, arch="resnet81")
    assert "resnet18" in refusal(path)


def test_weights_of_another_shape_are_refused(path):
    nets.kept(path)
    state = load_file(path)
    save_file(state | {"conv.weight": torch.zeros(8, 3, 3, 3)}, path)
    assert "does not fit small-cnn" in refusal(path)
    save_file({k: v for k, v in state.items() if k != "norm.bias"}, path)
    assert "does not fit small-cnn" in refusal(path)
    save_file(state | {"conv.weight": state["conv.weight"].to(torch.int8)}, path)
    assert "float16" in refusal(path)


def test_another_number_of_classes_is_refused(path):
    nets.kept(path)
    rewrite(path, classes=["a", "b"])
    assert "3 outputs but its card names 2 classes" in refusal(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(path, value):
    net = nets.seeded(3)
    with torch.no_grad():
        net.conv.bias[3] = value
    checkpoints.save(path, net, nets.card())
    assert "NaN or infinite" in refusal(path)


def test_a_missing_file_is_said_to_be_missing(path):
    assert "no checkpoint at" in refusal(path)


def test_a_missing_card_is_asked_for(path):
    nets.kept(path)
    path.with_suffix(".json").unlink()
    assert "put net.json with arch, classes, mean, std beside it" in refusal(path)


@pytest.mark.parametrize("text", ["{", "[]", "3", "\x00", "", "null"])
def test_a_card_that_is_no_card_is_refused(path, text):
    nets.kept(path)
    path.with_suffix(".json").write_text(text)
    assert "net.json" in refusal(path)


@pytest.mark.parametrize(("facts", "words"), [
    ({"classes": None}, "lacks 'classes'"), ({"classes": []}, "two different"), ({"classes": "abc"}, "list of texts"),
    ({"classes": ["a", "a", "b"]}, "different"), ({"mean": [0.1, 0.2]}, "one value"), ({"std": [0]}, "above 0"),
    ({"size": -1}, "side of a picture"), ({"size": 10**6}, "side of a picture"),
    ({"mean": [float("nan")]}, "finite"), ({"seed": "0"}, "whole number"), ({"storage": "int4"}, "float16"),
    ({"evaluations": []}, "an object"), ({"clases": ["a"]}, "did you mean: classes"), ({"name": 3}, "text"),
])
def test_a_card_with_a_wrong_fact_names_it(path, facts, words):
    nets.kept(path)
    rewrite(path, **facts)
    assert words in refusal(path)


def test_a_card_comes_back_as_it_was_written(path):
    written = nets.card(name="net", seed=3, evaluations={"test": {"accuracy": 0.9}}, limits="±: few patients")
    checkpoints.save(path, nets.seeded(3), written)
    assert read_card(path) == written


def test_a_short_card_is_enough(path):
    nets.kept(path)
    path.with_suffix(".json").write_text('{"arch": "small-cnn", "classes": ["a", "b", "c"], "mean": [0], "std": [1]}')
    assert read_card(path).name == "net"
    checkpoints.load(path)
