"""The Data page as Streamlit runs it, without a browser."""

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

import engine.data
from engine.data import DATASETS
from engine.data.remote import Remote
from engine.experiments.sources import Source, picture
from engine.work.jobs import jobs
from pages.ui import own, sources
from tests import collected, nets
from tests.app.visits import model, opened
from tests.dicoms import dicom, gradient
from tests.shelf import Shelf, served

NASTY = "<script>alert(1)</script> **bold** [link](http:__evil.example) :smile: $x$"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PERTURBSCOPE_DATA."""
    monkeypatch.setenv("PERTURBSCOPE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    (tmp_path / "data").mkdir()
    return tmp_path


def said(app: AppTest) -> str:
    """Everything that the page says in words, as it is read."""
    lines = [str(block.value) for kind in ("subheader", "caption", "markdown", "error", "info", "success", "warning")
             for block in getattr(app, kind)]
    return "\n".join(lines).replace("&#95;", "_").replace("&#42;", "*").replace("&#58;", ":")


def pressed(app: AppTest, label: str) -> AppTest:
    after = next(one for one in app.button if one.label == label).click().run()
    assert not after.exception, after.exception
    return after


def done(app: AppTest) -> AppTest:
    """Once all that was asked for is over."""
    for job in list(jobs()._jobs.values()):
        job.wait(60)
    app.run()
    assert not app.exception, app.exception
    return app


def filled(root: Path, **counts: int) -> Path:
    """A folder of pictures, a folder a class."""
    number = 0
    for name, count in counts.items():
        for _ in range(count):
            collected.save(root / name / f"{number}.png", collected.noise(number))
            number += 1
    return root


def table(app: AppTest, column: str) -> list[object]:
    return list(next(one.value for one in app.dataframe if column in one.value)[column])


def names(app: AppTest) -> list[str]:
    """Which pictures the grid has."""
    (grid,) = (one for one in app.get("bidi_component") if "tiles" in str(one.proto))
    return [f"{tile['number']} {tile['caption']}" for tile in json.loads(grid.proto.json)["tiles"]]


def test_what_is_missing_says_how_to_get_it_and_what_is_there_what_it_has(home: Path) -> None:
    app = opened("data")
    assert set(table(app, "name")) == set(DATASETS) and sum(map(bool, table(app, "here"))) == 3  # the phantoms
    app = opened("data", dataset="rsna")
    assert "kaggle.com" in said(app) and "not offered for download" in said(app) and not app.error
    for number in range(20):
        collected.save(home / "scans" / "ab"[number % 4 == 0] / f"{number}.png", collected.noise(number))
    (home / "scans" / "a" / "1.png").write_bytes(b"")
    collected.save(home / "scans" / "stray.png", collected.noise(99))
    app = opened("data", dataset=f"folder:{home / 'scans'}")
    assert "asks for" in said(app) and "24 x 24" not in said(app)  # a link may not open it without a question
    assert "asks for" in said(opened("data", dataset=f"finding:a:manifest:{home / 'scans.csv'}"))
    assert "stand a finding and a data set" in said(opened("data", dataset="finding:effusion"))
    assert sources.title("finding:effusion") == "finding:effusion"  # as it may be typed
    app = pressed(app, "Open it")
    assert "1 damaged file" in said(app) and "1 file without a label" in said(app) and "24 x 24" in said(app)
    assert table(app, "images")[0] == 19 and table(app, "b")[0] == 5
    app = done(pressed(app, "Check every picture"))
    assert "it is empty" in str(table(app, "what is wrong"))


def test_a_set_is_downloaded_with_a_click_where_visitors_may(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collected.medmnist(home / "made.npz", (6, 4, 4))
    data = (home / "made.npz").read_bytes()
    entry = DATASETS["breastmnist"]
    with served(Shelf(data)) as shelf:
        there = Remote(shelf.url, "medmnist/breastmnist.npz", f"md5:{hashlib.md5(data).hexdigest()}")
        monkeypatch.setitem(DATASETS._items, "breastmnist", replace(entry, info=replace(entry.info, remote=there)))
        monkeypatch.setenv(own.SHARED, "1")
        app = opened("data", dataset="breastmnist")
        assert "Whoever runs this server" in said(app) and not any(one.label == "Download" for one in app.button)
        monkeypatch.setenv(own.KEEPING, "1")
        app = done(pressed(opened("data", dataset="breastmnist"), "Download"))
    assert table(app, "images") == [6, 4, 4] and len(shelf.asked) == 1


def test_pictures_are_filtered_and_looked_at(home: Path) -> None:
    lines = ["path,label,patient"]
    for number in range(70):
        collected.save(home / "data" / "p" / f"{number}.png", collected.noise(number))
        lines.append(f"p/{number}.png,{NASTY if number % 2 else 'plain'},MRN-{number // 5}")
    (home / "data" / "scans.csv").write_text("\n".join(lines))
    here = f"manifest:{home / 'data' / 'scans.csv'}"
    app = opened("data", view="pictures", dataset=here, split="all")
    assert len(names(app)) == 60 and "p/0.png" in said(app) and "MRN" not in str(app.main)
    app = opened("data", view="pictures", dataset=here, split="all", sheet="2", **{"class": "plain"}, index="4")
    assert "must be a page from 1 to 1" in said(app)  # there are 35
    app = opened("data", view="pictures", dataset=here, split="all", patient="3", index="12", level="0.3", width="0.2")
    assert names(app) == [f"{number} {NASTY if number % 2 else 'plain'}" for number in range(10, 15)]
    assert "24 x 24" in str(table(app, "value")) and "grey, 8 bits, PNG" in str(table(app, "value"))
    assert not any("**bold**" in line or "<script" in line for line in lines_of(app))
    app.slider(key="data.level").set_value(0.5).run()
    assert "level" not in app.query_params and app.query_params["width"] == "0.2"
    for control, value in (("data.class", "plain"), ("data.patient", "")):
        app.selectbox(key=control).set_value(value).run()
    assert len(names(app)) == 35 and app.query_params["class"] == "plain" and app.query_params["index"] == "12"
    (home / "data" / "p" / "12.png").write_bytes(b"")
    assert "12.png" in said(app.run()) and app.error and not app.exception


def test_a_ct_slice_is_looked_at_through_the_windows_that_explore_has(home: Path) -> None:
    for number in range(2):
        (home / "data" / f"{number}.dcm").write_bytes(dicom(gradient(), Modality="CT", RescaleSlope=1,
                                                            RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400))
    (home / "data" / "scans.csv").write_text("path,label\n0.dcm,a\n1.dcm,b")
    here = f"manifest:{home / 'data' / 'scans.csv'}"
    app = opened("data", view="pictures", dataset=here, split="all", index="1", window="lung")
    assert not app.error and [one.value for one in app.number_input] == [-600, 1500]
    (control,) = (one for one in app.selectbox if one.label == "Window")
    assert len(control.options) == 7 and not app.slider
    app = control.set_value("").run()
    assert "window" not in app.query_params and not app.exception
    data = engine.data.load(here)
    frame = data.frame(1)
    assert frame is not None and np.array_equal(frame.shown().seen, data.image(1))
    chosen = picture(Source(here, "all", 1))  # as Explore attacks it: in its own values, as if it were uploaded
    assert chosen.stored is not None and chosen.stored_units == frame.shown().stored_units is not None
    assert np.array_equal(chosen.stored.seen(frame.stored), chosen.image)
    assert "must be one of those offered" in said(opened("data", view="pictures", dataset=here, window="x"))


def lines_of(app: AppTest) -> list[str]:
    return [str(block.value) for kind in ("subheader", "caption", "markdown", "error", "info") for block in
            getattr(app, kind)]


def test_what_a_model_says_is_a_filter(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nets.register(monkeypatch)
    nets.kept(home / "home" / "models" / "net.safetensors", outputs=2, classes=("a", "b"), name="net")
    folder = filled(home / "data" / "scans", a=6, b=6)
    (folder / "a" / "2.png").write_bytes((folder / "a" / "2.png").read_bytes()[:100] + bytes(500))
    app = opened("data", view="pictures", dataset=f"folder:{folder}", split="all", by="net")
    app = done(pressed(app, "Let it look"))
    whole = len(names(app))
    parts = []
    for value in ("right", "wrong"):
        app.selectbox(key="data.says").set_value(value).run()
        assert not app.exception
        parts.append(len(names(app)) if app.get("bidi_component") else 0)
    assert sum(parts) == whole == 11  # the damaged one is left out


def test_a_phantom_is_made_and_the_link_to_explore_names_it(home: Path) -> None:
    app = opened("data", view="workshop", kind="phantom-ct", shows="COVID-19", **{"knob.noise": "3"})
    app.slider(key="data.knob.phantom-ct.size").set_value(1.5).run()
    (name,) = (block.value for block in app.code)
    assert not app.exception
    assert name == "made:phantom-ct,shows=COVID-19,anatomy=8,disease=8,exposure=8,size=1.5,noise=3"
    assert app.query_params["knob.size"] == "1.5" and any("SYNTHETIC" in str(one.proto.body) for one in app.get("html"))
    pressed(app, "As drawn")
    assert "size" not in next(block.value for block in app.code)
    before = next(block.value for block in app.code)
    pressed(app, "Another case")
    assert next(block.value for block in app.code) != before


def test_models_stand_side_by_side_and_ones_own_are_renamed_deleted_and_had_back(
        home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nets.register(monkeypatch)
    nets.kept(home / "home" / "models" / "net.safetensors", outputs=2, classes=("a", "b"), name="net")
    app = opened("data", view="models", models="kermany/densenet121,net")
    assert {"kermany/densenet121", "net"} <= set(app.dataframe[1].value.columns)
    next(one for one in app.text_input if one.label == "Rename").set_value("../out").run()
    assert "cannot be called" in said(pressed(app, "Rename"))
    next(one for one in app.text_input if one.label == "Rename").set_value("better").run()
    assert "net is called better now" in said(pressed(app, "Rename"))
    assert app.query_params["models"] == "kermany/densenet121,better"
    assert "better was deleted just now" in said(pressed(app, "Delete")) and "better" not in table(app, "name")
    assert "better" in table(pressed(app, "Undo"), "name")
    monkeypatch.setenv(own.SHARED, "1")
    app = opened("data", view="models", models="better")
    assert not any(one.label in ("Rename", "Delete") for one in app.button)


def test_explore_opens_on_the_phantom_that_was_made(home: Path) -> None:
    name = "made:phantom-cxr,shows=Pneumonia,anatomy=8,disease=8,exposure=8,size=1.5"
    app = opened("explore", dataset=name, split="test", index="0", attack="jsma")  # which does not run by itself
    assert not app.error and model(app).value.startswith("phantom-cxr/")
    assert app.query_params["dataset"] == name and "Pneumonia" not in app.selectbox(key="explore.target").options


def test_a_model_is_brought_along_and_is_at_once_on_every_page(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nets.register(monkeypatch)
    folder = f"folder:{filled(home / 'data' / 'scans', a=6, b=6)}"
    right = io.BytesIO()
    torch.save(nets.seeded(2).state_dict(), right)
    app = opened("data", view="models", dataset=folder)
    brought(app, "wrong.pt", io.BytesIO(b"PK"))
    assert "code in it is not run" in said(app) and not any("Keep" in one.label for one in app.button)
    brought(app, "my net.pth", right)
    assert "Small CNN" in said(app) and "with 2 outputs" in said(app) and app.text_area[0].value == "a\nb"
    assert "of 12 pictures of folder" in said(app) and "pictures normalised as ImageNet's" in said(app)
    app = done(app.text_area[0].set_value("a").run())
    assert "1 classes are named" in said(app)
    done(app.text_area[0].set_value("b\na").run())
    several = next(one for one in app.toggle if one.label.startswith("Its classes do not exclude"))
    app = done(several.set_value(True).run())
    looked = next(one for one in app.selectbox if one.label == "Looked for")
    assert (looked.options, looked.value) == (["b", "a"], "b") and "of 12 pictures of folder" in said(app)
    app = done(next(one for one in app.toggle if one.label == several.label).set_value(False).run())
    app = pressed(app, "Keep it among the models")
    assert "my/my-net is among the models now" in said(app) and app.query_params["models"] == "my/my-net"
    assert table(app, "trained on")[-1] == "not said" and "recognised" not in said(app)
    app = opened("explore", dataset=folder, split="all", attack="jsma")
    assert not app.error, [one.value for one in app.error]
    assert model(app).value == "my/my-net"
    monkeypatch.setenv(own.SHARED, "1")
    assert not opened("data", view="models").file_uploader


def brought(app: AppTest, name: str, content: io.BytesIO) -> None:
    app.file_uploader[0].upload(name, content.getvalue(), "application/octet-stream").run()
    for _ in range(2):  # recognised, tried
        done(app)
