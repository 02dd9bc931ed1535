"""Whether a picture is unlike all that a model was trained on."""

from dataclasses import replace

import numpy as np
import pytest

from engine.data import DATASETS, find
from engine.data.upload import read_upload, save_upload
from engine.experiments.onepicture.unlike import Distance, Usual, learning_task, looking_task
from engine.experiments.sources import Source
from engine.progress import Progress
from engine.work.kinds import Bench
from engine.work.store import Store
from tests import collected, nets


@pytest.fixture
def dataset(tmp_path, monkeypatch) -> str:
    """A registered data set of faint noise on grey; `net` was trained on it."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    rng = np.random.default_rng(0)
    for number in range(60):
        split, kind = ("train", "test")[number % 2], ("a", "b")[number % 4 // 2]
        pixels = (90 + 60 * (number % 4 // 2) + rng.normal(0, 8, (24, 24))).astype(np.uint8)
        collected.save(tmp_path / "data" / split / kind / f"{number}.png", pixels)
    entry = find(f"folder:{tmp_path / 'data'}")
    monkeypatch.setitem(DATASETS._items, "greys", replace(entry, info=replace(entry.info, name="greys")))
    nets.register(monkeypatch)
    nets.kept(tmp_path / "home" / "models" / "net.safetensors", outputs=2, classes=("a", "b"), name="net",
              dataset="greys", split="train")
    return "greys"


def test_a_picture_far_from_all_training_pictures_is_unlike_them_and_another_is_not(dataset, tmp_path):
    usual = learning_task("net")
    assert usual is not None and (usual.spec.split, usual.spec.held_out) == ("train", "test")
    bench = Bench("cpu", Store(tmp_path / "store"), Progress(), lambda task: task.kept(Store(tmp_path / "store")))
    learned = Usual.of(bench.result(usual))
    assert len(learned.features) == 30 and learned.held_out == 30 and learned.edge > 0
    shown = {"like": (tmp_path / "data" / "test" / "a" / "1.png").read_bytes(),
             "unlike": collected.save(tmp_path / "noise.png", collected.noise(0)).read_bytes()}
    found = {}
    for name, picture in shown.items():
        task = looking_task(Source(dataset, "test", 0, save_upload(read_upload(picture))), usual)
        found[name] = Distance.of(bench.result(task))
        assert found[name].edge == learned.edge
    assert found["unlike"].unlike and not found["like"].unlike


def test_nothing_is_learned_where_the_training_pictures_are_not_here(dataset, monkeypatch, tmp_path):
    monkeypatch.setenv("PERTURBSCOPE_DATA", str(tmp_path))
    assert learning_task("kermany/densenet121") is None
    nets.kept(tmp_path / "home" / "models" / "stranger.safetensors", outputs=2, classes=("a", "b"), name="stranger")
    assert learning_task("stranger") is None
