"""The command line is a contract: scripts read its JSON, its exit status and its one line of error."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from engine import digest
from engine.cli import main
from engine.data.base import StoredUnits
from engine.data.upload import read_upload
from tests.dicoms import dicom, gradient

ROOT = Path(__file__).resolve().parents[2]

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
        assert row["paper"]["url"].startswith("https://") or row["paper"]["where"]
        assert row["version"] >= 1 and isinstance(row["presets"], dict)
        assert all(paper["title"] for paper in row["builds_on"])
        assert row["formula"] and row["sentence"] and row["norms"]
        assert all({"name", "default", "kind", "help"} <= p.keys() for p in row["params"])


def test_a_preset_fills_in_settings_and_set_goes_before_it(capsys, folder, checkpoint):
    argv = ["attack", "--dataset", f"folder:{folder}", "--model", str(checkpoint), "--limit", "1", "--json"]
    assert main([*argv, "--attack", "cw", "--preset", "paper", "--set", "rounds=1", "steps=2"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["spec"]["params"] == {"rounds": 1, "steps": 2, "rate": 0.01, "constant": 0.001, "confidence": 0.0}
    assert printed["eps"] is None
    assert "unknown preset of FGSM 'paper'" in fails(capsys, *argv, "--attack", "fgsm", "--preset", "paper")


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
    (["--dataset", "folder:" + "a" * 5000], "no folder"),
    (["--dataset", "folder:nul\0byte"], "no folder"),
    (["--dataset", "folder:two\nlines"], "no folder"),
    (["--dataset", "folder:~nobody-is-called-so/x"], "no folder"),
    (["--dataset", f"folder:{__file__}"], "no folder"),
    (["--model", "a" * 5000], "model"),
    (["--model", "a" * 5000 + ".pt"], "checkpoint"),
    (["--model", "nul\0byte.pt"], "checkpoint"),
    (["--model", "~nobody-is-called-so/x.pt"], "checkpoint"),
    (["--mask", "a" * 5000], "mask"),
    (["--mask", "a" * 5000 + ".png"], "--mask"),
    (["--mask", "nul\0byte.png"], "--mask"),
    (["--mask", "~nobody-is-called-so/x.png"], "--mask"),
    (["--out", "/tmp/" + "a" * 5000], "--out"),
    (["--out", "nul\0byte"], "--out"),
    (["--surrogate", "a" * 5000 + ".pt"], "checkpoint"),
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


def loop(root: Path) -> None:
    (root / "a").symlink_to(root / "b")
    (root / "b").symlink_to(root / "a")


def test_links_that_go_round_in_a_circle_are_no_folder(capsys, checkpoint, tmp_path):
    loop(tmp_path)
    argv = ["attack", "--model", str(checkpoint), "--attack", "fgsm"]
    assert "no folder" in fails(capsys, *argv, "--dataset", f"folder:{tmp_path / 'a'}")
    assert "two class folders" in fails(capsys, *argv, "--dataset", f"folder:{tmp_path}")


def test_what_may_not_be_read_is_one_line(capsys, folder, checkpoint, monkeypatch):
    argv = ["attack", "--dataset", f"folder:{folder}", "--model", str(checkpoint), "--attack", "fgsm"]

    def denied(*args: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", denied)
        assert "cannot be read (Permission denied)" in fails(capsys, *argv)
    with monkeypatch.context() as patch:
        patch.setattr(digest, "of_file", denied)
        digest._remembered.cache_clear()
        assert "cannot be read (Permission denied)" in fails(capsys, *argv)


@pytest.mark.parametrize("home", ["/dev/null", "~nobody-is-called-so/data", "/tmp/" + "a" * 5000, __file__])
@pytest.mark.parametrize("name", ["kermany", "covid-ct"])
def test_a_data_folder_that_is_none_is_named(capsys, monkeypatch, home, name):
    monkeypatch.setenv("PERTURBSCOPE_DATA", home)
    line = fails(capsys, "attack", "--dataset", name, "--model", f"{name}/densenet121", "--attack", "fgsm")
    assert "PERTURBSCOPE_DATA is" in line and "no folder" in line
    assert main(["list", "datasets"]) == 0


@pytest.mark.parametrize("home", ["/dev/null", "/tmp/" + "a" * 5000])
def test_a_home_that_is_no_folder_stops_no_attack(capsys, folder, checkpoint, monkeypatch, home):
    monkeypatch.setenv("PERTURBSCOPE_HOME", home)
    assert main(["list", "models"]) == 0
    assert main(["attack", "--dataset", f"folder:{folder}", "--model", str(checkpoint), "--attack", "fgsm", "--limit",
                 "1"]) == 0
    capsys.readouterr()
    line = fails(capsys, "train", "--dataset", f"folder:{folder}", "--arch", "resnet18", "--name", "x",
                 "--split", "all", "--validation", "all", "--tests", "all")
    assert "cannot be written" in line and "PERTURBSCOPE_HOME" in line


# A command in a process of its own that can write so many bytes to a file.
FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from engine.cli import main
from engine.data.base import StoredUnits
from engine.data.upload import read_upload
from tests.dicoms import dicom, gradient
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits are those of Unix")
@pytest.mark.parametrize(("command", "names", "room"), [
    (["attack", "--attack", "fgsm"], ["result.json", "adversarial.npz"], 20_000),
    (["attack", "--attack", "fgsm", "--json"], ["result.json", "adversarial.npz"], 20_000),
    (["curve", "--attack", "fgsm", "--eps", "0,4/255"], ["curve.json", "curve.csv"], 300),
    (["minimal", "--attack", "fgsm"], ["minimal.json"], 300),
])
def test_a_disk_that_is_full_costs_no_number_and_leaves_no_half(folder, checkpoint, tmp_path, command, names, room):
    (tmp_path / names[0]).write_text("of an earlier run")
    run = subprocess.run([sys.executable, "-c", FULL, str(room), *command, "--dataset", f"folder:{folder}", "--model",
                          str(checkpoint), "--limit", "1", "--out", str(tmp_path)],
                         capture_output=True, text=True, cwd=ROOT, check=False)
    *kept, line = [line for line in run.stderr.splitlines() if "%" not in line[:5]]
    assert run.returncode == 2, run.stderr
    assert " and ".join(names) in line and "could not be written" in line and "free some space" in line
    assert all("the result" in said and "free some space" in said for said in kept) and len(set(kept)) == len(kept)
    assert [path.name for path in tmp_path.iterdir()] == names[:1]
    assert (tmp_path / names[0]).read_text() == "of an earlier run"
    if "--json" in command:
        assert json.loads(run.stdout)["n"] == 1
    else:
        assert "1 images" in run.stdout


def test_a_model_of_other_classes_is_refused(capsys, checkpoint):
    line = fails(capsys, "attack", "--dataset", "phantom-cxr", "--model", str(checkpoint), "--attack", "fgsm")
    assert "bright" in line


def test_a_picture_of_ones_own_is_attacked_and_given_back_as_dicom(capsys, folder, checkpoint, tmp_path):
    slices = tmp_path / "Doe^Jane"
    slices.mkdir()
    for height in (20, 10):
        (slices / f"{height}.dcm").write_bytes(dicom(
            gradient(12, (64, 60)) // 2 + height, bits=12, Modality="CT", RescaleSlope=1, RescaleIntercept=-1024,
            ImagePositionPatient=[0, 0, height], ImageOrientationPatient=[1, 0, 0, 0, 1, 0]))
    argv = ["attack", "--image", str(slices), "--dataset", f"folder:{folder}", "--model", str(checkpoint), "--attack",
            "fgsm", "--eps", "2/255", "--frame", "2", "--window", "0/2000", "--device", "cpu"]
    assert main([*argv, "--json", "--heatmap", "grad-cam", "--out", str(tmp_path / "out")]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts.keys() >= CONTRACT and (facts["frame"], facts["window"]) == (2, "0/2000")
    heat = np.load(tmp_path / "out" / "heatmaps.npz")
    assert facts["heatmaps"]["method"] == "grad-cam" and heat["before"].shape == heat["after"].shape
    assert facts["in_file"]["unit"] == "HU" and facts["in_file"]["rows"] == 64
    given = read_upload((tmp_path / "out" / "adversarial.dcm").read_bytes())
    assert given.stored_units == StoredUnits("HU", -1000.0, 1999.0) and given.levels.shape == (1, 64, 60)
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == facts
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "written into 60 x 64" in said and "Doe" not in said + json.dumps(facts)
    for extra, words in ((["--limit", "3"], "--limit is for a data set"), (["--frame", "3"], "no slice 3"),
                         (["--window", "x"], "such as 40/400"), (["--image", str(tmp_path / "no")], "cannot be read"),
                         (["--heatmap", "attention-rollout"], "has no attention-rollout; choose one of: grad-cam")):
        assert words in fails(capsys, *argv, *extra)
    assert "give --image, too" in fails(capsys, "attack", *argv[3:])


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


def test_who_reads_only_the_beginning_sees_no_traceback() -> None:
    run = subprocess.Popen([sys.executable, "-m", "engine", "list", "attacks", "--json"], cwd=ROOT,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout is not None and run.stderr is not None
    run.stdout.close()
    assert (run.stderr.read(), run.wait()) == (b"", 141)
    run.stderr.close()
