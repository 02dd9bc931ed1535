"""What the engine says of a wrong name: one line, short, with names that are near or else all there are."""

from pathlib import Path

import pytest
import torch

from engine.cli import main
from engine.errors import FEW, MOST, EngineError, UnknownName, shortened
from engine.zoo import checkpoints, registry
from pages.ui.controls import one_of
from tests import nets

LONG = "ß\t" * 2500  # 5,000 characters
ATTACK = ("attack", "--dataset", "phantom-cxr", "--model", "phantom-cxr/resnet18", "--attack", "pgd", "--limit", "1")
TRAIN = ("train", "--dataset", "phantom-cxr", "--arch", "resnet18", "--name", "my/net")


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that a command with a wrong value ends with."""
    try:
        status = main(list(argv))
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, "") and len(err.splitlines()) == 1, err
    return err.rstrip("\n")


# ---- unknown names ------------------------------------------------------------------------------------------------


def test_near_names_are_offered_and_all_where_they_are_few() -> None:
    assert str(UnknownName("colour", "gren", ["green", "red"])) == (
        "unknown colour 'gren'; did you mean: green? There are: green, red")
    assert str(UnknownName("colour", "x", ["green", "red"])) == "unknown colour 'x'; there are: green, red"
    assert str(UnknownName("colour", "x", ["green"])) == "unknown colour 'x'; there is: green"
    assert str(UnknownName("colour", "x", [])) == "unknown colour 'x'; there is none"
    assert str(UnknownName("colour", "GREEN", ["green"])).startswith("unknown colour 'GREEN'; did you mean: green?")


def test_of_many_names_the_near_ones_are_enough() -> None:
    many = [f"colour-{i:02}" for i in range(20)]
    assert "did you mean: colour-11" in str(UnknownName("colour", "colour-111", many))
    assert "there are" not in str(UnknownName("colour", "colour-111", many)).lower()
    said = str(UnknownName("colour", "x", many))
    assert said.endswith(f"there are: {', '.join(many[:FEW])} and {20 - FEW} more")


def test_the_empty_name_is_never_offered() -> None:
    assert str(UnknownName("mask", "x", ["", "cam", "lung"])) == "unknown mask 'x'; there are: cam, lung"
    assert str(UnknownName("mask", "", ["", "cam"])) == "unknown mask ''; there is: cam"


def test_the_empty_choice_has_a_name_in_the_address() -> None:
    read = one_of("mask", ["", "cam"])
    assert (read("none"), read(""), read("cam")) == ("", "", "cam")
    with pytest.raises(EngineError, match="there are: cam, none"):
        read("x")
    with pytest.raises(UnknownName):
        one_of("attack", ["fgsm"])("none")


@pytest.mark.parametrize("text", ["", "short", "x" * 60, "x" * 61, "x" * 5000, "a\nb\x00c\u2028d", LONG])
def test_what_is_quoted_is_short_and_on_one_line(text: str) -> None:
    short = shortened(text)
    assert len(short) <= 60 and len(short.splitlines()) <= 1 and short.isprintable()
    if len(text) > 60:
        assert len(short) == 60 and "..." in short and short[0] == text[0]
    elif text.isprintable():
        assert short == text


def test_no_message_is_endless_or_of_two_lines() -> None:
    said = str(EngineError(f"first\n{'word ' * 1000}\nlast"))
    assert len(said) == MOST and len(said.splitlines()) == 1 and said.startswith("first") and said.endswith("last")


# ---- from the command line ----------------------------------------------------------------------------------------


# Checked before any image or model is loaded, but for --model; "" is the default of the others.
OPTIONS = [(ATTACK, name) for name in ("dataset", "model", "attack", "norm", "target", "seed", "limit", "index",
                                       "numerics", "batch", "max-queries", "set", "draws")]
OPTIONS += [(TRAIN, name) for name in ("dataset", "arch", "name", "epochs", "storage", "lr", "precision")]
EMPTY_IS_DEFAULT = [(ATTACK, "eps"), (ATTACK, "split"), (ATTACK, "mask"), (ATTACK, "defense"),
                    (ATTACK, "attacker"), (TRAIN, "start-from"), (TRAIN, "defense")]


@pytest.mark.parametrize(("argv", "option"), [*OPTIONS, *EMPTY_IS_DEFAULT, (("train-style", "--name", "x"), "name")])
def test_a_wrong_value_of_any_option_is_one_short_line(capsys, argv, option) -> None:
    values = ["?!", LONG, "a\nb"] + [""] * ((argv, option) not in EMPTY_IS_DEFAULT)
    for wrong in values:
        said = refused(capsys, *argv, f"--{option}={wrong}")
        assert len(said) <= MOST + 100
        assert ": ," not in said and ", ," not in said and "did you mean: ?" not in said


@pytest.mark.parametrize(("argv", "wrong", "says"), [
    (TRAIN, ("--arch", "resnet34"), "did you mean: resnet"),
    (TRAIN, ("--arch", "alexnet"), "unknown architecture 'alexnet'; there are: convnext_tiny, densenet121"),
    (ATTACK, ("--model", "net.pt2"), "there is no checkpoint at net.pt2"),
    (ATTACK, ("--model", "net.onnx"), ".safetensors, .pt, .pth, .ckpt"),
    (ATTACK, ("--model", "net.ckpt"), "there is no checkpoint at net.ckpt"),
    (ATTACK, ("--mask", "brain"), "here are: cam, drawn, lesion, lung"),
])
def test_a_message_says_what_there_is(capsys, argv, wrong, says) -> None:
    assert says in refused(capsys, *argv, *wrong)


def test_a_file_that_is_there_but_of_no_known_kind_is_not_an_unknown_name(tmp_path: Path) -> None:
    (tmp_path / "weights.xyz").write_bytes(b"")
    with pytest.raises(EngineError, match=r"kind \.xyz are not taken.*\.safetensors"):
        registry.load_model(str(tmp_path / "weights.xyz"))


# ---- checkpoints of strangers -------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, torch.Tensor]]:
    """A checkpoint's place, whose card is there, and its tensors."""
    nets.register(monkeypatch)
    net = nets.kept(tmp_path / "net.safetensors")
    return tmp_path / "net", net.state_dict()


