"""Data sets: what is in which split stays there for ever, and no patient is in two parts."""

import hashlib
import itertools
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import engine.data
from engine.data import covid_ct, files, kermany, phantom, splits
from engine.data import folder as folders
from engine.data.base import Dataset
from engine.errors import EngineError

PARTS = ("train", "validation", "test")


def groups(name: str, scheme: str, group: Callable[[str], str]) -> list[set[str]]:
    """The groups (patients, papers) of each part of a data set."""
    found = []
    for part in PARTS:
        data = engine.data.load(name, f"{scheme}{part}")
        found.append({group(Path(data.item_name(i)).name) for i in range(len(data))})
    return found


def test_the_splits_of_given_names_never_change() -> None:
    names = [f"patient{i // 3}" for i in range(1000)]
    drawn = splits.draw(names)
    assert hashlib.sha256(" ".join(drawn).encode()).hexdigest() == (
        "c8788f0cea8f3258ecb20594927b59167e237b70982fee6a6be7d31fde2d3a91")
    assert [drawn.count(part) for part in PARTS] == pytest.approx([800, 100, 100], abs=3)
    by_class = splits.draw_by_class(names, [i // 700 for i in range(1000)])
    assert hashlib.sha256(" ".join(by_class).encode()).hexdigest() == (
        "f476fec839bdc03609cbc7dce4f31f2dc85eb8b9bf6323f5a609251d7e3f6c49")


def test_groups_stay_together_and_an_image_more_moves_few_others() -> None:
    names = [f"g{i // 4}" for i in range(400)]
    part_of = dict(zip(names, splits.draw(names), strict=True))
    assert all(part_of[n] == p for n, p in zip(names, splits.draw(names), strict=True))
    more = dict(zip([*names, "new"], splits.draw([*names, "new"]), strict=True))
    assert sum(more[n] != part_of[n] for n in part_of) <= 2


def test_drawing_by_class_gives_every_class_its_share() -> None:
    labels = [0] * 900 + [1] * 100
    drawn = splits.draw_by_class([str(i) for i in range(1000)], labels)
    assert drawn[900:].count("test") == 10 and drawn[:900].count("test") == 90


@pytest.mark.parametrize(("name", "patient"), [
    ("person12_virus_3.jpeg", "person12"), ("person1946_bacteria_4874.jpeg", "person1946"),
    ("IM-0115-0001.jpeg", "IM-0115"), ("NORMAL2-IM-0927-0001.jpeg", "NORMAL2-IM-0927"), ("other.jpeg", "other"),
])
def test_kermany_names_carry_the_patient(name: str, patient: str) -> None:
    assert kermany.patient(name) == patient


@pytest.mark.parametrize(("name", "paper"), [
    ("2020.02.10.20021584-p6-52%12.png", "2020.02.10.20021584"), ("2020.01.24.919183-p27-132.png", "2020.01.24.919183"),
    ("2019-novel-Coronavirus-dist_2020_Journal-p3-89%1.png", "2019-novel-Coronavirus-dist_2020_Journal"),
    ("1%0.jpg", "1"), ("1058.png", "1058"), ("bmj.m606.full-p4-22%0.png", "bmj.m606.full"),
])
def test_covid_ct_names_carry_the_paper(name: str, paper: str) -> None:
    assert covid_ct.paper(name) == paper


@pytest.mark.parametrize(("name", "group", "sizes"), [
    ("kermany", kermany.patient, {"official-train": 5216, "official-test": 624}),
    ("covid-ct", covid_ct.paper, {}),
])
def test_real_splits_part_patients_and_cover_everything(
    name: str, group: Callable[[str], str], sizes: dict[str, int], data_home: Path
) -> None:
    train, validation, test = groups(name, "", group)
    assert not (train & validation or train & test or validation & test)
    lengths = {split: len(engine.data.load(name, split)) for split in engine.data.DATASETS[name].info.splits}
    whole = sum(lengths[f"random-{part}"] for part in PARTS)
    assert whole == {"kermany": 5840, "covid-ct": 746}[name]
    assert {split: lengths[split] for split in sizes} == sizes
    for scheme in ("", "random-"):
        total = sum(lengths[f"{scheme}{part}"] for part in PARTS)
        assert [lengths[f"{scheme}{part}"] / total for part in PARTS] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


@pytest.mark.parametrize(("name", "scheme", "counts"), [
    # Of 1,580 normal X-rays in the paper's table 1,575 are here, so that every part has its share of them.
    ("kermany", "paper", {"train": [1260, 3376], "validation": [158, 422], "test": [157, 422]}),
    ("kermany", "paper-blackbox", {"train": [1260, 3376], "test": [315, 844]}),
    ("covid-ct", "paper", {"train": [317, 279], "validation": [40, 35], "test": [40, 35]}),
    ("covid-ct", "paper-blackbox", {"train": [238, 209], "test": [159, 140]}),
])
def test_the_papers_splits_have_the_papers_counts(name: str, scheme: str, counts: dict[str, list[int]],
                                                  data_home: Path) -> None:
    parts = {part: engine.data.load(name, f"{scheme}-{part}") for part in counts}
    assert {part: np.bincount(data.labels).tolist() for part, data in parts.items()} == counts
    names = [data.item_name(i) for data in parts.values() for i in range(len(data))]
    assert len(names) == len(set(names))


def test_counted_parts_never_change() -> None:
    names, labels = [f"image{i}" for i in range(100)], [i % 2 for i in range(100)]
    drawn = splits.counted(names, labels, {"train": (30, 20), "test": (10, 40)})
    assert [sum(p == part and label == k for p, label in zip(drawn, labels, strict=True))
            for part in ("train", "test") for k in (0, 1)] == [30, 17, 10, 33]  # of 50 where 60 were wanted: shares
    assert hashlib.sha256(" ".join(drawn).encode()).hexdigest() == (
        "48443710f9d30adcee947f0fc0229c70d1081e19c7ede0bd8398b08d608d3b23")


def test_every_odd_slice_of_covid_ct_is_grey_and_whole(data_home: Path) -> None:
    data = engine.data.load("covid-ct", "test")
    images = data.images(range(0, len(data), 5))
    assert images.shape[1:] == (1, 224, 224) and images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1 and images.std(axis=(1, 2, 3)).min() > 0.02


@pytest.mark.parametrize("layout", ["", "covid-ct", "COVID-CT/Images-processed"])
def test_covid_ct_is_found_in_its_layouts(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in covid_ct.FOLDERS:
        fill(tmp_path / layout / folder, 12)
    monkeypatch.setenv("PERTURBSCOPE_DATA", str(tmp_path))
    assert sum(len(engine.data.load("covid-ct", part)) for part in PARTS) == 24


def test_absent_data_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURBSCOPE_DATA", str(tmp_path))
    for name in ("kermany", "covid-ct"):
        with pytest.raises(EngineError, match="PERTURBSCOPE_DATA"):
            engine.data.load(name)


def fill(folder: Path, count: int, colour: bool = False) -> None:
    """A class folder of small pictures."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(str(folder)))
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3) if colour else (20, 30), np.uint8)).save(folder / f"{i}.png")


def test_a_folder_of_classes(tmp_path: Path) -> None:
    fill(tmp_path / "b", 20)
    fill(tmp_path / "a", 30)
    (tmp_path / "a" / ".hidden.png").write_bytes(b"")
    (tmp_path / "a" / "notes.txt").write_text("not a picture")
    (tmp_path / ".git").mkdir()
    data = engine.data.load(f"folder:{tmp_path}")
    assert data.split == "all" and data.classes == ("a", "b") and np.bincount(data.labels).tolist() == [30, 20]
    assert data.image(0).shape == (1, 224, 224) and data.item_name(0) == "a/0.png"
    parts = [engine.data.load(f"folder:{tmp_path}", part) for part in PARTS]
    names = [{d.item_name(i) for i in range(len(d))} for d in parts]
    assert [len(n) for n in names] == [40, 5, 5] and len(set.union(*names)) == 50


def test_a_folder_is_listed_once_until_something_in_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, name in itertools.product(("train", "test"), ("a", "b")):
        fill(tmp_path / split / name, 2)
    monkeypatch.setattr(folders, "SETTLED", 0.0)
    listed: list[Path] = []
    monkeypatch.setattr(folders, "image_files", lambda at: listed.append(at) or files.image_files(at))

    def pictures() -> int:
        listed.clear()
        return len(engine.data.load(f"folder:{tmp_path}", "test"))

    assert pictures() == 4 and listed
    assert pictures() == 4 and not listed
    time.sleep(0.02)  # finer than this no time of change is kept
    shutil.copy(tmp_path / "test" / "b" / "0.png", tmp_path / "test" / "b" / "2.png")
    assert pictures() == 5 and listed
    monkeypatch.setattr(folders, "SETTLED", 60.0)
    assert pictures() == 5 and listed, "what was changed just now may change again within the same moment"


def test_a_folder_with_train_and_test(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        for name in ("x", "y"):
            fill(tmp_path / part / name, count, colour=True)
    entry = engine.data.find(f"folder:{tmp_path}")
    assert list(entry.info.splits) == ["train", "validation", "test"]
    data = entry.load()
    assert data.split == "test" and len(data) == 2 and data.image(0).shape == (3, 224, 224)
    assert data.thumbnails([0, 1]).shape == (2, 96, 96, 3)
    assert len(entry.load("validation")) == 4


def test_folders_that_are_no_data_set(tmp_path: Path) -> None:
    def fails(words: str, name: str = f"folder:{tmp_path}", split: str | None = None) -> None:
        with pytest.raises(EngineError, match=words):
            engine.data.load(name, split)

    fails("no folder", "folder:")
    fails("no folder", f"folder:{tmp_path / ('x' * 5000)}")
    fails("no folder", f"folder:{tmp_path}/nowhere")
    fails("two class folders.*none")
    fill(tmp_path / "sick", 3)
    fails("two class folders.*only 'sick'")
    (tmp_path / "healthy").mkdir()
    fails("class folder '.*healthy' holds no picture")
    fill(tmp_path / "healthy" / "deeper", 3)
    fails("class folder '.*healthy' holds no picture")
    (tmp_path / "healthy" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    left = engine.data.load(f"folder:{tmp_path}")
    assert len(left) == 3 and [damaged.name for damaged in left.gaps.damaged] == ["healthy/torn.png"]
    picture = tmp_path / "sick" / "0.png"
    picture.write_bytes(picture.read_bytes()[:100] + bytes(50) + picture.read_bytes()[150:])  # the ends stay
    with pytest.raises(EngineError, match=r"0\.png"):
        engine.data.load(f"folder:{tmp_path}").images(range(3))
    fails("too few pictures.*split all", split="test")
    fails("did you mean", split="tests")


def test_the_real_folder(data_home: Path) -> None:
    data = engine.data.load(f"folder:{data_home / 'breakhis-400x'}")
    assert data.classes == ("benign", "malignant") and data.split == "test" and data.image(0).shape == (3, 224, 224)


def test_phantoms_come_first_and_are_marked_synthetic() -> None:
    assert next(iter(engine.data.DATASETS)) == "phantom-cxr"
    assert engine.data.DATASETS["phantom-cxr"].info.synthetic


def test_phantoms_know_their_labels_and_lesions() -> None:
    data: Dataset = engine.data.load("phantom-cxr")
    for i in range(3):
        drawn = phantom.render("test", i)
        assert data.labels[i] == drawn.label
        assert np.array_equal(np.rint(data.image(i)[0] * 255), drawn.image)
        lesion = data.lesion(i)
        assert lesion is None if drawn.label == 0 else np.array_equal(lesion, drawn.lesion)
    assert data.thumbnails(range(3), side=64).shape == (3, 64, 64)
    assert np.ptp(np.bincount(data.labels)) == 0


def test_no_such_image_or_data_set() -> None:
    data = engine.data.load("phantom-cxr")
    for index in (-1, len(data)):
        with pytest.raises(EngineError, match="has images 0 to"):
            data.images([index])
    with pytest.raises(EngineError, match="phantom-cxr"):
        engine.data.load("fantom-cxr")


def test_phantoms_are_grouped_by_the_size_of_their_lesion() -> None:
    data = engine.data.load("phantom-cxr", "test")
    for index in range(12):
        names, lesion = data.groups(index), data.lesion(index)
        if lesion is None:
            assert names == {}
            continue
        lungs = data.lungs(index)
        assert lungs is not None
        share = lesion.sum() / lungs.sum()
        expected = "small" if share < 0.08 else "medium" if share < 0.12 else "large"
        assert names["Size of the lesion"].split()[0] == expected
        assert engine.data.load("phantom-cxr@32", "test").groups(index) == names


def test_kermany_names_carry_the_cause() -> None:
    assert kermany.cause("person12_virus_3.jpeg") == "virus"
    assert kermany.cause("person1000_bacteria_2931.jpeg") == "bacteria"
    assert kermany.cause("IM-0023-0001.jpeg") == kermany.cause("person_bacterial.png") == ""


def test_real_pneumonias_have_a_cause_and_others_none(data_home: Path) -> None:
    data = engine.data.load("kermany")
    for index in range(0, len(data), 20):
        names = data.groups(index)
        assert names.get("Cause of the pneumonia") in (("bacteria", "virus") if data.labels[index] else (None,))


def test_names_of_breakhis_carry_slide_and_magnification(tmp_path: Path) -> None:
    for folder, name in (("benign", "SOB_B_A-14-22549CD-400-006.png"), ("malignant", "picture.png")):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / folder / name)
    data = engine.data.load(f"folder:{tmp_path}")
    assert data.groups(0) == {"Slide": "14-22549CD", "Magnification": "400"} and data.groups(1) == {}
