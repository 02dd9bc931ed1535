"""Paediatric chest X-rays of Kermany et al., Cell 172 (2018): normal and pneumonia."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from engine.data import splits
from engine.data.base import DATASETS, Dataset, DatasetEntry, DatasetInfo
from engine.data.files import FileDataset, find_layout, image_files, not_here

FOLDERS = ("NORMAL", "PNEUMONIA")
# The layouts of the original download (the Mendeley archive and its Kaggle copy) and of a 224 x 224 copy.
LAYOUTS = ("kermany-224", "kermany", "chest_xray", "ChestXRay2017/chest_xray", "chest_xray/chest_xray")

INFO = DatasetInfo(
    name="kermany",
    title="Kermany chest X-rays (children)",
    sentence="5,840 real chest X-rays of children aged one to five, normal or with pneumonia.",
    classes=("Normal", "Pneumonia"),
    splits={
        "train": "Patient-level 80 %: no child of the test part is in it. Drawn from the official training folder.",
        "validation": "Patient-level 10 %, for choosing the epoch.",
        "test": "Patient-level 10 %, never trained on.",
        "official-train": "The training folder as published.",
        "official-test": "The test folder as published; darker, differently selected and harder.",
        "random-train": "80 % of all images drawn at random, as in the papers; children may be in several parts.",
        "random-validation": "10 % of all images drawn at random.",
        "random-test": "10 % of all images drawn at random.",
    },
    source="Kermany et al., Cell 172 (2018), Mendeley Data doi:10.17632/rscbjbr9sj",
    terms="CC BY 4.0",
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
def _listing(root: Path) -> tuple[tuple[Path, int, str], ...]:
    """Every file with its label and published part."""
    return tuple(
        (path, label, part)
        for part in ("train", "test")
        for label, folder in enumerate(FOLDERS)
        for path in image_files(root / part / folder)
    )


def _open(split: str) -> Dataset:
    root = find()
    assert root is not None  # DatasetEntry.load asks missing() first
    files = _listing(root)
    scheme, _, part = split.rpartition("-")
    if scheme == "official":
        chosen = [f for f in files if f[2] == part]
    else:
        pool = [f for f in files if f[2] == "train"] if scheme == "" else list(files)
        groups = [patient(f[0].name) if scheme == "" else f[0].name for f in pool]
        chosen = [f for f, drawn in zip(pool, splits.draw(groups), strict=True) if drawn == part]
    return Kermany(INFO, split, [f[0] for f in chosen], [f[1] for f in chosen], root)


def _missing() -> str | None:
    if find() is not None:
        return None
    return not_here("kermany is not here: download it (doi:10.17632/rscbjbr9sj), unpack it and set PERTURBSCOPE_DATA "
                    "to the folder that holds chest_xray/")


DATASETS.add(INFO.name, DatasetEntry(INFO, _open, _missing))
