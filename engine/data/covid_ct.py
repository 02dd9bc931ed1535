"""Lung CT slices of Yang, He et al. (arXiv:2003.13865): with and without COVID-19."""

import re
from functools import cache
from pathlib import Path

from engine.data import splits
from engine.data.base import DatasetInfo
from engine.data.collection import Collection, Item, Listing, Scheme, counted
from engine.data.files import find_layout, image_files

FOLDERS = ("CT_NonCOVID", "CT_COVID")
# The layouts of a plain copy and of the original repository, whose pictures lie in Images-processed/.
LAYOUTS = ("covid-ct", "Images-processed", *(f"{top}{below}" for top in ("COVID-CT", "COVID-CT-master", "covid-ct")
                                             for below in ("", "/Images-processed")))

INFO = DatasetInfo(
    name="covid-ct",
    title="COVID-CT lung slices",
    sentence="746 real lung CT slices cut from papers and teaching cases, with or without COVID-19.",
    classes=("No COVID-19", "COVID-19"),
    splits={},
    source="Yang, He et al. 2020, arXiv:2003.13865",
    terms="no licence is known here: its pictures come from papers with terms of their own; look at "
          "github.com/UCSD-AI4H/COVID-CT before you use it for more than research",
    modality="CT of the lungs (slices as printed)",
    obtain="download it (github.com/UCSD-AI4H/COVID-CT) and unpack CT_COVID and CT_NonCOVID",
    layouts=("covid-ct/CT_COVID,CT_NonCOVID/", "COVID-CT/Images-processed/CT_COVID,CT_NonCOVID/",
             "Images-processed/CT_COVID,CT_NonCOVID/"),
    grouping="by the paper or case in the file's name; some patients may hide in several",
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
def _listing(root: Path) -> Listing:
    return Listing(tuple(Item(path, label, paper(path.name)) for label, folder in enumerate(FOLDERS)
                         for path in image_files(root / folder)))


Collection(INFO, find, _listing, {
    "": Scheme({
        "train": "80 %, whole papers together as far as file names tell; slices of one figure are never parted.",
        "validation": "10 % by paper, for choosing the epoch.",
        "test": "10 % by paper, never trained on.",
    }, lambda items: splits.draw_by_class([i.group for i in items], [i.label for i in items])),
    "random": Scheme({
        "train": "80 % of all slices drawn at random, as in the papers; one patient may be in several parts.",
        "validation": "10 % of all slices drawn at random.",
        "test": "10 % of all slices drawn at random.",
    }, lambda items: splits.draw_by_class([i.path.name for i in items], [i.label for i in items])),
    "paper": counted({"train": (317, 279), "validation": (40, 35), "test": (40, 35)}, "Yang 2024, table 3-2"),
    "paper-blackbox": counted({"train": (238, 209), "test": (159, 140)}, "Yang 2024, table 5-1"),
}).register()
