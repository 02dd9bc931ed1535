"""The command line is a contract: scripts read its JSON, its exit status and its one line of error."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.__main__ import main

CONTRACT = {"n", "accuracy_clean", "accuracy_adversarial", "accuracy_adversarial_8bit", "success_rate", "linf_max",
            "l2_mean", "queries_mean", "gradients_mean", "seconds", "seed"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of three grey pictures each."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for label in ("bright", "dark"):
        (root / label).mkdir()
        for i in range(3):
            pixels = random.integers(0, 100, (64, 64)) + (150 if label == "bright" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(root / label / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained ResNet-18 for the classes of `folder`."""
    import torch

    from engine.zoo import checkpoints
    from engine.zoo.architectures import ARCHITECTURES

    path = tmp_path_factory.mktemp("models") / "untrained.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = ARCHITECTURES["resnet18"].build(2)
    card = checkpoints.Card(name="untrained", arch="resnet18", classes=("bright", "dark"), mean=(0.5,) * 3,
                            std=(0.25,) * 3, dataset="folder", split="all", seed=0, command="", storage="float16",
                            evaluations={}, round_trip={}, limits="Knows nothing.")
    checkpoints.save(path, module, card)
    return path


def fails(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that a command with bad input prints."""
    try:
        status = main(list(argv))
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "%" not in line[:5]]
    assert (status, out, len(lines)) == (2, "", 1), err
    return lines[0]


@pytest.mark.parametrize(("what", "member"), [("datasets", "phantom-cxr"), ("attacks", "fgsm"), ("models", None),
                                              ("defenses", None)])
def test_list_prints_json(capsys, what, member):
    assert main(["list", what, "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert member is None or member in names


def test_listed_attacks_carry_what_a_script_needs(capsys):
    main(["list", "attacks", "--json"])
    for row in json.loads(capsys.readouterr().out):
        assert row["paper"]["url"].startswith("https://")
        assert row["formula"] and row["sentence"] and row["norms"]
        assert all({"name", "default", "kind", "help"} <= p.keys() for p in row["params"])


def test_attack_prints_one_object_and_writes_the_files(capsys, folder, checkpoint, tmp_path):
    argv = ["attack", "--dataset", f"folder:{folder}", "--model", str(checkpoint), "--attack", "pgd", "--eps", "2/255",
            "--set", "steps=2", "--out", str(tmp_path / "out"), "--json"]
    assert main(argv) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.keys() >= CONTRACT
    assert printed["n"] == 6 and printed["gradients_mean"] == 2 and printed["queries_mean"] == 2
    assert 0 < printed["linf_max"] <= 2 / 255 + 1e-6
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == printed
    with np.load(tmp_path / "out" / "adversarial.npz") as kept:
        assert set(kept.files) == {"clean", "adversarial", "labels", "predicted_clean", "predicted_adversarial"}
        assert np.abs(kept["adversarial"] - kept["clean"]).max() == pytest.approx(printed["linf_max"])
        assert float((kept["predicted_clean"] == kept["labels"]).mean()) == printed["accuracy_clean"]


def test_the_same_command_gives_the_same_bytes(folder, checkpoint, tmp_path):
    for run in "ab":
        main(["attack", "--dataset", f"folder:{folder}", "--model", str(checkpoint), "--attack", "pgd", "--limit", "2",
              "--set", "steps=2", "--seed", "7", "--out", str(tmp_path / run), "--json"])
    with np.load(tmp_path / "a" / "adversarial.npz") as a, np.load(tmp_path / "b" / "adversarial.npz") as b:
        assert np.array_equal(a["adversarial"], b["adversarial"])


def test_curve_starts_at_the_clean_accuracy(capsys, folder, checkpoint, tmp_path):
    assert main(["curve", "--dataset", f"folder:{folder}", "--model", str(checkpoint), "--attack", "fgsm", "--eps",
                 "0,4/255", "--limit", "2", "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [p["eps"] for p in found["points"]] == [0, 4 / 255]
    assert found["points"][0]["accuracy"] == found["accuracy_clean"]
    header, *rows = (tmp_path / "curve.csv").read_text().splitlines()
    assert header.startswith("attack,eps,accuracy") and len(rows) == 2


@pytest.mark.parametrize(("change", "says"), [
    (["--attack", "fgms"], "fgsm"),
    (["--eps", "two"], "2/255"),
    (["--eps", "1.5"], "between 0 and 1"),
    (["--eps=-1/255"], "between 0 and 1"),
    (["--eps", "nan"], "eps"),
    (["--set", "stepz=3"], "steps"),
    (["--set", "steps=0"], "steps"),
    (["--set", "steps"], "key=value"),
    (["--target", "grey"], "bright, dark"),
    (["--norm", "l7"], "linf"),
    (["--split", "tset"], "split"),
    (["--limit", "0"], "--limit"),
    (["--index", "99"], "0 to 5"),
    (["--device", "abacus"], "cpu"),
    (["--numerics", "sloppy"], "reference"),
    (["--model", "phantom-cxr/resnet81"], "model"),
    (["--dataset", "kermani"], "kermany"),
    (["--limit", "many"], "--limit"),
])
def test_bad_input_is_one_line_and_status_2(capsys, folder, checkpoint, change, says):
    argv = ["attack", "--dataset", f"folder:{folder}", "--model", str(checkpoint), "--attack", "pgd"]
    assert says in fails(capsys, *argv, *change)


def test_a_folder_that_cannot_be_written_is_told_before_anything_runs(capsys, folder, checkpoint, tmp_path):
    (tmp_path / "file").write_text("")
    line = fails(capsys, "attack", "--dataset", f"folder:{folder}", "--model", str(checkpoint), "--attack", "fgsm",
                 "--out", str(tmp_path / "file" / "out"))
    assert "--out" in line


def test_a_model_of_other_classes_is_refused(capsys, checkpoint):
    line = fails(capsys, "attack", "--dataset", "phantom-cxr", "--model", str(checkpoint), "--attack", "fgsm")
    assert "bright" in line


def test_a_mask_from_a_file_confines_the_attack_and_is_in_the_spec(capsys, folder, checkpoint, tmp_path):
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:32] = 255
    Image.fromarray(pixels).save(tmp_path / "top.png")
    argv = ["attack", "--dataset", f"folder:{folder}", "--model", str(checkpoint), "--attack", "fgsm", "--limit", "2",
            "--json"]
    assert main([*argv, "--mask", str(tmp_path / "top.png"), "--out", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    kept = np.load(tmp_path / "adversarial.npz")
    changed = (kept["adversarial"] != kept["clean"]).any(axis=(0, 1))
    assert changed[:112].any() and not changed[112:].any()
    assert main([*argv, "--mask", printed["spec"]["mask"]]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["spec"] == printed["spec"] and again["l2_mean"] == printed["l2_mean"]


@pytest.mark.parametrize(("make", "line"), [
    (lambda path: None, "No such file"),
    (lambda path: path.write_text("no picture"), "must be a PNG"),
    (lambda path: Image.new("L", (8, 8)).save(path), "black everywhere"),
])
def test_a_mask_file_that_will_not_do_is_one_line(capsys, folder, checkpoint, tmp_path, make, line):
    make(tmp_path / "mask.png")
    assert line in fails(capsys, "attack", "--dataset", f"folder:{folder}", "--model", str(checkpoint), "--attack",
                         "fgsm", "--mask", str(tmp_path / "mask.png"))


def test_nothing_drawn_and_no_lungs_are_one_line(capsys, folder, checkpoint):
    argv = ["attack", "--dataset", f"folder:{folder}", "--model", str(checkpoint), "--attack", "fgsm", "--limit", "1"]
    assert "nothing is marked" in fails(capsys, *argv, "--mask", "drawn")
    assert "nobody marked the lungs" in fails(capsys, *argv, "--mask", "lung")
