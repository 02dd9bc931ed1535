"""python -m engine transfer: a matrix as JSON, the files beside it, and what cannot be asked for."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.cli import main
from engine.data import phantom
from engine.zoo import checkpoints
from tests import nets
from tests.unit.test_cli import fails


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    nets.register(monkeypatch)
    paths = [tmp_path / f"m{seed}.safetensors" for seed in range(3)]
    for seed, path in enumerate(paths):
        card = nets.card(classes=phantom.CLASSES, mean=(0.4,) * 3, std=(0.2,) * 3)
        checkpoints.save(path, nets.seeded(3, seed), card)
    return list(map(str, paths))


def command(models: list[str], *more: str) -> list[str]:
    return ["transfer", "--dataset", "phantom-cxr", "--models", ",".join(models), "--attack", "fgsm", "--eps", "8/255",
            "--limit", "6", "--device", "cpu", *more]


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, object]:
    assert main([*argv, "--json"]) == 0
    facts: dict[str, object] = json.loads(capsys.readouterr().out)
    return facts


def test_the_matrix_has_a_row_a_source_and_a_column_a_target(models: list[str],
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c = models
    facts = printed(capsys, *command([a, b]), "--sources", f"{a},{b},{c}")
    assert (facts["sources"], facts["targets"], facts["n"]) == ([a, b, c], [a, b], 6)
    for name in ("success", "low", "high", "fooled", "counted", "white_box"):
        assert [len(row) for row in facts[name]] == [2, 2, 2], name  # type: ignore[attr-defined]
    assert facts["white_box"] == [[True, False], [False, True], [False, False]]
    assert facts["off_diagonal"]["pairs"] == 4  # type: ignore[index]


def test_several_attacks_are_a_list_with_the_first_on_top(models: list[str],
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    facts = printed(capsys, *command(models[:2]), "--attack", "fgsm,mifgsm", "--eps", "8/255,4/255", "--seed", "0,1")
    attacks: list[dict[str, object]] = facts["attacks"]  # type: ignore[assignment]
    assert [(one["attack"], round(255 * one["eps"]), one["seed"]) for one in attacks] == [  # type: ignore[operator]
        ("fgsm", 4, 0), ("fgsm", 4, 1), ("fgsm", 8, 0), ("fgsm", 8, 1),
        ("mifgsm", 4, 0), ("mifgsm", 4, 1), ("mifgsm", 8, 0), ("mifgsm", 8, 1)]
    assert all(facts[name] == attacks[0][name] for name in ("success", "low", "high", "counted", "sources", "targets"))


def test_success_is_that_of_the_rows(models: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    a, b, _ = models
    facts = printed(capsys, *command([a, b]), "--out", str(tmp_path / "out"))
    table = pd.read_parquet(tmp_path / "out" / "rows.parquet")
    assert len(table) == 2 * 2 * 6
    runs = [table[start:start + 6] for start in range(0, 24, 6)]
    right = [run["predicted_clean"].astype(str) == run["label"].astype(str) for run in runs]
    fooled = [own & (run["predicted_adversarial"].astype(str) != run["label"].astype(str))
              for run, own in zip(runs, right, strict=True)]
    assert facts["counted"] == [[right[0].sum(), right[1].sum()], [right[2].sum(), right[3].sum()]]
    assert facts["fooled"] == [[fooled[0].sum(), fooled[1].sum()], [fooled[2].sum(), fooled[3].sum()]]
    assert [run["surrogate"].iloc[0] for run in runs] == ["", a, b, ""]
    assert table["gradients"].sum() == 2 * 6, "every image is made once on every source"


def test_the_files_say_what_was_printed(models: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    facts = printed(capsys, *command(models[:2]), "--out", str(tmp_path))
    assert json.loads((tmp_path / "transfer.json").read_text()) == facts
    assert pd.read_csv(tmp_path / "matrix.csv")[models[:2]].to_numpy() == pytest.approx(np.array(facts["success"]))
    assert pd.read_csv(tmp_path / "pairs.csv")["counted"].tolist() == np.ravel(facts["counted"]).tolist()


def test_papers_have_the_matrix_as_latex_and_as_figures(models: list[str], tmp_path: Path) -> None:
    assert main([*command(models[:2]), "--attack", "fgsm,mifgsm", "--out", str(tmp_path)]) == 0
    latex = (tmp_path / "matrix.tex").read_text()
    assert "\\toprule" in latex and "MI-FGSM, eps 8/255 & m0 & " in latex
    for name in ("matrix", "means"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()


def test_the_file_left_behind_repeats_the_command(models: list[str], capsys: pytest.CaptureFixture[str],
                                                  tmp_path: Path) -> None:
    argv = [*command(models), "--ensemble", "others", "--sources", ",".join(models), "--seed", "0,1", "--alignment"]
    facts = printed(capsys, *argv, "--out", str(tmp_path))
    assert printed(capsys, "transfer", "--config", str(tmp_path / "sweep.toml")) == facts


def test_ensembles_are_sources(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c = models
    together = printed(capsys, *command(models), "--ensemble")
    assert together["sources"] == [a, b, c, f"{a},{b},{c}"]
    assert together["member"][3] == [True] * 3  # type: ignore[index]
    apart = printed(capsys, *command(models), "--ensemble", "others")
    assert apart["sources"] == [a, b, c, f"{b},{c}", f"{a},{c}", f"{a},{b}"]
    assert apart["member"][3] == [False, True, True]  # type: ignore[index]


def test_the_alignment_is_there_when_asked_for(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, *command(models[:2]))["alignment"] is None
    found: dict[str, list[list[float]]] = printed(capsys, *command(models[:2]), "--alignment")["alignment"]  # type: ignore
    assert found["cosine"][0][0] == 1 and found["cosine"][0][1] == found["cosine"][1][0]
    assert found["low"][0][1] < found["cosine"][0][1] < found["high"][0][1]


def test_for_people_it_is_a_table_and_a_sentence(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(models[:2])) == 0
    out = capsys.readouterr().out
    assert "made on (down), shown to (across)" in out and "An attacker who has m" in out and "[" in out


@pytest.mark.parametrize(("more", "says"), [
    (["--attack", "square"], "asks the very model"),
    (["--surrogate", "phantom-cxr/resnet18"], "leave the surrogate out"),
    (["--sources", "kermany/densenet121"], "same classes"),
    (["--sources", "no/such"], "no/such"),
    (["--sources", ","], "--sources needs"),
    (["--seed", "x"], "--seed"),
    (["--eps", ","], "--eps needs"),
    (["--ensemble", "others"], "3 models at least"),
    (["--ensemble", "some"], "together"),
])
def test_what_cannot_be_asked_is_one_line(models: list[str], more: list[str], says: str,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    assert says in fails(capsys, *command(models[:2]), *more)


def test_models_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--models" in fails(capsys, "transfer", "--dataset", "phantom-cxr", "--attack", "fgsm")
