"""python -m engine evaluate: scripts read its JSON, and every number in it can be made again from its rows."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
from PIL import Image

from engine.cli import main
from engine.metrics.rates import interval

MODELS = ("phantom-cxr/resnet18", "phantom-cxr/densenet121")
CLASSES = ["Normal", "Pneumonia", "COVID-19"]
ASKED = ["evaluate", "--dataset", "phantom-cxr", "--model", MODELS[0], "--attack", "fgsm,pgd", "--eps", "4/255,1/255",
         "--per-class", "2", "--set", "pgd.steps=2", "--batch", "3"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated") / "out"
    assert main([*ASKED, "--seed", "0,1", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def facts(out: Path) -> dict:
    return json.loads((out / "evaluate.json").read_text())


@pytest.fixture(scope="module")
def table(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "rows.parquet")


def of_run(table: pd.DataFrame, run: dict) -> pd.DataFrame:
    same = [table[name] == run[name] for name in ("model", "attack", "eps", "seed")]
    return table[np.logical_and.reduce(same)]


def test_there_is_a_run_for_every_model_attack_budget_and_seed(facts: dict, table: pd.DataFrame) -> None:
    runs = [(run["attack"], run["eps"], run["seed"]) for run in facts["runs"]]
    assert runs == [(attack, eps, seed) for attack in ("fgsm", "pgd") for eps in (1 / 255, 4 / 255) for seed in (0, 1)]
    assert facts["runs"][0].keys() >= {"n", "accuracy_clean", "accuracy_adversarial", "success_rate", "confusion_clean",
                                       "confusion_adversarial", "precision", "recall", "f1", "auc"}
    assert len(facts["indices"]) == 6 and len(table) == 8 * 6
    assert set(table.columns) >= {"image", "label", "model", "defense", "attack", "eps", "norm", "seed",
                                  "predicted_clean", "predicted_adversarial", "predicted_8bit", "success", "linf", "l2",
                                  "queries", "gradients"}


def test_every_metric_is_scikit_learns_on_the_rows(facts: dict, table: pd.DataFrame) -> None:
    for run in facts["runs"]:
        rows = of_run(table, run)
        assert len(rows) == run["n"] == 6
        for side in ("clean", "adversarial"):
            labels, said = rows["label"].astype(str), rows[f"predicted_{side}"].astype(str)
            assert run[f"accuracy_{side}"] == pytest.approx(sk.accuracy_score(labels, said))
            assert run[f"confusion_{side}"] == sk.confusion_matrix(labels, said, labels=CLASSES).tolist()
            for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
                found = run[name][side]
                assert list(found["classes"].values()) == pytest.approx(
                    score(labels, said, labels=CLASSES, average=None, zero_division=0).tolist())
                assert found["macro"] == pytest.approx(score(labels, said, average="macro", zero_division=0))
                assert found["weighted"] == pytest.approx(score(labels, said, average="weighted", zero_division=0))
            given = rows[[f"p_{side}_{name}" for name in sorted(CLASSES)]].to_numpy(float)
            assert run["auc"][side]["macro"] == pytest.approx(
                sk.roc_auc_score(labels, given / given.sum(axis=1, keepdims=True), multi_class="ovr"))
        assert run["accuracy_adversarial_8bit"] == pytest.approx(
            sk.accuracy_score(rows["label"].astype(str), rows["predicted_8bit"].astype(str)))
        counted = rows["predicted_clean"].astype(str) == rows["label"].astype(str)
        assert run["success_rate"] == pytest.approx(rows["success"].sum() / counted.sum())
        assert run["success_interval"] == pytest.approx(interval(int(rows["success"].sum()), int(counted.sum())))


def test_the_rows_say_what_was_spent(facts: dict, table: pd.DataFrame) -> None:
    for run in facts["runs"]:
        assert of_run(table, run)["gradients"].sum() == run["gradients"] == 6 * (1 if run["attack"] == "fgsm" else 2)


def test_tables_and_figures_are_there(out: Path, facts: dict) -> None:
    assert len(pd.read_csv(out / "overview.csv")) == 8
    scores = pd.read_csv(out / "scores.csv")
    assert len(scores) == 8 * 2 * 5
    after = scores[(scores["when"] == "after") & (scores["class"] == "(macro)")]["recall"]
    assert after.tolist() == pytest.approx([run["recall"]["adversarial"]["macro"] for run in facts["runs"]])
    assert pd.read_csv(out / "confusion.csv")["images"].sum() == 8 * 2 * 6
    assert "\\toprule" in (out / "scores.tex").read_text() and "\\bottomrule" in (out / "overview.tex").read_text()
    sizes = pd.read_csv(out / "subgroups.csv")
    assert set(sizes["grouping"]) == {"Size of the lesion"} and sizes["n"].sum() == 8 * 4, "normal images have none"
    images = pd.read_csv(out / "images.csv")
    assert images["attacked"].max() == 8 and (images["fooled"] <= images["attacked"]).all()
    for name in ("accuracy", "confusion-01", "confusion-08"):
        assert Image.open(out / f"{name}.png").size[0] > 800
        assert "<svg" in (out / f"{name}.svg").read_text()


def test_the_sweep_repeats_from_its_file(capsys: pytest.CaptureFixture[str], out: Path, facts: dict,
                                         tmp_path: Path) -> None:
    kept = tomllib.loads((out / "sweep.toml").read_text())
    assert kept["attack"] == "fgsm,pgd" and kept["per-class"] == 2 and kept["seed"] == "0,1"
    assert main(["evaluate", "--config", str(out / "sweep.toml"), "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == facts
    assert (tmp_path / "rows.parquet").read_bytes() == (out / "rows.parquet").read_bytes()
    assert (tmp_path / "confusion-01.svg").read_bytes() == (out / "confusion-01.svg").read_bytes()


def test_the_command_line_goes_before_the_file(capsys: pytest.CaptureFixture[str], out: Path) -> None:
    assert main(["evaluate", "--config", str(out / "sweep.toml"), "--attack", "fgsm", "--eps", "1/255", "--seed", "0",
                 "--limit", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(run["attack"], run["n"]) for run in found["runs"]] == [("fgsm", 3)]


def test_people_read_sentences_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASKED, "--seed", "0"]) == 0
    printed = capsys.readouterr().out
    assert "images of Pneumonia found before" in printed and "note: Few images show Normal (2)" in printed
    assert "(macro)" in printed and "95 % interval" in printed


def test_an_attack_without_a_budget_runs_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--dataset", "phantom-cxr@32", "--model", MODELS[0], "--attack", "deepfool", "--eps",
                 "1/255,2/255", "--index", "0", "1", "--set", "steps=2", "--json"]) == 0
    assert [run["eps"] for run in json.loads(capsys.readouterr().out)["runs"]] == [None]


def test_several_models_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--dataset", "phantom-cxr@32", "--model", ",".join(MODELS), "--attack", "fgsm", "--index",
                 "0", "1", "2", "--json"]) == 0
    assert [run["model"] for run in json.loads(capsys.readouterr().out)["runs"]] == list(MODELS)


@pytest.mark.parametrize(("change", "says"), [
    (["--attack", "fgms"], "fgsm"),
    (["--attack", ","], "--attack"),
    (["--eps", "1/255,two"], "--eps"),
    (["--eps", "1.5"], "between 0 and 1"),
    (["--seed", "0,x"], "--seed"),
    (["--seed=-1"], "seed"),
    (["--model", f"{MODELS[0]},phantom-cxr/resnet"], "phantom-cxr/resnet18"),
    (["--model", "kermany/densenet121"], "--map"),
    (["--limit", "0"], "--limit"),
    (["--per-class", "0"], "--per-class"),
    (["--limit", "5"], "not by both"),
    (["--set", "fgms.steps=2"], "fgsm"),
    (["--set", "pgd.stepz=2"], "steps"),
    (["--config", "/nowhere.toml"], "--config"),
    (["--target", "Influenza"], "--target"),
])
def test_bad_input_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str], change: list[str], says: str) -> None:
    try:
        status = main([*ASKED, *change])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert (status, out, len(err.splitlines())) == (2, "", 1) and says in err, err
