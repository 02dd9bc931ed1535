"""Data sets that are not as they should be: damaged, gone, linked elsewhere, with very many or very odd classes."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import engine.data
from engine.data import splits
from engine.data.check import check
from engine.data.classmap import fits, match
from engine.data.header import header
from engine.data.overview import overview
from engine.errors import EngineError
from engine.experiments.datasets.checking import checked_of, checking_task
from engine.experiments.sources import Source, opened, picture
from engine.work.store import Store
from tests import collected
from tests.dicoms import dicom
from tests.working import perform

ODD = ("肺炎 🫁 é", "x" * 200, "a,b=c:d%20", "<b>bold</b> & *stars*")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    return tmp_path


def filled(root: Path, names: tuple[str, ...] = ("a", "b"), each: int = 4) -> str:
    for number in range(each * len(names)):
        collected.save(root / names[number % len(names)] / f"{number:03}.png", collected.noise(number))
    return f"folder:{root}"


def broken(path: Path) -> None:
    """Damage inside a picture, which its beginning and its end do not show."""
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes(200) + whole[300:])


def test_links_out_of_the_folder_are_not_followed_and_those_within_are(home: Path) -> None:
    name = filled(home / "set")
    secret = collected.save(home / "secret" / "s.png", collected.noise(99))
    (home / "set" / "a" / "link.png").symlink_to(secret)
    (home / "set" / "a" / "round.png").symlink_to(home / "set" / "b" / "001.png")
    (home / "set" / "c").symlink_to(home / "secret")
    data = engine.data.load(name, "all")
    assert len(data) == 9 and {one.name for one in data.gaps.damaged} == {"a/link.png", "c/s.png"}
    assert "leads out of the folder" in data.gaps.damaged[0].reason
    assert overview(name).parts[0].classes == {"a": 5, "b": 4, "c": 0}
    shutil.rmtree(home / "set" / "b")
    shutil.rmtree(home / "set" / "a")
    filled(home / "elsewhere")
    for letter in "ab":
        (home / "set" / letter).symlink_to(home / "elsewhere" / letter)
    with pytest.raises(EngineError, match="are links out of that folder"):
        engine.data.load(name, "all")


def test_what_is_damaged_inside_is_left_out_after_the_first_attempt(home: Path) -> None:
    name = filled(home / "set")
    before = opened(name, "all")
    broken(home / "set" / "a" / "002.png")
    assert before.thumbnails(range(8), 32).shape == (8, 32, 32)  # a cross stands for it
    with pytest.raises(EngineError, match=r"002\.png is not a whole .*left out from now on: start again"):
        before.images(range(8))
    after = opened(name, "all")
    assert len(after) == 7 and after.images(range(7)).shape[0] == 7 and len(overview(name).gaps.damaged) == 1
    assert np.array_equal(picture(Source(name, "all", 1)).image, after.image(1))  # not the one that had the number


def test_a_check_is_known_although_what_it_found_is_left_out_since(home: Path) -> None:
    name = filled(home / "set")
    broken(home / "set" / "a" / "002.png")
    task = checking_task(name)
    found = checked_of(perform(task))
    assert [one.name for one in found.damaged] == ["a/002.png"] and found.sizes is not None
    after = checking_task(name)
    assert after.key != task.key and (kept := after.kept(Store(home / "home" / "runs"))) is not None
    assert checked_of(kept) == found and len(engine.data.load(name, "all")) == 7


def test_a_folder_that_vanished_is_told_and_nothing_is_remembered_of_it(home: Path) -> None:
    name = filled(home / "set")
    data = engine.data.load(name, "all")
    shutil.move(home / "set", home / "away")
    assert data.thumbnails(range(8), 32).shape == (8, 32, 32)
    for look in (data.image, data.stored, data.header, data.origin):
        with pytest.raises(EngineError):
            look(0)
    with pytest.raises(EngineError, match="not there any more"):
        data.images([0])
    with pytest.raises(EngineError, match="there is no folder"):
        overview(name)
    shutil.move(home / "away", home / "set")
    assert len(engine.data.load(name, "all")) == 8 and not engine.data.load(name, "all").gaps.damaged


def test_odd_names_of_classes_and_files(home: Path) -> None:
    name = filled(home / "set", (*ODD[:3], "plain"), each=10)
    assert {*ODD[:3], "plain"} == {*overview(name).parts[0].classes} and not overview(name).warnings
    renamed = f"map:{'x' * 200}=Normal,a%2Cb%3Dc%3Ad%2520=Normal:{name}"
    assert engine.data.load(renamed, "all").classes.count("Normal") == 1
    assert check(name).warnings == ()
    for bad, line in {"map:": "stand pairs", f"map:x:{name}": "no pair", f"map:nobody=y:{name}": "unknown class",
                      f"map:plain=y:map:plain=z:{name}": "stand pairs", "map:a=b:nothing": "unknown data set"}.items():
        with pytest.raises(EngineError, match=line):
            engine.data.find(bad)


def test_ten_thousand_classes_take_no_square_of_them(home: Path) -> None:
    lines = [f"p/{i % 20}.png,class {i:05}" if i < 20 else f"gone/{i}.png,class {i:05}" for i in range(10_000)]
    (home / "set").mkdir()
    (home / "set" / "scans.csv").write_text("\n".join(["path,label", *lines]))
    for i in range(20):
        collected.save(home / "set" / "p" / f"{i}.png", collected.noise(i))
    found = overview(f"manifest:{home / 'set' / 'scans.csv'}")
    assert len(found.parts[0].classes) == 10_000 and found.gaps.without_file == 9_980 and len(found.warnings) < 30
    assert not fits(found.parts[0].classes, ("a", "b"))
    with pytest.raises(EngineError, match=r"class 00007 or as 9,992 more of these images are; choose another model"):
        match(tuple(found.parts[0].classes), ("a", "b"), "a model")
    labels = list(range(10_000))
    asked = 0

    class Counted(int):
        def __eq__(self, other: object) -> bool:
            nonlocal asked
            asked += 1
            return int(self) == other

        __hash__ = int.__hash__

    splits.draw_by_class([str(i) for i in labels], [Counted(i) for i in labels])
    assert asked < 100_000


def test_the_head_of_a_file_names_nobody(home: Path) -> None:
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    path = home / "x.dcm"
    path.write_bytes(dicom(pixels, PatientName="Doe^Jane", PatientID="MRN-7", BodyPartExamined="DOE JANE",
                           ViewPosition="PA", KVP="120", StudyDate="20200101", Modality="CR"))
    found = header(path)
    facts = dict(found.facts)
    assert facts["view"] == "PA" and facts["tube voltage"] == "120 kV" and found.hidden > 3
    assert found.stored.size == "8 x 8" and not any(name in str(found) for name in ("DOE", "Doe", "MRN", "2020"))
    path.write_bytes(b"no DICOM at all")
    with pytest.raises(EngineError):
        header(path)
