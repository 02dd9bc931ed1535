"""COVIDx CXR-2 (Wang et al. 2020, Pavlova et al. 2021): chest X-rays with and without COVID-19; alone, and as a paper
put them together with those of Kermany."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

from engine.data import kermany, splits
from engine.data.base import DatasetInfo
from engine.data.collection import Collection, Item, Listing, at_random, counted, grouped, published, whole
from engine.data.files import SUFFIXES, data_home, find_layout
from engine.errors import EngineError

LAYOUTS = ("covidx", "covidx-cxr2", "covidx-cxr-2", "COVIDx-CXR2", "COVIDx_CXR-2", "COVIDx")
PARTS = ("train", "test")
LABELS = ("negative", "positive")
EACH = 1500  # images of a class, in the paper

CXR2 = DatasetInfo(
    name="covidx-cxr2",
    title="COVIDx CXR-2 (chest X-rays, COVID-19 or not)",
    sentence="Real chest X-rays of some 15,000 patients from many sources, with or without COVID-19.",
    classes=("No COVID-19", "COVID-19"),
    splits={},
    source="Wang, Lin, Wong, Scientific Reports 10 (2020), doi:10.1038/s41598-020-76550-z; "
           "Pavlova et al. 2021, arXiv:2105.06640",
    terms="no licence for the whole is known here: each of its sources has its own (they are named in "
          "github.com/lindawangg/COVID-Net, docs/COVIDx.md); look there and at its Kaggle page",
    modality="radiograph of the chest",
    obtain="download it (kaggle.com/datasets/andyczhao/covidx-cxr2, version 2) and unpack it",
    layouts=("covidx/train,test/* with train.txt, test.txt", "covidx-cxr2/train,test/* with train.txt, test.txt"),
    grouping="by the patient in train.txt and test.txt",
)

INFO = DatasetInfo(
    name="covidx",
    title="COVIDx CXR-2 and Kermany (chest X-rays, three classes)",
    sentence="1,500 real chest X-rays each: normal and pneumonia of Kermany's children, COVID-19 of COVIDx's adults; "
             "their ages and sources, too, tell them apart.",
    classes=("Normal", "Pneumonia", "COVID-19"),
    splits={},
    source=f"{CXR2.source}; {kermany.INFO.source}",
    terms=f"{CXR2.terms}; Kermany: {kermany.INFO.terms}",
    modality=CXR2.modality,
    obtain=f"{CXR2.obtain}, and beside it kermany: {kermany.INFO.obtain}",
    layouts=(*CXR2.layouts, *kermany.INFO.layouts),
    grouping=f"{CXR2.grouping}; of Kermany {kermany.INFO.grouping}",
)


def find() -> Path | None:
    """The folder with train/, test/ and what they are at or below PERTURBSCOPE_DATA, or None."""
    root = find_layout(LAYOUTS, PARTS)
    return root if root and all(os.path.isfile(root / f"{part}.txt") for part in PARTS) else None


def line(text: str) -> tuple[str, str, int] | None:
    """Patient, file and class of a line such as '101 CXR 101_1.png positive cohen', or None where it is none."""
    words = text.split()
    # The source stands last where it is given; files may have spaces in their names.
    place = next((i for i in (len(words) - 2, len(words) - 1) if i >= 2 and words[i].lower() in LABELS), None)
    return None if place is None else (words[0], " ".join(words[1:place]), LABELS.index(words[place].lower()))


@cache
def _listing(root: Path) -> Listing:
    items, without_file, without_label = [], 0, 0
    for part in PARTS:
        files = _files(root / part)
        lines = [found for text in _lines(root / f"{part}.txt") if (found := line(text))]
        there = {file: (patient, label) for patient, file, label in lines if file in files}
        items += [Item(root / part / file, label, patient, part) for file, (patient, label) in sorted(there.items())]
        without_file += len({file for _, file, _ in lines}) - len(there)
        without_label += len(files) - len(there)
    return Listing(tuple(items), without_file, without_label)


def _files(folder: Path) -> set[str]:
    try:
        return {name for name in os.listdir(folder) if os.path.splitext(name)[1].lower() in SUFFIXES}
    except OSError as error:
        raise EngineError(f"the folder '{folder}' cannot be read ({error.strerror}); change its permissions") from None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"{path.name} cannot be read as text ({error}); download it again") from None


def _home() -> Path | None:
    """PERTURBSCOPE_DATA where both COVIDx and Kermany are in it, or None."""
    return data_home() if find() and kermany.find() else None


@cache
def _three(home: Path) -> Listing:
    """1,500 images each, the same on every machine: normal ones and pneumonias of Kermany, COVID-19 of COVIDx."""
    covidx, children = find(), kermany.find()
    assert covidx is not None and children is not None  # DatasetEntry.load asks missing() first
    found = _listing(covidx)
    items = [*(replace(item, group=f"kermany {item.group}") for item in kermany.KERMANY.listing(children).items),
             *(replace(item, label=2) for item in found.items if item.label == 1)]
    drawn = splits.counted([item.path.name for item in items], [item.label for item in items], {"taken": [EACH] * 3})
    return replace(found, items=tuple(item for item, part in zip(items, drawn, strict=True) if part == "taken"))


_PAPER = "the report on attacks without a sign, section 4"
SCHEMES = {
    "": grouped("patients"),
    "paper": counted({"train": [1200] * 3, "test": [300] * 3}, f"{_PAPER}, 3,600 and 900"),
    "paper-fit": counted({"train": [1080] * 3, "validation": [120] * 3, "test": [300] * 3},
                         f"{_PAPER}, where a tenth of the 3,600 is for validation"),
    "random": at_random(),
    "all": whole(),
}
Collection(INFO, _home, _three, SCHEMES).register()

Collection(CXR2, find, _listing, {
    "": grouped("patients"),
    "official": published(train="What train.txt lists.", test="What test.txt lists, 200 of each class."),
    "random": at_random(),
    "all": whole(),
}).register()
