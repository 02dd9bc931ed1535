"""python -m engine query-curve: its JSON, its files, and what is wrong in one line."""

import json
from pathlib import Path

import pandas as pd
import pytest

from engine.cli import main
from engine.data import phantom
from engine.metrics.rates import interval
from tests import nets

CONTRACT = {"image", "label", "model", "defense", "attack", "eps", "norm", "seed", "predicted_clean",
            "predicted_adversarial", "predicted_8bit", "success", "linf", "l2", "queries", "gradients"}
POINT = {"queries", "mean", "median", "q25", "q75", "found", "success"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two small networks for the phantoms, with a comma."""
    nets.register(monkeypatch)
    paths = [tmp_path / f"{name}.safetensors" for name in ("one", "other")]
    for path in paths:
        nets.kept(path, classes=phantom.CLASSES, mean=(0.4,) * 3, std=(0.2,) * 3)
    return ",".join(map(str, paths))


def run(*more: str) -> list[str]:
    return ["query-curve", "--dataset", "phantom-cxr", "--queries", "30,80", "--limit", "6", *more]


def test_every_model_attack_and_seed_has_its_curve(models: str, tmp_path: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(run("--model", models, "--attack", "hopskipjump,square", "--norm", "l2", "--eps", "2", "--seed", "0,4",
                    "--norms", "0.5,2,20", "--json", "--out", str(out))) == 0
    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert "at most 3,840 queries" in told.err
    assert [(Path(c["model"]).stem, c["attack"], c["seed"]) for c in facts["curves"]] == [
        (model, attack, seed) for model in ("one", "other") for attack in ("hopskipjump", "square") for seed in (0, 4)]
    rows = pd.read_parquet(out / "rows.parquet")
    assert set(rows.columns) >= CONTRACT and len(rows) == 8 * 6
    for number, curve in enumerate(facts["curves"]):
        own = rows.iloc[6 * number:6 * (number + 1)]
        assert [point["queries"] for point in curve["points"]] == [30, 80]
        assert all(set(point) >= POINT for point in curve["points"])
        last = curve["points"][-1]
        assert last["found"] == int(own["success"].sum()) and curve["attacked"] == int(own["attacked"].sum())
        within = [success["norm"] for success in last["success"]]
        assert within == [0.5, 2, 20]
        for success in last["success"]:
            assert (success["low"], success["high"]) == interval(success["count"], curve["attacked"])
    assert any(curve["points"][-1]["found"] for curve in facts["curves"]), "nothing was fooled: this shows nothing"
    assert {path.name for path in out.iterdir()} >= {"query-curve.json", "query-curve.csv", "query-curve.tex",
                                                     "query-curve.svg", "query-curve.png", "rows.parquet", "sweep.toml"}
    assert len(pd.read_csv(out / "query-curve.csv")) == 16
    assert r"\toprule" in (out / "query-curve.tex").read_text()


def test_asked_again_at_fewer_queries_nothing_is_walked(models: str, capsys: pytest.CaptureFixture[str],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts below the largest, and another way to measure, are read from what is there."""
    argv = ["--model", models.split(",")[0], "--attack", "hopskipjump", "--json"]
    assert main(run(*argv)) == 0
    first = json.loads(capsys.readouterr().out)["curves"][0]
    from engine.experiments.queries import walks

    monkeypatch.setattr(walks, "attacked", lambda *_, **__: pytest.fail("it was walked again"))
    assert main([*run(*argv), "--queries", "7,30,55,80"]) == 0
    again = json.loads(capsys.readouterr().out)["curves"][0]
    assert [point for point in again["points"] if point["queries"] in (30, 80)] == first["points"]
    assert main([*run(*argv), "--measure", "linf", "--norms", "8/255"]) == 0
    other = json.loads(capsys.readouterr().out)["curves"][0]
    assert other["norm"] == "linf" and other["points"][-1]["found"] == first["points"][-1]["found"]


def test_what_it_leaves_repeats_it(models: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["--model", models.split(",")[0], "--attack", "hopskipjump", "--seed", "3", "--json"]
    assert main([*run(*argv), "--out", str(tmp_path / "out")]) == 0
    first = json.loads(capsys.readouterr().out)
    from engine.experiments.queries import walks

    monkeypatch.setattr(walks, "attacked", lambda *_, **__: pytest.fail("it was walked again"))
    assert main(["query-curve", "--config", str(tmp_path / "out" / "sweep.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first


def test_people_read_it_too(models: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(run("--model", models.split(",")[0], "--attack", "geoda")) == 0
    said = capsys.readouterr().out
    assert "80 queries   median" in said and "95 % interval" in said
    assert "it shares all its queries among its steps before it begins" in said


@pytest.mark.parametrize(("argv", "line"), [
    (["--attack", "pgd"], "choose one of"),
    (["--attack", "hopskipjump", "--queries", "0"], "--queries must be at least 1"),
    (["--attack", "hopskipjump", "--queries", "many"], "--queries takes whole numbers"),
    (["--attack", "hopskipjump", "--queries", "1000000"], "queries must lie between"),
    (["--attack", "hopskipjump", "--norms", "-1"], "--norms must be sizes"),
    (["--attack", "hopskipjump", "--norms", "x"], "--norms must be a number"),
    (["--attack", "hopskipjump", "--measure", "l7"], "--measure"),
    (["--attack", "hopskipjump", "--seed", "x"], "--seed takes whole numbers"),
    (["--attack", "hopskipjump", "--batch", "0"], "batch must be at least 1"),
    (["--attack", "hopskipjump", "--max-queries", "9"], "is said by --queries"),
    (["--attack", "hopskipjump", "--set", "queries=9"], "is said by --queries"),
    (["--attack", ","], "--attack needs at least one value"),
])
def test_bad_input_is_one_line(argv: list[str], line: str, models: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(run("--model", models, *argv)) == 2
    said = capsys.readouterr().err.strip()
    assert line in said.splitlines()[-1]
