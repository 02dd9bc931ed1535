"""Paediatric chest X-rays of Kermany et al., Cell 172 (2018): normal and pneumonia."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from engine.data import splits
from engine.data.base import DatasetInfo
from engine.data.collection import Collection, Item, Listing, Scheme, counted, published
from engine.data.files import FileDataset, find_layout, image_files
from engine.data.remote import Remote

FOLDERS = ("NORMAL", "PNEUMONIA")
# The layouts of the original download (the Mendeley archive and its Kaggle copy) and of a 224 x 224 copy.
LAYOUTS = ("kermany-224", "kermany", "chest_xray", "ChestXRay2017/chest_xray", "chest_xray/chest_xray")

INFO = DatasetInfo(
    name="kermany",
    title="Kermany chest X-rays (children)",
    sentence="5,840 real chest X-rays of children aged one to five, normal or with pneumonia.",
    classes=("Normal", "Pneumonia"),
    splits={},
    source="Kermany et al., Cell 172 (2018), Mendeley Data doi:10.17632/rscbjbr9sj",
    terms="CC BY 4.0",
    modality="radiograph of the chest (children, AP)",
    population="children",
    obtain="download it (doi:10.17632/rscbjbr9sj) and unpack it",
    layouts=("chest_xray/train,test/NORMAL,PNEUMONIA/", "kermany-224/train,test/NORMAL,PNEUMONIA/",
             "kermany/train,test/NORMAL,PNEUMONIA/", "ChestXRay2017/chest_xray/..."),
    grouping="by the patient in the file's name (person12, IM-0023)",
    remote=Remote(
        "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/f12eaf6d-6023-432f-acc9-80c9d7393433/"
        "file_downloaded",
        "ChestXRay2017.zip", "sha256:13efc055629733dbab07877f8b3c9f81097840dbcdaa326a8542322c2281ce36",
        1_235_512_464, "chest_xray"),
)


def patient(file_name: str) -> str:
    """The patient a file name carries: 'person12_virus_3.jpeg' -> 'person12', 'IM-0023-0001.jpeg' -> 'IM-0023'."""
    if match := re.match(r"(person\d+|(?:NORMAL2-)?IM-\d+)", file_name):
        return match.group(1)
    return Path(file_name).stem


def cause(file_name: str) -> str:
    """The cause of a pneumonia that a file name tells: "bacteria", "virus", or ""."""
    match = re.search(r"_(bacteria|virus)_", file_name)
    return match.group(1) if match else ""


class Kermany(FileDataset):
    """The X-rays, of whose pneumonias the file names tell the cause."""

    def groups(self, index: int) -> Mapping[str, str]:
        name = cause(self.paths[index].name)
        return {"Cause of the pneumonia": name} if name else {}


def find() -> Path | None:
    """The folder with train/ and test/ below PERTURBSCOPE_DATA (or that folder itself), or None."""
    return find_layout(LAYOUTS, (f"{part}/{folder}" for part in ("train", "test") for folder in FOLDERS))


@cache
def _listing(root: Path) -> Listing:
    """Every file with its label and published part."""
    return Listing(tuple(
        Item(path, label, patient(path.name), part)
        for part in ("train", "test")
        for label, folder in enumerate(FOLDERS)
        for path in image_files(root / part / folder)
    ))


def _by_patient(items: Sequence[Item]) -> list[str]:
    """The official training folder parted by patient; the test folder is none of it."""
    pool = [item for item in items if item.part == "train"]
    drawn = iter(splits.draw([item.group for item in pool]))
    return [next(drawn) if item.part == "train" else "" for item in items]


KERMANY = Collection(INFO, find, _listing, {
    "": Scheme({
        "train": "Patient-level 80 %: no child of the test part is in it. Drawn from the official training folder.",
        "validation": "Patient-level 10 %, for choosing the epoch.",
        "test": "Patient-level 10 %, never trained on.",
    }, _by_patient),
    "official": published(train="The training folder as published.",
                          test="The test folder as published; darker, differently selected and harder."),
    "random": Scheme({
        "train": "80 % of all images drawn at random, as in the papers; children may be in several parts.",
        "validation": "10 % of all images drawn at random.",
        "test": "10 % of all images drawn at random.",
    }, lambda items: splits.draw([item.path.name for item in items])),
    "paper": counted({"train": (1264, 3376), "validation": (158, 422), "test": (158, 422)}, "Yang 2024, table 3-2"),
    "paper-blackbox": counted({"train": (1264, 3376), "test": (316, 844)}, "Yang 2024, table 5-1"),
}, opened=Kermany)
KERMANY.register()
