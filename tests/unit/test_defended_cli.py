"""Defenses in front of a model from the command line: every command takes them, and says what they are and cost."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from engine.cli import main
from engine.data import phantom
from engine.experiments.defended import Front, fronts
from tests import nets
from tests.defended import registered

SHIFT, NOISE = "shift(by=0.05, bias=0.0)", "noise(sigma=0.02, every=3)"
ADDED = {"defense", "attacker", "draws", "accuracy_clean_defended", "seconds_per_query"}
# Where each command that takes several says what it says of one run.
SEVERAL = {"evaluate": lambda facts: facts["runs"], "curve": lambda facts: facts["points"],
           "transfer": lambda facts: facts["attacks"], "query-curve": lambda facts: facts["curves"]}
ATTACKS = {"query-curve": ("--attack", "square", "--queries", "20")}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    with registered():
        yield


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    nets.register(monkeypatch)
    path = tmp_path / "net.safetensors"
    nets.kept(path, classes=phantom.CLASSES, mean=(0.4,) * 3, std=(0.2,) * 3)
    return str(path)


def asked(command: str, model: str, *more: str) -> list[str]:
    attack = ATTACKS.get(command, ("--attack", "fgsm"))
    eps = ("--eps", "1/255") if command in ("curve", "evaluate") else ()
    return [command, "--dataset", "phantom-cxr", "--model", model, *attack, "--limit", "2", *eps, *more]


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", ["attack", "minimal"])
def test_one_defense_stands_before_the_model_and_is_named(command: str, model: str,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    facts = told(capsys, *asked(command, model, "--defense", "shift", "--attacker", "adaptive"))
    assert facts.keys() >= ADDED and (facts["defense"], facts["attacker"]) == (SHIFT, "adaptive")
    assert facts["refused"] == 0
    assert not ADDED & told(capsys, *asked(command, model)).keys()


def test_the_smallest_eps_counts_what_was_refused(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every third query of a client is refused, and each attack of the search is a client."""
    facts = told(capsys, *asked("minimal", model, "--attack", "square", "--set", "queries=12", "--tolerance", "12/255",
                                "--defense", NOISE))
    asked_for = facts["queries_mean"] * facts["n"]
    assert 0 < facts["refused"] <= asked_for / 3 + 1


@pytest.mark.parametrize("command", SEVERAL)
def test_several_stand_side_by_side(command: str, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    bare, *runs = SEVERAL[command](told(capsys, *asked(command, model, "--defense", "none", "shift", "--defense", NOISE,
                                                       "--attacker", "both")))
    assert not (ADDED - {"defense"}) & bare.keys() and not bare.get("defense")
    both = {SHIFT: [("oblivious", 1), ("adaptive", 1)], NOISE: [("oblivious", 1), ("adaptive", 10)]}
    if command == "query-curve":  # who sees only answers adapts to what is random alone
        both[SHIFT] = both[SHIFT][:1]
    assert [(run["defense"], run["attacker"], run["draws"]) for run in runs] == [
        (defense, *way) for defense, ways in both.items() for way in ways]
    assert all(run.keys() >= bare.keys() | ADDED | {"refused"} for run in runs)


def test_the_file_repeats_them_and_the_command_line_goes_before_it(model: str, tmp_path: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    first = told(capsys, *asked("curve", model, "--eps", "1/255", "--out", str(tmp_path), "--defense", "none", NOISE,
                                "--attacker", "both", "--draws", "2"))
    table, file = pd.read_parquet(tmp_path / "rows.parquet"), tmp_path / "sweep.toml"
    assert list(dict.fromkeys(zip(table["defense"], table["attacker"], strict=True))) == [
        ("", ""), (NOISE, "oblivious"), (NOISE, "adaptive")]
    assert [point.get("draws") for point in first["points"]] == [None, 1, 2]
    assert told(capsys, "curve", "--config", str(file))["points"] == first["points"]
    other = told(capsys, "curve", "--config", str(file), "--defense", "shift", "--attacker", "adaptive", "--draws", "1")
    assert [(point["defense"], point["attacker"]) for point in other["points"]] == [(SHIFT, "adaptive")]


def test_who_sees_only_answers_has_one_way_to_face_a_defense_that_is_not_random() -> None:
    assert fronts("square", ["", SHIFT], ["oblivious", "adaptive"]) == [Front(), Front(SHIFT)]
    assert fronts("square", [NOISE], ["oblivious", "adaptive"], 3) == [Front(NOISE), Front(NOISE, "adaptive", 3)]
    assert fronts("pgd", [NOISE], ["adaptive"]) == [Front(NOISE, "adaptive", 10)]


@pytest.mark.parametrize(("command", "options", "says"), [
    ("attack", ("--defense", "shft"), "did you mean: shift"),
    ("attack", ("--defense", "shift", "--attacker", "both"), "unknown attacker 'both'"),
    ("evaluate", ("--defense", "shift", "--attacker", "nosy"), "unknown attacker 'nosy'"),
    ("attack", ("--attacker", "adaptive"), "no defense to adapt to"),
    ("curve", ("--defense", "none", "--attacker", "adaptive"), "no defense to adapt to"),
    ("evaluate", ("--defense", "shift", "noise", "--draws", "3"), "several draws are for"),
    ("evaluate", ("--defense", "noise", "--attacker", "adaptive", "--draws", "0"), "draws must lie between"),
    ("query-curve", ("--defense", "shift", "--attacker", "adaptive"), "asks the defended model"),
])
def test_what_makes_no_sense_is_one_line(command: str, options: tuple[str, ...], says: str, model: str,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked(command, model, *options)) == 2
    said = capsys.readouterr().err
    assert says in said and len(said.splitlines()) == 1
