"""Every published data set is read in the layouts in which it comes, parted by patient, in spite of damage."""

import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import engine.data
from engine.data import DATASETS, breakhis, covidx, files, find, medmnist, rsna
from engine.data.base import Dataset
from engine.data.collection import Item
from engine.errors import EngineError
from engine.experiments.sources import Source, picture
from tests import collected, nets

PARTS = ("train", "validation", "test")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PERTURBSCOPE_DATA."""
    monkeypatch.setenv("PERTURBSCOPE_DATA", str(tmp_path))
    return tmp_path


def names(data: Dataset) -> list[str]:
    return [data.item_name(i) for i in range(len(data))]


def groups(data: Dataset) -> set[str]:
    return {group for i in range(len(data)) if (group := data.patient(i))}


def groupings(data: Dataset) -> set[str]:
    """The kinds of tumours."""
    return {data.groups(i)["Kind of tumour"] for i in range(len(data))}


def parted(name: str, scheme: str = "") -> list[Dataset]:
    """The three parts of a data set, checked: no patient is in two, no picture in none or two."""
    parts = [engine.data.load(name, f"{scheme}{part}") for part in PARTS]
    if not scheme:
        patients = [groups(part) for part in parts]
        assert all(patients) and sum(map(len, patients)) == len(set.union(*patients))
    every = [name for part in parts for name in names(part)]
    assert len(every) == len(set(every))
    return parts


@pytest.mark.parametrize("name", [name for name in DATASETS if not DATASETS[name].info.synthetic])
def test_a_data_set_says_what_it_is_and_how_to_get_it(name: str, data: Path) -> None:
    info = DATASETS[name].info
    assert all([info.modality, info.source, info.terms, info.obtain, info.layouts, info.grouping])
    missing = DATASETS[name].missing()
    assert missing is not None and info.obtain in missing and "PERTURBSCOPE_DATA" in missing
    with pytest.raises(EngineError, match="PERTURBSCOPE_DATA"):
        engine.data.load(name)


@pytest.mark.parametrize("layout", ["", "BreaKHis_v1", "breakhis/BreaKHis_v1"])
def test_breakhis_in_its_own_tree(layout: str, data: Path) -> None:
    count = collected.breakhis(data / layout, slides=12)
    parts = parted("breakhis")
    assert sum(map(len, parts)) == count == 192
    tile = parts[0]
    assert tile.classes == ("Benign", "Malignant") and tile.image(0).shape == (3, 224, 224)
    assert all(("malignant" in name) == bool(label) for name, label in zip(names(tile), tile.labels, strict=True))
    assert tile.thumbnails([0, 1]).shape == (2, 96, 96, 3)
    assert tile.groups(0)["Magnification"] in ("40", "100", "200", "400") and len(groupings(tile)) == 4


def test_a_magnification_of_breakhis_is_a_data_set_of_its_own(data: Path) -> None:
    count = collected.breakhis(data / "BreaKHis_v1")
    whole = set(names(engine.data.load("breakhis", "all")))
    zooms = [set(names(engine.data.load(f"breakhis-{zoom}x", "all"))) for zoom in (40, 100, 200, 400)]
    assert set.union(*zooms) == whole and [len(zoom) for zoom in zooms] == [count // 4] * 4
    assert all("-100-" in name for name in zooms[1])


def test_slides_of_one_breakhis_patient_stay_together() -> None:
    for letters in ("AB", "CD", "G", ""):
        assert breakhis.slide(f"SOB_B_A-14-22549{letters}-40-001.png") == "14-22549"
    assert breakhis.slide("SOB_M_DC-14-17614-400-014.png") == "14-17614"
    assert breakhis.slide("benign (3).png") == "benign (3).png"


def test_breakhis_as_the_paper_counted_it(data: Path) -> None:
    collected.breakhis(data / "BreaKHis_v1", slides=50)
    parts = parted("breakhis", "paper-")
    assert [np.bincount(part.labels).tolist() for part in parts] == [[80, 40], [10, 5], [10, 5]]
    assert all("-100-" in name and "lobular" not in name for part in parts for name in names(part))
    both = [len(engine.data.load("breakhis-100x", f"paper-blackbox-{part}")) for part in ("train", "test")]
    assert both == [120, 30]


def test_breakhis_in_flat_class_folders(data: Path) -> None:
    for label in ("benign", "malignant"):
        for i in range(10):
            collected.save(data / "breakhis" / label / f"{i}.png", collected.noise(i, colour=True))
    assert np.bincount(engine.data.load("breakhis", "all").labels).tolist() == [10, 10]
    with pytest.raises(EngineError, match=r"too few pictures here.*use the split all"):
        engine.data.load("breakhis-40x", "test")


def test_the_real_tiles_of_breakhis(data_home: Path) -> None:
    tiles = engine.data.load("breakhis-400x", "all")
    assert np.bincount(tiles.labels).tolist() == [4, 4]
    assert tiles.image(0).shape == (3, 224, 224) and np.ptp(tiles.image(0), axis=0).mean() > 0.05  # pink and violet
    assert groups(tiles) == {"14-16184", "14-19440", "14-9146", "14-22549", "14-22704", "14-17614", "14-20629"}


def test_damaged_files_are_listed_and_left_out(data: Path) -> None:
    count = collected.breakhis(data / "BreaKHis_v1")
    tiles = sorted((data / "BreaKHis_v1").rglob("*-40-001.png"))
    tiles[0].write_bytes(b"")
    tiles[1].write_bytes(tiles[2].read_bytes()[:-100])
    tiles[3].write_bytes(b"no picture at all" * 100)
    whole = engine.data.load("breakhis", "all")
    assert len(whole) == count - 3 and len(whole.images(range(4))) == 4
    assert [damaged.name.rpartition("/")[2] for damaged in whole.gaps.damaged] == [
        tiles[i].name for i in (0, 1, 3)]
    assert whole.gaps.damaged[0].reason == "it is empty" and "no" in whole.gaps.damaged[1].reason
    collected.save(tiles[0], collected.noise(5, colour=True))  # mended: there again, without a new start
    assert len(engine.data.load("breakhis", "all")) == count - 2


def test_damage_moves_no_other_file_to_another_part(data: Path) -> None:
    collected.breakhis(data / "BreaKHis_v1", slides=12)
    before = [names(part) for part in parted("breakhis")]
    (data / "BreaKHis_v1" / "histology_slides" / "breast" / before[0][0]).write_bytes(b"")
    after = [names(part) for part in parted("breakhis")]
    assert after == [before[0][1:], *before[1:]]


def test_nothing_but_damage_is_an_error(data: Path) -> None:
    for label in ("benign", "malignant"):
        (data / "breakhis" / label).mkdir(parents=True)
        (data / "breakhis" / label / "1.png").write_bytes(b"")
    with pytest.raises(EngineError, match=r"all 2 pictures .* damaged.*1\.png: it is empty"):
        engine.data.load("breakhis", "all")


@pytest.mark.parametrize(("name", "place"), [
    ("pneumoniamnist", "medmnist"), ("bloodmnist", ""), ("octmnist", "MedMNIST"), ("retinamnist", "medmnist"),
])
def test_a_set_of_medmnist(name: str, place: str, data: Path) -> None:
    facts = medmnist.SETS[name]
    kept = collected.medmnist(data / place / f"{name}.npz", (20, 9, 12), classes=len(facts.classes),
                              colour=facts.colour)
    parts = [engine.data.load(name, part) for part in PARTS]
    assert [len(part) for part in parts] == [20, 9, 12]
    assert np.array_equal(parts[2].labels, kept["test_labels"][:, 0]) and parts[2].labels.dtype == np.int64
    image, stored = parts[2].image(3), kept["test_images"][3]
    assert image.shape == ((3, 28, 28) if facts.colour else (1, 28, 28)) and image.dtype == np.float32
    assert np.array_equal(np.rint(image * 255), stored.transpose(2, 0, 1) if facts.colour else stored[None])
    assert parts[2].thumbnails([0, 1]).shape[:3] == (2, 96, 96)
    assert names(parts[1])[:2] == ["validation/0", "validation/1"]


def test_medmnist_in_other_sizes_is_read_and_not_shrunk(data: Path) -> None:
    kept = collected.medmnist(data / "medmnist" / "pathmnist_64.npz", (4, 4, 4), side=64, classes=9, colour=True)
    larger = engine.data.load("pathmnist@64")
    assert larger.info.name == "pathmnist@64" and larger.image(0).shape == (3, 64, 64)
    assert np.array_equal(np.rint(larger.image(1) * 255), kept["test_images"][1].transpose(2, 0, 1))
    assert "pathmnist_128.npz" in (find("pathmnist@128").missing() or "") and DATASETS["pathmnist"].missing()
    with pytest.raises(EngineError, match="28, 64, 128, 224 pixels a side, not with 100"):
        engine.data.load("pathmnist@100")


def test_a_large_split_is_read_from_the_disk(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(medmnist, "IN_MEMORY", 1000)
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    kept = collected.medmnist(data / "octmnist.npz", (4, 4, 4), classes=4)
    split = engine.data.load("octmnist")
    assert isinstance(split._images, np.memmap)  # type: ignore[attr-defined]
    assert np.array_equal(np.rint(split.image(2)[0] * 255), kept["test_images"][2])
    assert len(list((tmp_path / "home" / "unpacked").iterdir())) == 1
    kept = collected.medmnist(data / "octmnist.npz", (5, 4, 5), classes=4)  # another file under the same name
    assert np.array_equal(np.rint(engine.data.load("octmnist").image(4)[0] * 255), kept["test_images"][4])


def test_chestmnist_has_any_finding_or_none(data: Path) -> None:
    kept = collected.medmnist(data / "chestmnist.npz", (3, 3, 40), findings=14)["test_labels"]
    split = engine.data.load("chestmnist")
    assert split.labels.tolist() == kept.any(axis=1).astype(int).tolist()
    assert split.findings(5) == tuple(n for n, there in zip(medmnist.FINDINGS, kept[5], strict=True) if there) != ()


def test_a_finding_of_chestmnist_is_attacked_on_a_network_with_an_output_for_each(data: Path) -> None:
    kept = collected.medmnist(data / "chestmnist.npz", (3, 3, 8), findings=14)["test_labels"]
    split = engine.load_dataset("finding:effusion:chestmnist")
    assert split.labels.tolist() == kept[:, medmnist.FINDINGS.index("effusion")].tolist()
    assert set(engine.data.findings.names(split.info)) >= {split.info.name, "finding:hernia:chestmnist"}
    model = engine.wrap(nets.seeded(14), medmnist.FINDINGS, finding="effusion", mean=(0.4,), std=(0.2,))
    assert model.classes == split.classes
    rows = engine.attack("pgd", model, split.images(range(8)), split.labels, eps=16 / 255).rows
    assert rows.labels.tolist() == split.labels.tolist() and rows.linf.max() <= 16 / 255 + 1e-6
    # Away from the truth, whichever it is.
    assert (rows.logits_adversarial[:, 1] > rows.logits_clean[:, 1]).tolist() == (split.labels == 0).tolist()


def test_the_real_pneumoniamnist(data_home: Path) -> None:
    lengths = [len(engine.data.load("pneumoniamnist", part)) for part in PARTS]
    assert lengths == [3882, 524, 624]
    assert np.bincount(engine.data.load("pneumoniamnist").labels).tolist() == [234, 390]


def changed(file: Path, change: Callable[[bytes], bytes], word: int = 0, place: int = 0) -> None:
    """Change the arrays in a ZIP; a word at that place of each entry of its directory says how they are packed."""
    with zipfile.ZipFile(file) as archive:
        members = {name: change(archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    if place:
        data, start = bytearray(file.read_bytes()), -1
        while (start := data.find(b"PK\x01\x02", start + 1)) >= 0:
            data[start + place:start + place + 2] = word.to_bytes(2, "little")
        file.write_bytes(data)


@pytest.mark.parametrize(("harm", "says"), [
    (lambda file: file.write_bytes(file.read_bytes()[:-200]), "damaged or cut off"),
    (lambda file: file.write_bytes(b"nothing"), "damaged or cut off"),
    (lambda file: np.savez(file, test_images=np.zeros((3, 28, 28), np.uint8)), "damaged or cut off"),
    (lambda file: np.savez(file, test_images=np.array([{}]), test_labels=np.zeros((1, 1), np.uint8)), "damaged"),
    (lambda file: np.savez(file, test_images=np.zeros((3, 9, 9), np.uint8), test_labels=np.zeros((3, 1), np.uint8)),
     r"shape \(3, 9, 9\), not \(N, 28, 28\)"),
    (lambda file: np.savez(file, test_images=np.zeros((3, 28, 28), np.uint8), test_labels=np.full((3, 1), 7, np.uint8)),
     "labels that do not belong"),
    (lambda file: np.savez(file, test_images=np.zeros((3, 28, 28), np.uint8), test_labels=np.zeros((4, 1), np.uint8)),
     "labels that do not belong"),
    (lambda file: np.savez_compressed(file, test_images=np.zeros((90_000, 28, 28), np.uint8),
                                      test_labels=np.zeros((1, 1), np.uint8)), "more than was published"),
    (lambda file: changed(file, lambda array: array[:10] + b"(" * (len(array) - 10)), "damaged"),
    (lambda file: changed(file, lambda array: array.replace(b"'descr': '|u1'", b"'descr': '<U99999999'")), "damaged"),
    (lambda file: changed(file, bytes, word=77, place=10), "damaged"),  # packed in an unknown way
    (lambda file: changed(file, bytes, word=1, place=8), "damaged"),  # encrypted
])
def test_a_file_that_is_not_medmnist_is_one_line(harm: Callable[[Path], object], says: str, data: Path) -> None:
    file = data / "pneumoniamnist.npz"
    collected.medmnist(file, (3, 3, 3))
    harm(file)
    with pytest.raises(EngineError, match=says):
        engine.data.load("pneumoniamnist")


@pytest.mark.parametrize("layout", ["rsna", "rsna-pneumonia-detection-challenge", ""])
def test_rsna_with_its_boxes_as_lesions(layout: str, data: Path) -> None:
    file_names = collected.rsna(data / layout, 40)
    assert sum(map(len, parted("rsna"))) == 40
    whole = engine.data.load("rsna", "all")
    assert isinstance(whole, rsna.Rsna) and whole.labels.tolist() == [int(i % 3 == 0) for i in range(40)]
    assert Path(whole.item_name(7)).stem == file_names[7] and whole.image(7).shape == (1, 224, 224)
    two, one = np.zeros((224, 224), bool), np.zeros((224, 224), bool)
    one[56:168, 112:168] = two[56:168, 112:168] = two[:56, :56] = True
    for index, expected in ((0, two), (6, two), (3, one), (9, one)):
        lesion = whole.lesion(index)
        assert lesion is not None and np.array_equal(lesion, expected)
    assert whole.lesion(1) is None and len(whole.boxes(6)) == 2
    assert (whole.detail(0), whole.detail(1)) == ("Lung Opacity", "Normal")
    assert whole.groups(1) == {"Radiologists' class": "Normal"}
    small = engine.data.load("rsna@56", "all").lesion(0)
    # What a shrunk picture becomes is not what its file could hold.
    assert [picture(Source(name, "all", 0)).stored is None for name in ("rsna", "rsna@56")] == [False, True]
    assert small is not None and small.sum() == two.sum() / 16


def test_rsna_counts_what_does_not_belong_together(data: Path) -> None:
    file_names = collected.rsna(data / "rsna", 20)
    images, labels = data / "rsna" / rsna.IMAGES, data / "rsna" / rsna.LABELS
    (images / f"{file_names[0]}.dcm").unlink()
    (images / f"{file_names[1]}.dcm").unlink()
    (images / "nobody.dcm").write_bytes((images / f"{file_names[2]}.dcm").read_bytes())
    (images / f"{file_names[3]}.dcm").write_bytes(b"")
    labels.write_text(labels.read_text() + f"\n../../secret,,,,,0\n{file_names[4]},,,,,9")
    whole = engine.data.load("rsna", "all")
    assert len(whole) == 17 and whole.gaps.without_file == 3 and whole.gaps.without_label == 1
    assert [damaged.reason for damaged in whole.gaps.damaged] == ["it is empty"]


@pytest.mark.parametrize(("text", "says"), [
    ("", "no column patientId"), ("patientId,x\n1,2", "no column Target"), ("patientId,Target\n\"1,2", "no CSV file"),
])
def test_rsna_with_a_table_that_is_none(text: str, says: str, data: Path) -> None:
    collected.rsna(data / "rsna", 3)
    (data / "rsna" / rsna.LABELS).write_text(text)
    with pytest.raises(EngineError, match=says):
        engine.data.load("rsna", "all")


def test_rsna_is_read_as_it_is_asked_for(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collected.rsna(data / "rsna", 30)
    asked: list[Path] = []
    read = files.read_picture
    monkeypatch.setattr(files, "read_picture", lambda path, colour=False: asked.append(path) or read(path, colour))
    whole = engine.data.load("rsna", "all")
    assert whole.digest and not asked
    first = whole.image(3)
    first[:] = 0  # what is handed out is the caller's own
    assert whole.image(3).any() and len(asked) == 1


def test_a_real_image_of_rsna(data_home: Path, data: Path) -> None:
    (real,) = (data_home / "dicom").glob("*.dcm")
    (data / "rsna" / rsna.IMAGES).mkdir(parents=True)
    (data / "rsna" / rsna.IMAGES / "one.dcm").write_bytes(real.read_bytes())
    (data / "rsna" / rsna.LABELS).write_text("patientId,x,y,width,height,Target\none,512,256,256,512,1\n")
    whole = engine.data.load("rsna", "all")
    lesion = whole.lesion(0)
    assert lesion is not None and lesion.sum() == 56 * 112 and lesion[56:168, 112:168].all()  # of 1024 x 1024
    assert whole.image(0).std() > 0.1
    (data / "rsna" / rsna.IMAGES / "one.dcm").write_bytes(real.read_bytes()[:-5000])
    with pytest.raises(EngineError, match=r"damaged.*one\.dcm: it is cut off"):
        engine.data.load("rsna", "all")


@pytest.mark.parametrize(("text", "found"), [
    ("101 101_1.png positive cohen", ("101", "101_1.png", 1)), ("7 SARS-10 a.png negative", ("7", "SARS-10 a.png", 0)),
    ("ANON3 a b c.png Positive sirm", ("ANON3", "a b c.png", 1)), ("", None), ("3 positive", None),
    ("3 a.png maybe cohen", None),
])
def test_a_line_of_covidx(text: str, found: tuple[str, str, int] | None) -> None:
    assert covidx.line(text) == found


@pytest.mark.parametrize("layout", ["covidx", "covidx-cxr2", ""])
def test_covidx_as_published(layout: str, data: Path) -> None:
    collected.covidx(data / layout, 30)
    assert sum(map(len, parted("covidx-cxr2"))) == 66
    official = engine.data.load("covidx-cxr2", "official-test")
    assert np.bincount(official.labels).tolist() == [3, 3] and official.classes == ("No COVID-19", "COVID-19")
    assert all(("positive" in name) == bool(label) for name, label in
               zip(names(official), official.labels, strict=True))
    (data / layout / "train" / "positive_train_0.png").unlink()
    collected.save(data / layout / "test" / "nobody.png", collected.noise(1))
    covidx._listing.cache_clear()
    gaps = engine.data.load("covidx-cxr2", "all").gaps
    assert (gaps.without_file, gaps.without_label) == (1, 1)


def test_covidx_with_kermany_as_the_paper_put_them_together(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covidx, "EACH", 20)
    collected.covidx(data / "covidx", 30)
    assert "kermany" in (DATASETS["covidx"].missing() or "")
    collected.kermany(data / "chest_xray", 40)
    assert DATASETS["covidx"].missing() is None
    assert sum(map(len, parted("covidx"))) == 60
    whole = engine.data.load("covidx", "all")
    assert whole.classes == ("Normal", "Pneumonia", "COVID-19") and np.bincount(whole.labels).tolist() == [20] * 3
    assert all(("/NORMAL/", "/PNEUMONIA/", "/positive")[label] in name
               for name, label in zip(names(whole), whole.labels, strict=True))
    train, test = (set(names(engine.data.load("covidx", f"paper-{part}"))) for part in ("train", "test"))
    assert len(train) == 48 and len(test) == 12 and not train & test
    fit = [set(names(engine.data.load("covidx", f"paper-fit-{part}"))) for part in PARTS]
    assert fit[0] | fit[1] == train and fit[2] == test and len(fit[1]) == 6


def test_the_papers_three_classes_have_the_papers_counts() -> None:
    schemes = covidx.SCHEMES
    items = [Item(Path(f"{label}-{i}.png"), label, "") for label in range(3) for i in range(covidx.EACH)]
    counts = {name: Counter(schemes[name].part(items)) for name in ("paper", "paper-fit")}
    assert counts == {"paper": {"train": 3600, "test": 900},
                      "paper-fit": {"train": 3240, "validation": 360, "test": 900}}


@pytest.mark.parametrize("layout", ["sars-cov-2-ct", "SARS-COV-2-Ct-Scan", ""])
def test_sars_cov_2_ct(layout: str, data: Path) -> None:
    for label, title in (("COVID", "Covid"), ("non-COVID", "Non-Covid")):
        for i in range(20):
            collected.save(data / layout / label / f"{title} ({i}).png", collected.noise(i))
    parts = [engine.data.load("sars-cov-2-ct", part) for part in PARTS]
    assert [np.bincount(part.labels).tolist() for part in parts] == [[16, 16], [2, 2], [2, 2]]
    assert all(("non-COVID" in name) == (label == 0) for part in parts
               for name, label in zip(names(part), part.labels, strict=True))
    assert groups(parts[0]) == set()  # the names say nothing of patients