@pytest.mark.parametrize("beginning", ["module.", "model.", "net.", "_orig_mod.", "module.model."])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("inside", [None, "state_dict", "model_state_dict", "model"])
def test_weights_saved_by_a_framework_are_found(saved, beginning, suffix, inside) -> None:
    path, state = saved
    wrapped = {beginning + name: value for name, value in state.items()}
    content = wrapped if inside is None else {"epoch": 3, "lr": [0.1], inside: wrapped}
    torch.save(content, path.with_suffix(suffix))
    found = checkpoints.load(path.with_suffix(suffix)).module.state_dict()
    assert found.keys() == state.keys() and all(torch.equal(found[k], v) for k, v in state.items())


def test_what_is_not_the_networks_own_is_left_out(saved) -> None:
    path, state = saved
    wrapped = {f"model.{name}": value for name, value in state.items()} | {"criterion.weight": torch.ones(3)}
    torch.save({"state_dict": wrapped}, path.with_suffix(".ckpt"))
    assert torch.equal(checkpoints.load(path.with_suffix(".ckpt")).module.head.weight, state["head.weight"])


@pytest.mark.parametrize(("change", "says"), [
    (lambda s: {f"a.{k}": v for k, v in s.items()} | {f"b.{k}": v for k, v in s.items()},
     "it has no 'conv.weight' (but 'a.conv.weight' and others)"),
    (lambda s: {k: v for k, v in s.items() if k != "norm.bias"}, "it has no 'norm.bias'"),
    (lambda s: s | {"more": torch.ones(1)}, "it has 'more', which that network has not"),
    (lambda s: s | {"conv.weight": torch.zeros(8, 3, 3, 3)}, "has the shape [8, 3, 3, 3], not [8, 3, 5, 5]"),
])
def test_weights_that_do_not_fit_are_told_how(saved, change, says) -> None:
    path, state = saved
    torch.save(change(dict(state)), path.with_suffix(".pt"))
    with pytest.raises(EngineError) as caught:
        checkpoints.load(path.with_suffix(".pt"))
    said = str(caught.value)
    assert said.startswith("net.pt does not fit small-cnn: ") and says in said and "another network" not in said
    assert "python -m engine list architectures" in said
