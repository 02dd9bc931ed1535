"""A stranger's class names find the model's, whatever their order; where they do not, the answer names the pairs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from engine.attacks.runner import run_attack
from engine.attacks.spec import make_spec
from engine.cli import main
from engine.data import load
from engine.data.classmap import ClassMap, class_map_of, fits, labelled, likeness, match, read_map
from engine.errors import EngineError
from engine.experiments.further import chosen_others
from engine.experiments.onepicture.explore import explore_task
from engine.experiments.resources import surrogate
from engine.experiments.sources import Source
from engine.zoo import checkpoints, ensemble
from engine.zoo.cards import Card
from engine.zoo.classifier import Classifier
from tests import nets
from tests.tiny import some_images
from tests.working import perform

MODEL = ("Normal", "Pneumonia", "COVID-19")


@pytest.mark.parametrize(("data", "places"), [
    (MODEL, (0, 1, 2)),
    (("COVID-19", "Normal", "Pneumonia"), (2, 0, 1)),
    (("NORMAL", "PNEUMONIA"), (0, 1)),
    (("PNEUMONIA", "covid_19", "normal"), (1, 2, 0)),
    (("normal", "fracture"), None),
])
def test_names_are_matched_whatever_their_order_and_capitals(data: tuple[str, ...], places: tuple[int, ...]) -> None:
    assert fits(data, MODEL) == (places is not None)
    if places is not None:
        assert match(data, MODEL, "m").places == places


def test_exact_names_come_first_and_what_is_ambiguous_is_no_match() -> None:
    assert match(("b", "B"), ("B", "b"), "m").places == (1, 0)
    assert not fits(("COVID-19", "covid_19"), MODEL)  # two of the data set's for one
    assert not fits(("covid 19",), ("COVID-19", "covid_19"))  # two of the model's for one
    assert match(("a-b", "A b"), ("a-b", "x"), "m", {"A b": "x"}).places == (0, 1)


def test_only_the_same_names_in_the_same_order_change_nothing() -> None:
    assert match(MODEL, MODEL, "m").trivial
    assert not match(("normal", *MODEL[1:]), MODEL, "m").trivial
    assert not match(("a", "b"), ("a", "b"), "m", {"a": "b", "b": "a"}).trivial


def test_several_classes_may_be_one_where_the_user_says_so() -> None:
    pairs = read_map("bacteria=Pneumonia, virus = pneumonia", ("bacteria", "NORMAL", "virus"), MODEL, "m")
    found = match(("bacteria", "NORMAL", "virus"), MODEL, "m", pairs)
    assert found.names == {"bacteria": "Pneumonia", "NORMAL": "Normal", "virus": "Pneumonia"}
    assert found.number("virus") == found.number("PNEUMONIA") == 1


def test_names_with_commas_and_equals_signs_can_be_given() -> None:
    data, model = ("a,b", "x=y"), ("p=q", "r,s")
    pairs = read_map('"a,b=p=q","x=y=r,s"', data, model, "m")
    assert match(data, model, "m", pairs).places == (0, 1)


@pytest.mark.parametrize(("text", "says"), [
    ("COVID", "pairs such as"), ("kovid=Normal", "COVID"), ("COVID=kovid", "COVID-19"),
    ("COVID=?", "unknown class of m"),
    ("COVID=Normal,COVID=COVID-19", "twice"),
])
def test_a_map_that_will_not_do_is_one_line(text: str, says: str) -> None:
    with pytest.raises(EngineError, match=says):
        read_map(text, ("COVID", "HEALTHY"), MODEL, "m")


def test_the_error_says_which_names_differ_and_the_map_it_offers_works() -> None:
    data, model = ("CT_COVID", "CT_NonCOVID"), ("No COVID-19", "COVID-19")
    with pytest.raises(EngineError, match=r"called CT_COVID, CT_NonCOVID as .*check the pairs.*: --map '") as error:
        match(data, model, "covid-ct/densenet121")
    offered = str(error.value).partition("--map '")[2].removesuffix("'")
    assert match(data, model, "m", read_map(offered, data, model, "m")).places == (1, 0)


def test_what_is_like_nothing_is_left_open() -> None:
    with pytest.raises(EngineError, match=r"a name instead of each \?\): --map 'fracture=\?'"):
        match(("fracture", "normal"), MODEL, "m")
    with pytest.raises(EngineError, match=r"--map 'virus=Pneumonia,fracture=\?'"):  # what was said is not forgotten
        match(("virus", "fracture"), MODEL, "m", {"virus": "Pneumonia"})


def test_the_nearest_model_has_the_most_alike_names() -> None:
    assert likeness(MODEL, MODEL) == 1
    assert likeness(("CT_COVID", "CT_NonCOVID"), ("No COVID-19", "COVID-19")) > likeness(("CT_COVID", "CT_NonCOVID"),
                                                                                      ("Normal", "Pneumonia"))


def test_a_data_set_keeps_all_but_its_labels() -> None:
    plain = load("phantom-cxr", "test")
    turned = labelled(plain, ClassMap(plain.classes, ("x", "y", "z"), (2, 0, 1)))
    assert turned.classes == ("x", "y", "z") and len(turned) == len(plain)
    assert turned.labels.tolist() == [[2, 0, 1][label] for label in plain.labels]
    healthy = int(np.flatnonzero(plain.labels == 0)[0])
    assert np.array_equal(turned.images([3]), plain.images([3])) and turned.lesion(healthy) is None
    assert turned.item_name(5) == plain.item_name(5) and turned.digest != plain.digest
    assert labelled(plain, class_map_of(plain)) is plain


def test_further_images_are_labelled_alike() -> None:
    plain = load("phantom-cxr", "test")
    turned = labelled(plain, ClassMap(plain.classes, ("x", "y", "z"), (2, 0, 1)))
    (here, some), (there, same) = (chosen_others(dataset, [0], 1) for dataset in (plain, turned))
    assert {(i, [2, 0, 1][here.labels[i]]) for i in some} == {(i, int(there.labels[i])) for i in same}


# ---- a folder of phantoms, with folder names in capitals and the other order; a model that tells light from dark


class Light(nn.Module):
    """Logits [0, 9 (mean - 0.5)]: class 1 is light."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = 9 * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([torch.zeros_like(z), z], 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms made lighter and darker: COVID_19 is light, pneumonia dark; sorted, the first is the model's last."""
    root, phantoms = tmp_path_factory.mktemp("strangers"), load("phantom-cxr", "test")
    for name, shift in (("COVID_19", 0.5), ("pneumonia", 0.0)):
        (root / name).mkdir()
        for i in range(4):
            grey = np.rint(255 * (phantoms.image(i)[0] / 2 + shift)).astype(np.uint8)
            Image.fromarray(grey).save(root / name / f"{i}.png")
    return root


