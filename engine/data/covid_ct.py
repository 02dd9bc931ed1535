"""Lung CT slices of Yang, He et al. (arXiv:2003.13865): with and without COVID-19."""

import re
from functools import cache
from pathlib import Path

from engine.data import splits
from engine.data.base import DATASETS, Dataset, DatasetEntry, DatasetInfo
from engine.data.files import FileDataset, find_layout, image_files, not_here

FOLDERS = ("CT_NonCOVID", "CT_COVID")
# The layouts of a plain copy and of the original repository, whose pictures lie in Images-processed/.
LAYOUTS = ("covid-ct", "Images-processed", *(f"{top}{below}" for top in ("COVID-CT", "COVID-CT-master", "covid-ct")
                                             for below in ("", "/Images-processed")))

INFO = DatasetInfo(
    name="covid-ct",
    title="COVID-CT lung slices",
    sentence="746 real lung CT slices cut from papers and teaching cases, with or without COVID-19.",
    classes=("No COVID-19", "COVID-19"),
    splits={
        "train": "80 %, whole papers together as far as file names tell; slices of one figure are never parted.",
        "validation": "10 % by paper, for choosing the epoch.",
        "test": "10 % by paper, never trained on.",
        "random-train": "80 % of all slices drawn at random, as in the papers; one patient may be in several parts.",
        "random-validation": "10 % of all slices drawn at random.",
        "random-test": "10 % of all slices drawn at random.",
    },
    source="Yang, He et al. 2020, arXiv:2003.13865",
    terms="research use",
)


def paper(file_name: str) -> str:
    """The paper or case a slice was cut from, by its name.

    '2020.02.10.20021584-p6-52%3.png' -> '2020.02.10.20021584', '1%0.jpg' -> '1'. Neighbouring numbers
    ('1058.png', '1059.png') may be one patient too; the names do not say.
    """
    stem = Path(file_name).stem.partition("%")[0]
    return re.sub(r"-p\d+-\d+$", "", stem)


def find() -> Path | None:
    """The folder with CT_COVID/ and CT_NonCOVID/ at or below PERTURBSCOPE_DATA, or None."""
    return find_layout(LAYOUTS, FOLDERS)


@cache
def _listing(root: Path) -> tuple[tuple[Path, int], ...]:
    return tuple((path, label) for label, folder in enumerate(FOLDERS) for path in image_files(root / folder))


def _open(split: str) -> Dataset:
    root = find()
    assert root is not None  # DatasetEntry.load asks missing() first
    files = _listing(root)
    scheme, _, part = split.rpartition("-")
    groups = [path.name if scheme == "random" else paper(path.name) for path, _ in files]
    drawn = splits.draw_by_class(groups, [label for _, label in files])
    chosen = [f for f, p in zip(files, drawn, strict=True) if p == part]
    return FileDataset(INFO, split, [f[0] for f in chosen], [f[1] for f in chosen], root)


def _missing() -> str | None:
    if find() is not None:
        return None
    return not_here("covid-ct is not here: download it (github.com/UCSD-AI4H/COVID-CT), unpack CT_COVID and "
                    "CT_NonCOVID and set PERTURBSCOPE_DATA to the folder that holds them")


DATASETS.add(INFO.name, DatasetEntry(INFO, _open, _missing))
