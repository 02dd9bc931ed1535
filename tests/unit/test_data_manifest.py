"""A CSV file that lists pictures: what it may say of them, and that it leads nowhere but into its own folder."""

import os
from pathlib import Path

import numpy as np
import pytest

import engine.data
from engine.data import findings, manifest
from engine.data.overview import overview
from engine.errors import EngineError
from tests import collected
from tests.dicoms import SECRETS, dicom

PARTS = ("train", "validation", "test")


def written(folder: Path, *lines: str, heading: str = "path,label") -> str:
    """A manifest's name as a data set."""
    file = folder / "scans.csv"
    file.write_text("\n".join([heading, *lines]), encoding="utf-8")
    return f"manifest:{file}"


def pictures(folder: Path, count: int, colour: bool = False) -> list[str]:
    for i in range(count):
        collected.save(folder / "pictures" / f"{i}.png", collected.noise(i, colour))
    return [f"pictures/{i}.png" for i in range(count)]


def test_pictures_with_labels(tmp_path: Path) -> None:
    files = pictures(tmp_path, 40)
    name = written(tmp_path, *(f"{file},{'sick' if i % 2 else 'healthy'}" for i, file in enumerate(files)))
    data = engine.data.load(name)
    assert data.split == "all" and data.classes == ("healthy", "sick") and data.labels.tolist() == [0, 1] * 20
    assert data.item_name(3) == "pictures/3.png" and data.image(3).shape == (1, 224, 224)
    assert data.lesion(0) is None and data.patient(0) is None
    parts = [engine.data.load(name, part) for part in PARTS]
    assert [np.bincount(part.labels).tolist() for part in parts] == [[16, 16], [2, 2], [2, 2]]


def test_patients_stay_together_and_are_not_named(tmp_path: Path) -> None:
    files = pictures(tmp_path, 60, colour=True)
    name = written(tmp_path, *(f"{file},{'ab'[i // 3 % 2]},MRN-{i // 3}" for i, file in enumerate(files)),
                   heading="Path,Label,Patient")
    parts = [engine.data.load(name, part) for part in PARTS]
    patients = [{part.patient(i) for i in range(len(part))} for part in parts]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 20 and all(patients)
    assert parts[0].image(0).shape == (3, 224, 224)
    assert "MRN" not in repr([part.item_name(i) for part in parts for i in range(len(part))] + [parts[0].info])


def test_a_patient_with_several_classes_stays_together(tmp_path: Path) -> None:
    files = pictures(tmp_path, 120)
    name = written(tmp_path, *(f"{file},{'ab'[i % 5 == 0]},MRN-{i // 4}" for i, file in enumerate(files)),
                   heading="path,label,patient")
    parts = [engine.data.load(name, part) for part in PARTS]
    patients = [{part.patient(i) for i in range(len(part))} for part in parts]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 30
    assert [len(part) for part in parts] == [96, 12, 12]


