"""Paths that a link or a run names: the page asks first, and looks at nothing until it may."""

import builtins
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from engine.zoo.registry import BUNDLED
from tests.app.visits import model

APP = Path(__file__).resolve().parents[2] / "app.py"
SECONDS = 120
SECRET_CLASSES = ("Alpha", "Beta")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of pictures, where nobody has named a folder."""
    root = tmp_path / "ward"
    for name in SECRET_CLASSES:
        (root / name).mkdir(parents=True)
        for number in range(4):
            grey = np.full((32, 32), 40 * number + len(name), np.uint8)
            Image.fromarray(grey).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A model that fits the phantoms, where nobody has named a folder."""
    file = tmp_path / "elsewhere" / "net.safetensors"
    file.parent.mkdir()
    for suffix in (".safetensors", ".json"):
        file.with_suffix(suffix).write_bytes((BUNDLED / "phantom-cxr" / f"resnet18{suffix}").read_bytes())
    return file


@pytest.fixture
def looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every path below the test's folder that anybody looks at."""
    seen: list[str] = []

    def watched(module: object, name: str) -> None:
        real = getattr(module, name)

        def watch(path: object, *args: object, **options: object) -> object:
            if str(tmp_path) in str(path):
                seen.append(str(path))
            return real(path, *args, **options)

        monkeypatch.setattr(module, name, watch)

    for name in ("stat", "lstat", "readlink", "listdir", "scandir", "open"):
        watched(os, name)
    watched(builtins, "open")
    yield seen


def link(**query: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=SECONDS)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


def questions(app: AppTest) -> list[str]:
    return [warning.value for warning in app.warning]


def opener(app: AppTest, path: Path) -> Button:
    return app.button(key=f"explore open {path}")


def test_a_linked_folder_is_asked_for_and_then_opened_with_all_the_link_says(folder: Path, looked: list[str]) -> None:
    app = link(dataset=f"folder:{folder}", split="all", index="5", attack="fgsm", eps="3/255")
    assert str(folder) in questions(app)[0] and not app.error
    app.run()
    assert questions(app), "still open"
    assert app.selectbox(key="explore.dataset").value == "phantom-cxr"
    assert looked == []
    opener(app, folder).click().run()
    assert not app.exception and not questions(app) and looked
    assert app.selectbox(key="explore.dataset").value == f"folder:{folder}"
    assert app.selectbox(key="explore.split").value == "all"
    assert app.session_state["explore.index"] == 5
    assert any("Alpha" in error.value or "No model knows" in error.value for error in app.error)


def test_a_linked_manifest_is_asked_for_and_opens_its_own_folder_only(folder: Path, looked: list[str]) -> None:
    file = folder / "scans.csv"
    file.write_text("path,label\nAlpha/0.png,Alpha\nBeta/1.png,Beta\n")
    looked.clear()
    app = link(dataset=f"manifest:{file}", split="all", index="1")
    assert str(file) in questions(app)[0] and not app.error and looked == []
    assert app.selectbox(key="explore.dataset").value == "phantom-cxr"
    opener(app, file).click().run()
    assert not app.exception and not questions(app) and looked
    assert app.selectbox(key="explore.dataset").value == f"manifest:{file}"
    assert any("No model knows" in error.value for error in app.error)
    assert questions(link(dataset=f"manifest:{file}")), "another visitor is asked again"


def test_a_linked_checkpoint_is_asked_for(checkpoint: Path, looked: list[str]) -> None:
    app = link(model=str(checkpoint), attack="fgsm", eps="3/255")
    assert str(checkpoint) in questions(app)[0] and not app.error
    assert looked == [] and model(app).value == "phantom-cxr/resnet18"
    opener(app, checkpoint).click().run()
    assert not questions(app) and not app.error
    assert model(app).value == str(checkpoint)
    assert app.selectbox(key="explore.attack").value == "fgsm"
    assert app.select_slider(key="explore.eps").value == pytest.approx(3)


def test_each_path_has_a_question_of_its_own(folder: Path, checkpoint: Path, looked: list[str]) -> None:
    app = link(dataset=f"folder:{folder}", model=str(checkpoint))
    assert len(questions(app)) == 2 and looked == []
    opener(app, folder).click().run()
    assert app.selectbox(key="explore.dataset").value == f"folder:{folder}"
    assert not [path for path in looked if path.startswith(str(checkpoint.parent))]


def test_an_imported_run_asks_like_a_link(folder: Path, checkpoint: Path, looked: list[str]) -> None:
    app = link()
    app.session_state["explore travel"] = {"dataset": f"folder:{folder}", "model": str(checkpoint), "attack": "fgsm"}
    app.run()
    assert len(questions(app)) == 2 and looked == []
    assert app.selectbox(key="explore.attack").value == "fgsm"


def test_a_changed_control_is_the_answer_no(folder: Path, looked: list[str]) -> None:
    app = link(dataset=f"folder:{folder}")
    app.selectbox(key="explore.attack").set_value("bim").run()
    assert not questions(app) and looked == []


def test_what_was_opened_stays_open_for_this_visitor_alone(folder: Path) -> None:
    app = link(dataset=f"folder:{folder}")
    opener(app, folder).click().run()
    app.selectbox(key="explore.dataset").set_value("phantom-cxr").run()
    app.session_state["explore travel"] = {"dataset": f"folder:{folder}/../ward/."}
    app.run()
    assert not questions(app) and "all" in app.selectbox(key="explore.split").options
    assert questions(link(dataset=f"folder:{folder}"))


def test_folders_that_are_named_in_a_setting_are_opened(
        folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURBSCOPE_FOLDERS", os.pathsep.join([str(folder.parent / "elsewhere"), str(folder)]))
    assert not questions(link(dataset=f"folder:{folder}"))
    assert model(link(model=str(checkpoint))).value == str(checkpoint)
    assert questions(link(dataset=f"folder:{folder}/../other"))


def test_the_path_is_shown_as_it_is(tmp_path: Path) -> None:
    app = link(dataset=f"folder:{tmp_path}/**x**\u202e![](http://beacon.example/a.png)")
    line = questions(app)[0]
    assert "**x**" not in line and "![](" not in line and "\u202e" not in line and "\ufffd" in line
