"""A folder of one's own on the Explore page: its class names find a model's, or the page says which do not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.data import load, phantom
from tests.app.test_pages import opened, settled, verdict
from tests.app.visits import model


@pytest.fixture(autouse=True)
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links may name this test's folders."""
    monkeypatch.setenv("PERTURBSCOPE_FOLDERS", str(tmp_path))


def filled(root: Path, names: dict[str, str]) -> Path:
    """Two phantoms of every class in `names`, in folders of other names."""
    phantoms = load("phantom-cxr", "test")
    for name, title in names.items():
        (root / title).mkdir()
        for i in np.flatnonzero(phantoms.labels == phantom.CLASSES.index(name))[:2]:
            Image.fromarray(np.rint(phantoms.image(int(i))[0] * 255).astype(np.uint8)).save(root / title / f"{i}.png")
    return root


def test_folders_in_another_order_and_spelling_are_attacked_with_the_models_names(tmp_path: Path) -> None:
    folder = filled(tmp_path, {"COVID-19": "covid_19", "Normal": "normal"})  # sorted, the first is the model's last
    app = opened(dataset=f"folder:{folder}", split="all", index="0", attack="fgsm", eps="0/255")
    models = model(app)
    assert any("resnet18" in str(option).lower() or "ResNet-18" in str(option) for option in models.options)
    assert models.value == "phantom-cxr/resnet18"
    goals = " ".join(app.selectbox(key="explore.target").options)
    assert "Pneumonia" in goals and "Normal" in goals and "COVID" not in goals  # the truth is no goal
    settled(app)
    assert "The model held: it still says COVID-19" in verdict(app) and not app.error


def test_the_model_with_no_other_class_comes_first_and_one_with_more_is_offered(tmp_path: Path) -> None:
    folder = filled(tmp_path, {"Pneumonia": "PNEUMONIA", "Normal": "NORMAL"})
    models = model(opened(dataset=f"folder:{folder}", attack="jsma"))
    assert models.value == "kermany/densenet121"
    assert len(set(models.options)) == len(models.options) > 3


@pytest.mark.parametrize(("names", "line"), [
    ({"COVID-19": "CT_COVID", "Normal": "CT_NonCOVID"},
     ["covid-ct/densenet121 tells apart No COVID-19, COVID-19", "called CT_COVID, CT_NonCOVID",
      "--map 'CT_COVID=COVID-19,CT_NonCOVID=No COVID-19'"]),
    ({"COVID-19": "fracture", "Normal": "normal"}, ["called fracture", "--map 'fracture=?'"]),
])
def test_names_that_differ_are_named_with_the_option_that_maps_them(tmp_path: Path, names: dict[str, str],
                                                                    line: list[str]) -> None:
    app = opened(dataset=f"folder:{filled(tmp_path, names)}")
    (error,) = (element.value.replace("\\", "") for element in app.error)
    assert all(part in error for part in line), error
    assert "engine train" in error and "\n" not in error


def test_classes_that_no_model_knows_are_said_to_be_a_models_and_the_run_says_so(tmp_path: Path) -> None:
    folder = filled(tmp_path, {"COVID-19": "virus=new", "Normal": "healthy, no finding"})
    app = opened(dataset=f"folder:{folder}", split="all", index="2", attack="fgsm", eps="0/255")
    assert app.error and next(one for one in app.button if one.label == "Use these names").disabled
    next(one for one in app.selectbox if one.label == "The model").set_value("phantom-cxr/resnet18").run()
    for label, name in (("virus=new", "COVID-19"), ("healthy, no finding", "Normal")):
        next(one for one in app.selectbox if one.label == label).set_value(name).run()
    next(one for one in app.button if one.label == "Use these names").click().run()
    assert not app.error and model(app).value == "phantom-cxr/resnet18"
    name = f"map:healthy%2C no finding=Normal,virus%3Dnew=COVID-19:folder:{folder}"
    assert app.query_params["dataset"] == name and load(name, "all").classes == ("Normal", "COVID-19")
    settled(app)
    assert "The model held: it still says COVID-19" in verdict(app)
    command = next(block.value for block in app.code if "engine attack" in block.value)
    assert "--dataset 'map:healthy%2C no finding=Normal" in command
    next(one for one in app.button if one.label == "Their own names again").click().run()
    assert app.query_params["dataset"] == f"folder:{folder}"