def test_one_picture_under_two_spellings_is_one(tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    name = written(tmp_path, "pictures/0.png,a,0 0 6 6", "./pictures//0.png,a,12 12 6 6", "pictures\\1.png,b,",
                   heading="path,label,box")
    data = engine.data.load(name)
    lesion = data.lesion(0)
    assert len(data) == 2 and lesion is not None and lesion.sum() == 2 * 56 * 56
    with pytest.raises(EngineError, match="says something else"):
        engine.data.load(written(tmp_path, "pictures/0.png,a", "pictures/../pictures/0.png,b"))


def test_splits_of_the_manifest_itself(tmp_path: Path) -> None:
    files = pictures(tmp_path, 8)
    splits = ["train", "Train", "val", "test", "test", "valid", "", "train"]
    name = written(tmp_path, *(f"{file},{'ab'[i % 2]},{split}" for i, (file, split) in
                               enumerate(zip(files, splits, strict=True))), heading="path,label,split")
    assert set(engine.data.find(name).info.splits) == {"all", *PARTS}
    assert engine.data.load(name).split == "test"
    assert [len(engine.data.load(name, part)) for part in (*PARTS, "all")] == [3, 2, 2, 8]


def test_boxes_and_masks_mark_the_lesion(tmp_path: Path) -> None:
    for name in "abc":
        collected.save(tmp_path / f"{name}.png", collected.noise(1, side=112))
    (tmp_path / "d.dcm").write_bytes(dicom(collected.noise(2, side=56)))
    mask = np.zeros((112, 112), np.uint8)
    mask[:28] = 255
    collected.save(tmp_path / "masks" / "b.png", mask)
    data = engine.data.load(written(
        tmp_path, "a.png,x,,28 56 14 28;0 0 14 14", "a.png,x,,100 100 50 50", "b.png,y,masks/b.png,",
        'c.png,x,masks/b.png,"0,84,28,28"', "d.dcm,y,,28 0 28 14", heading="path,label,mask,box"))
    assert len(data) == 4 and data.labels.tolist() == [0, 1, 0, 1]
    boxed = np.zeros((224, 224), bool)
    boxed[112:168, 56:84] = boxed[:28, :28] = boxed[200:, 200:] = True
    lesions = [data.lesion(i) for i in range(4)]
    assert np.array_equal(lesions[0], boxed)  # type: ignore[arg-type]
    assert lesions[1] is not None and lesions[1][:56].all() and not lesions[1][56:].any()
    assert lesions[2] is not None and lesions[2].sum() == 56 * 224 + 56 * 56
    assert lesions[3] is not None and lesions[3][:56, 112:].all() and lesions[3].sum() == 56 * 112
    assert not any(secret in f"{data.item_name(3)}{vars(data)}" for secret in SECRETS)


@pytest.mark.parametrize("path", ["../secret.png", "pictures/../../secret.png", "/etc/hostname", "link.png",
                                  "elsewhere/secret.png", "pictures/\0.png"])
@pytest.mark.parametrize("column", ["path", "mask"])
def test_no_path_leads_out_of_the_manifests_folder(path: str, column: str, tmp_path: Path) -> None:
    folder, outside = tmp_path / "mine", tmp_path / "secret.png"
    collected.save(outside, collected.noise(3))
    pictures(folder, 2)
    os.symlink(outside, folder / "link.png")
    os.symlink(tmp_path, folder / "elsewhere")
    line = f"{path},b," if column == "path" else f"pictures/1.png,b,{path}"
    name = written(folder, "pictures/0.png,a,", line, heading="path,label,mask")
    with pytest.raises(EngineError, match="not in its own folder") as error:
        engine.data.load(name).lesion(1)
    assert str(error.value).count("\n") == 0


def test_a_link_to_the_folder_itself_and_paths_that_stay_inside_are_fine(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    pictures(folder, 3)
    os.symlink(folder, tmp_path / "same")
    os.symlink(folder / "pictures" / "0.png", folder / "again.png")
    written(folder, "pictures/../pictures/0.png,a", f"{folder}/pictures/1.png,b", "again.png,b")
    data = engine.data.load(f"manifest:{tmp_path}/same/scans.csv")
    assert [data.item_name(i) for i in range(3)] == ["pictures/0.png", "pictures/1.png", "again.png"]


def test_what_is_not_there_or_not_named_is_counted(tmp_path: Path) -> None:
    files = pictures(tmp_path, 10)
    (tmp_path / "pictures" / "4.png").write_bytes(b"")
    lines = [f"{file},{'ab'[i % 2]}" for i, file in enumerate(files[:8])]
    data = engine.data.load(written(tmp_path, *lines, "pictures/8.png,", "gone.png,a", "nowhere/gone.png,b"))
    assert len(data) == 7 and data.gaps.without_file == 2 and data.gaps.without_label == 2
    assert [damaged.name for damaged in data.gaps.damaged] == ["pictures/4.png"]


@pytest.mark.parametrize(("heading", "lines", "says"), [
    ("file,label", ["a.png,x"], "no column path"), ("path,label", [], "two different labels, and has none"),
    ("path,label", ["a.png,x", "b.png,x"], "only 'x'"), ("path,label", [",x"], "line 2 .* has no path"),
    ("path,label", ["a.png,x", "a.png,y"], "line 3 .* says something else of 'a.png'"),
    ("path,label,split", ["a.png,x,holdout"], "line 2 .* has the split 'holdout'"),
    ("path,label,box", ["a.png,x,1 2 3"], "line 2 .* has the box '1 2 3'"),
    ("path,label,box", ["a.png,x,1 2 nan 4"], "has the box"), ("path,label,box", ["a.png,x,1 2 0 4"], "has the box"),
    ("path,label", ['"a.png,x'], "no CSV file"), ("path,label", ["a.png,x", "b.png,y"], "0 of 2 are there"),
])
def test_a_manifest_that_will_not_do_is_one_line(heading: str, lines: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=says) as error:
        engine.data.load(written(tmp_path, *lines, heading=heading))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["manifest:", "manifest:nowhere.csv", "manifest:.", "manifest:a\0b",
                                  "manifest:" + "a" * 5000])
def test_no_manifest_at_all(name: str) -> None:
    with pytest.raises(EngineError, match="there is no file"):
        engine.data.find(name)


def test_a_changed_manifest_is_read_again(tmp_path: Path) -> None:
    files = pictures(tmp_path, 4)
    name = written(tmp_path, f"{files[0]},a", f"{files[1]},b")
    assert len(engine.data.load(name)) == 2
    written(tmp_path, f"{files[0]},a", f"{files[1]},b", f"{files[2]},another label")
    assert engine.data.load(name).classes == ("a", "another label", "b")


def test_many_classes_and_any_letters(tmp_path: Path) -> None:
    (file,) = pictures(tmp_path, 1)
    lines = [f"pictures/{i}.png,class {i} ü{'長' * 200}" for i in range(3000)]
    name = written(tmp_path, f"{file},first", *lines[1:])
    data = engine.data.load(name, manifest.ALL)
    assert len(data.classes) == 3000 and len(data) == 1 and data.gaps.without_file == 2999


def test_several_labels_of_a_picture_are_looked_for_one_by_one(tmp_path: Path) -> None:
    files = pictures(tmp_path, 6)
    cells = ["effusion", "mass|effusion", "effusion; mass", "no: finding", "mass", ""]
    name = written(tmp_path, *(f"{file},{cell}" for file, cell in zip(files, cells, strict=True)))
    (tmp_path / "pictures" / "4.png").write_bytes(b"")
    data = engine.data.load(name)
    assert data.classes == ("effusion", "effusion|mass", "mass", "no: finding")
    assert data.info.findings == ("effusion", "mass", "no: finding")
    (mass,) = (view for view in findings.names(data.info) if "mass" in view)
    seen = engine.data.load(mass)
    assert mass == f"finding:mass:{name}" and seen.classes == ("no mass", "mass")
    # The empty file of the mass alone is left out of everything.
    assert [seen.item_name(i)[-5] for i in range(len(seen))] == ["0", "1", "2", "3"]
    assert seen.labels.tolist() == [0, 1, 1, 0] and seen.findings(1) == ("effusion", "mass")
    assert engine.data.load(findings.names(data.info)[2]).labels.tolist() == [0, 0, 0, 1]
    (part, *_) = overview(mass).parts
    assert part.classes == {"no mass": 2, "mass": 2} and part.findings == {"effusion": 3, "mass": 2, "no: finding": 1}


@pytest.mark.parametrize(("view", "says"), [
    ("finding:gout:{}", "unknown finding of scans 'gout'; there are: a, b, mass"),
    ("finding:mass", "such as finding:effusion:chestmnist"),
    ("finding:mass:finding:mass:{}", "such as"), ("finding:Normal:pneumoniamnist", "have one label each"),
])
def test_a_finding_that_nobody_looked_for_is_one_line(view: str, says: str, tmp_path: Path) -> None:
    name = written(tmp_path, *(f"{file},{label}" for file, label in zip(pictures(tmp_path, 2), ("mass|a", "b"),
                                                                        strict=True)))
    with pytest.raises(EngineError, match=says) as caught:
        engine.data.find(view.format(name))
    assert "\n" not in str(caught.value)