def kept(path: Path, classes: tuple[str, ...]) -> Path:
    card = Card(name=path.stem, arch="small-cnn", classes=classes, mean=(0.5,) * 3, std=(0.25,) * 3)
    checkpoints.save(path, nets.seeded(len(classes)), card)
    return path


def command(folder: Path, model: Path, *options: str) -> list[str]:
    return ["--dataset", f"folder:{folder}", "--model", str(model), "--device", "cpu", "--json", *options]


def test_labels_become_the_models(folder: Path) -> None:
    dataset = load(f"folder:{folder}")
    model = Classifier(Light(), ("Pneumonia", "COVID-19"), channels=1, name="light")
    dataset = labelled(dataset, match(dataset.classes, model.classes, model.name))
    result = run_attack(make_spec("fgsm", eps=0.0), model, torch.from_numpy(dataset.images(range(8))),
                        torch.from_numpy(dataset.labels), device="cpu")
    assert result.labels.tolist() == [1] * 4 + [0] * 4
    assert result.summary()["accuracy_clean"] == 1


def test_the_command_line_speaks_the_models_language(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    nets.register(monkeypatch)
    model = kept(tmp_path / "m.safetensors", ("Normal", "Pneumonia", "COVID-19"))
    for verb, attack, file in (("attack", ["fgsm", "--eps", "1/255"], "result.json"),
                               ("curve", ["fgsm", "--eps", "0,1/255"], "curve.json"),
                               ("minimal", ["fgsm", "--high", "1/255", "--tolerance", "0.9/255"], "minimal.json")):
        assert main([verb, *command(folder, model, "--attack", *attack, "--target", "normal", "--out",
                                    str(tmp_path / verb))]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["map"] == {"COVID_19": "COVID-19", "pneumonia": "Pneumonia"}
        assert json.loads((tmp_path / verb / file).read_text())["map"] == printed["map"]
    arrays = np.load(tmp_path / "attack" / "adversarial.npz")
    assert arrays["labels"].tolist() == [2] * 4 + [1] * 4


def test_names_that_differ_are_mapped_by_hand(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    nets.register(monkeypatch)
    model = kept(tmp_path / "m.safetensors", ("dark", "light"))
    attack = command(folder, model, "--attack", "fgsm", "--eps", "0", "--target", "light")
    assert main(["attack", *attack]) == 2
    assert "COVID_19=?" in capsys.readouterr().err
    assert main(["attack", *attack, "--map", "COVID_19=light,pneumonia=dark"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert main(["attack", *attack, "--map", "COVID_19=dark,pneumonia=light"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert one["map"] == {"COVID_19": "light", "pneumonia": "dark"} and one["spec"]["target"] == 1
    assert one["accuracy_clean"] == pytest.approx(1 - other["accuracy_clean"])
    assert main(["attack", *attack, "--map", "COVID_19=light,pneumonia=grey"]) == 2
    assert "'grey'" in capsys.readouterr().err


def test_the_page_attacks_the_models_class_and_keeps_the_map(folder: Path, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    nets.register(monkeypatch)
    source = Source(f"folder:{folder}", "all", 0)
    task = explore_task(source, str(kept(tmp_path / "m.safetensors", MODEL)), make_spec("fgsm", eps=1 / 255), "cpu")
    found = perform(task)
    assert found.facts["label"] == 2 and found.facts["run"]["classes"] == list(MODEL)
    assert found.facts["map"] == dict(task.spec.names) == {"COVID_19": "COVID-19", "pneumonia": "Pneumonia"}
    with pytest.raises(EngineError, match="COVID_19"):
        explore_task(source, str(kept(tmp_path / "n.safetensors", ("a", "b"))), make_spec("fgsm", eps=1 / 255), "cpu")


def test_a_surrogate_with_the_classes_in_another_order_is_turned(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    nets.register(monkeypatch)
    path, images = str(kept(tmp_path / "s.safetensors", ("covid-19", "Normal", "Pneumonia"))), some_images(2)
    turned, plain = surrogate(path, MODEL), surrogate(path, ("covid-19", "Normal", "Pneumonia"))
    assert turned.classes == MODEL
    torch.testing.assert_close(turned(images), plain(images)[:, [1, 2, 0]])
    for classes in (MODEL[:2], ("a", "b", "c")):
        with pytest.raises(EngineError, match="as a surrogate"):
            ensemble.with_classes(plain, classes)
