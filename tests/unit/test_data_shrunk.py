"""`NAME@SIDE`: the same pictures made smaller, wherever a data set's name is taken."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.cli import main
from engine.data import DATASETS, find, load, phantom_cxr
from engine.data.base import DatasetEntry
from engine.data.marks import marked
from engine.data.phantom_cxr import PhantomCxr
from tests import nets

SMALL = "phantom-cxr@32"


class Few(PhantomCxr):
    """The first dozen of every split."""

    INFO = replace(phantom_cxr.INFO, name="few")

    def __init__(self, split: str) -> None:
        super().__init__(split)
        self.info, self.labels = self.INFO, self.labels[:12]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A small architecture, and a phantom data set that is quickly read."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(DATASETS._items, "few", DatasetEntry(Few.INFO, Few))
    return nets.register(monkeypatch)


def fails(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that a command with bad input prints."""
    assert main(list(argv)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1, err
    return err


def test_a_pixel_is_the_mean_of_what_it_covers() -> None:
    whole, small = load("phantom-cxr", "test"), load(SMALL, "test")
    assert len(small) == len(whole) and small.labels.tolist() == whole.labels.tolist()
    assert small.image(4).shape == (1, 32, 32) and small.image(4).dtype == np.float32
    means = whole.image(4).reshape(1, 32, 7, 32, 7).mean(axis=(2, 4))
    assert np.allclose(small.image(4), means, atol=1e-6)
    odd = load("phantom-cxr@50", "test").image(4)  # 224 is no multiple of 50
    assert odd.shape == (1, 50, 50) and odd.mean() == pytest.approx(whole.image(4).mean(), abs=1e-3)


def test_marks_shrink_with_their_picture_and_none_is_lost() -> None:
    whole, small = load("phantom-cxr", "test"), load(SMALL, "test")
    sick = [i for i in range(12) if marked("lesion", whole, i) is not None]
    for index in sick:
        for name in ("lesion", "lung"):
            before, after = marked(name, whole, index), marked(name, small, index)
            assert before is not None and after is not None and after.shape == (32, 32)
            shares = before.reshape(32, 7, 32, 7).mean(axis=(1, 3))
            assert (after == (shares >= 0.5)).all()
            tiny = marked(name, load("phantom-cxr@8", "test"), index)
            assert tiny is not None and tiny.any()
    healthy = next(i for i in range(12) if i not in sick)
    assert marked("lesion", small, healthy) is None and small.lesion(healthy) is None


def test_the_same_picture_in_two_sizes_is_two_pictures() -> None:
    sizes = [load(name, "test") for name in ("phantom-cxr", SMALL, "phantom-cxr@64")]
    assert len({data.origin(0) for data in sizes}) == len({data.digest_of([0]) for data in sizes}) == 3
    assert len({data.digest for data in sizes}) == 3
    assert {data.item_name(3) for data in sizes} == {"test/3"}


def test_it_is_named_and_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    entry = find(SMALL)
    assert entry.info.name == load(SMALL).info.name == SMALL and "32 x 32" in entry.info.title
    assert main(["list", "datasets", "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert names.count("phantom-cxr") == 1 and not any("@" in name for name in names)


def test_what_is_missing_is_missing_in_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERTURBSCOPE_DATA", raising=False)
    assert find("kermany@64").missing() == DATASETS["kermany"].missing() is not None


@pytest.mark.parametrize(("name", "says"), [
    ("phantom-cxr@", "from 8 to 224"), ("phantom-cxr@big", "not 'big'"), ("phantom-cxr@7", "from 8 to 224"),
    ("phantom-cxr@225", "from 8 to 224"), ("phantom-cxr@032", "not '032'"), ("phantom-cxr@-64", "not '-64'"),
    ("phantom-cxr@٦٤", "whole number"), ("phantom-cxr@" + "9" * 5000, "from 8 to 224"),
    ("phantom-cxr@64@32", "did you mean: phantom-cxr, phantom-ct?"), ("kermani@64", "did you mean: kermany"),
    ("@64", "unknown data set ''"),
])
def test_a_name_that_will_not_do_is_one_line(capsys: pytest.CaptureFixture[str], few: str, name: str,
                                             says: str) -> None:
    line = fails(capsys, "train", "--dataset", name, "--arch", few, "--name", "a")
    assert says in line and len(line) < 600


def test_a_folder_may_have_an_at_sign_in_its_name(tmp_path: Path) -> None:
    from PIL import Image

    root = tmp_path / "scans@64"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        Image.new("L", (70, 70), 100).save(root / name / "1.png")
    assert load(f"folder:{root}").image(0).shape == (1, 224, 224)


def test_from_training_to_a_curve_on_small_pictures(capsys: pytest.CaptureFixture[str], few: str,
                                                    tmp_path: Path) -> None:
    data = ["--dataset", "few@32", "--device", "cpu", "--json"]
    assert main(["train", *data, "--arch", few, "--name", "small", "--epochs", "2", "--full-size-epochs", "1"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["dataset"] == "few@32" and [epoch["size"] for epoch in card["training"]["history"]] == [32, 32]
    argv = [*data, "--model", "small", "--limit", "3", "--out", str(tmp_path)]
    assert main(["attack", "--attack", "pgd", "--mask", "lung", *argv]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 3
    with np.load(tmp_path / "adversarial.npz") as kept:
        assert kept["adversarial"].shape == kept["clean"].shape == (3, 1, 32, 32)
        changed = (kept["adversarial"] != kept["clean"])[:, 0]
    split = load("few@32", "test")
    assert changed.any() and not any((changed[i] & ~split.lungs(index)).any()  # type: ignore[operator]
                                     for i, index in enumerate((2, 6, 10)))
    assert main(["curve", "--attack", "fgsm", "--eps", "0,8/255", *argv]) == 0
    assert [point["eps"] for point in json.loads(capsys.readouterr().out)["points"]] == [0, 8 / 255]
    assert main(["attack", "--attack", "usmm", "--set", "steps=1", *argv]) == 0  # its further images are as small
