"""Data sets of other kinds than grey 224 x 224, attacked from the page: colour tiles, and pictures of 28 x 28."""

from pathlib import Path

import pytest

from engine.data import medmnist
from tests import collected, nets
from tests.app import visits
from tests.app.test_pages import opened, settled, verdict


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PERTURBSCOPE_DATA, and models of a small architecture."""
    monkeypatch.setenv("PERTURBSCOPE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    (tmp_path / "data").mkdir()
    nets.register(monkeypatch)
    return tmp_path


def test_tiles_in_colour_are_attacked_in_colour(home: Path) -> None:
    collected.breakhis(home / "data" / "BreaKHis_v1")
    nets.kept(home / "home" / "models" / "tiles.safetensors", outputs=2, classes=("Benign", "Malignant"),
              dataset="breakhis", name="tiles")
    app = opened(dataset="breakhis-400x", split="all", index="3", model="tiles", attack="pgd", eps="16/255")
    assert not app.error and visits.model(app).value == "tiles"
    settled(app)
    assert ("Benign" in verdict(app) or "Malignant" in verdict(app)) and not app.error


def test_small_pictures_of_medmnist_are_attacked_in_their_size(home: Path) -> None:
    collected.medmnist(home / "data" / "medmnist" / "bloodmnist.npz", (8, 8, 8), classes=8, colour=True)
    classes = medmnist.SETS["bloodmnist"].classes
    nets.kept(home / "home" / "models" / "cells.safetensors", outputs=8, classes=classes, dataset="bloodmnist",
              name="cells")
    app = opened(dataset="bloodmnist", split="test", index="5", model="cells", attack="fgsm", eps="16/255")
    settled(app)
    assert not app.error and any(name in verdict(app) for name in classes)


def test_a_data_set_that_is_not_here_says_how_to_get_it(home: Path) -> None:
    app = opened(dataset="pathmnist")
    (line,) = (error.value.replace("\\", "") for error in app.error)
    assert "pathmnist.npz" in line and "zenodo.org" in line and "PERTURBSCOPE_DATA" in line


def test_one_finding_among_several_is_chosen_and_attacked(home: Path) -> None:
    kept = collected.medmnist(home / "data" / "chestmnist.npz", (9, 9, 9), findings=14)["test_labels"]
    nets.kept(home / "home" / "models" / "water.safetensors", outputs=2, classes=("no effusion", "Effusion"))
    app = visits.opened("data", dataset="chestmnist")
    (counts,) = (one.value for one in app.dataframe if "finding" in one.value)
    assert counts["test"][2].startswith(f"{kept[:, 2].sum()} (")
    app = next(one for one in app.selectbox if one.label == "Finding").select("finding:effusion:chestmnist").run()
    assert not app.exception and app.query_params["dataset"] == "finding:effusion:chestmnist"
    app = opened(dataset=app.query_params["dataset"], split="test", index="4", attack="fgsm", eps="16/255")
    settled(app)
    assert not app.error and visits.model(app).value == "water" and "ffusion" in verdict(app)
