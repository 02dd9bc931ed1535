"""python -m engine curve: both readings, several models and seeds, and all that is left in --out."""

import json
import tomllib
from pathlib import Path

import pandas
import pytest

from engine.cli import main
from engine.data import phantom
from tests import nets
from tests.unit.test_cli import fails


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two small networks that know the phantoms' classes."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    nets.register(monkeypatch)
    files = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for file in files:
        nets.kept(file, classes=phantom.CLASSES, mean=(0.4,) * 3, std=(0.2,) * 3)
    return list(map(str, files))


def argv(models: list[str], *more: str) -> list[str]:
    return ["curve", "--dataset", "phantom-cxr", "--model", ",".join(models), "--device", "cpu", *more]


@pytest.mark.parametrize("reading", ["independent", "worst"])
def test_a_curve_of_several_models_and_seeds_leaves_all_its_files(models: list[str], reading: str, tmp_path: Path,
                                                                  capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(argv(models, "--attack", "fgsm,pgd", "--eps", "0,2/255,16/255", "--seed", "0,1", "--set", "pgd.steps=2",
                     "--limit", "4", "--reading", reading, "--out", str(out), "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["points"]) == 2 * 2 * 2 * 3 and found["reading"] == reading and found["models"] == models
    assert all(0 <= p["low"] <= p["accuracy"] <= p["high"] <= 1 for p in found["points"])
    assert {p.name for p in out.iterdir()} == {"rows.parquet", "curve.json", "curve.csv", "curve.svg", "curve.png",
                                               "sweep.toml"}
    rows = pandas.read_parquet(out / "rows.parquet")
    by_point = rows.groupby(["model", "attack", "seed", "eps"], observed=True)
    right = by_point.apply(lambda some: float((some["label"] == some["predicted_adversarial"]).mean()))
    assert len(rows) == 24 * 4 and rows["gradients"].sum() == sum(p["gradients"] for p in found["points"])
    for p in found["points"]:
        assert right[p["model"], p["attack"], p["seed"], p["eps"]] == p["accuracy"]
    # FGSM takes a gradient an image, model and seed, whatever the number of eps.
    assert rows[rows["attack"] == "fgsm"]["gradients"].sum() == 2 * 2 * 4
    if reading == "worst":
        assert all(line.is_monotonic_decreasing for _, line in right.groupby(level=[0, 1, 2]))
        assert rows[(rows["attack"] == "pgd") & (rows["eps"] == 0)]["gradients"].sum() == 0, "nothing can be done there"
        assert "assumed" in found["assumed"]
    table = pandas.read_csv(out / "curve.csv")
    assert len(table) == 24 and {"low", "high", "auc", "recall_Normal"} <= set(table.columns)
    kept = tomllib.loads((out / "sweep.toml").read_text())
    assert kept["reading"] == reading and main(["curve", "--config", str(out / "sweep.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == found["points"]


def test_it_says_in_words_what_it_found(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv(models[:1], "--attack", "pgd", "--set", "steps=2", "--eps", "1/255,8/255", "--limit", "2",
                     "--reading", "worst")) == 0
    said = capsys.readouterr().out
    assert "1/255   accuracy" in said and "it is assumed, not proven" in said and "gradients" in said


def test_a_curve_needs_attacks_with_a_budget(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "deepfool has no eps" in fails(capsys, *argv(models, "--attack", "deepfool"))
    assert "choose from" in fails(capsys, *argv(models, "--attack", "fgsm", "--reading", "best"))
    assert "at least one value" in fails(capsys, *argv(models, "--attack", "fgsm", "--eps", ","))
