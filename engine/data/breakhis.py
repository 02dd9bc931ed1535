"""Histology tiles of breast tumours of Spanhol et al. (IEEE TBME 2016), in colour, at four magnifications."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from engine.data.base import DatasetInfo
from engine.data.collection import Collection, Item, Listing, at_random, counted, grouped, whole
from engine.data.files import FileDataset, find_layout, images_below

CLASSES = ("benign", "malignant")
MAGNIFICATIONS = (40, 100, 200, 400)
TREE = "histology_slides/breast"
PLACES = ("BreaKHis_v1", "BreaKHis_v1/BreaKHis_v1", "breakhis", "breakhis/BreaKHis_v1",
          *(f"breakhis-{zoom}x" for zoom in MAGNIFICATIONS))
LAYOUTS = (TREE, *(f"{place}{below}" for place in PLACES for below in (f"/{TREE}", "")))
# SOB_M_DC-14-17614-400-014.png: biopsy, class, kind of tumour, year, slide, magnification, number.
NAME = re.compile(r"SOB_([BM])_([A-Z]+)-(\d+-\d+)[A-Z]*-(40|100|200|400)-\d+", re.IGNORECASE)

INFO = DatasetInfo(
    name="breakhis",
    title="BreakHis histology (breast tumours)",
    sentence="Colour microscope tiles of 82 breast tumours, benign or malignant; 7,909 when it is complete.",
    classes=("Benign", "Malignant"),
    splits={},
    source="Spanhol, Oliveira, Petitjean, Heutte, IEEE Trans. Biomed. Eng. 63 (2016), doi:10.1109/TBME.2015.2496264",
    terms="CC BY 4.0 as the benchmark kaiko-ai/eva lists it; what its publisher's page says goes before that",
    modality="histology, H&E, RGB",
    obtain="download BreaKHis_v1.tar.gz (web.inf.ufpr.br/vri/databases-software/"
           "breast-cancer-histopathological-database-breakhis) and unpack it",
    layouts=(f"BreaKHis_v1/{TREE}/benign,malignant/SOB/TYPE/SLIDE/MAGNIFICATION/*.png",
             "breakhis/benign,malignant/*.png", "breakhis-400x/train,test/benign,malignant/*.png"),
    grouping="by slide's number, which is the patient: 14-22549AB and 14-22549CD are one",
)


def slide(file_name: str) -> str:
    """The slide's number in a file name, 'SOB_B_TA-14-16184CD-400-024.png' -> '14-16184'; else the name."""
    match = NAME.match(file_name)
    return match[3] if match else file_name


def find() -> Path | None:
    """The folder with benign/ and malignant/, or with these in train/ and test/, at or below PERTURBSCOPE_DATA, or
    None."""
    return find_layout(LAYOUTS, CLASSES) or find_layout(
        LAYOUTS, (f"{part}/{name}" for part in ("train", "test") for name in CLASSES))


@cache
def _listing(root: Path) -> Listing:
    """Every tile, with the class in its name, or else the folder's."""
    folders = [(root / part / name, label) for part in ("", "train", "test") for label, name in enumerate(CLASSES)]
    items = []
    for folder, label in folders:
        for path in images_below(folder):
            named = NAME.match(path.name)
            items.append(Item(path, "BM".index(named[1].upper()) if named else label, slide(path.name)))
    return Listing(tuple(items))


class Tiles(FileDataset):
    """The tiles, of which the file names tell the kind of tumour and the magnification."""

    def groups(self, index: int) -> Mapping[str, str]:
        named = NAME.match(self.paths[index].name)
        return {"Kind of tumour": named[2].upper(), "Magnification": named[4]} if named else {}


def _at(zoom: int | None) -> Callable[[Path], Listing]:
    """The listing of one magnification's tiles, or of all."""
    def listing(root: Path) -> Listing:
        found = _listing(root)
        return replace(found, items=tuple(i for i in found.items if zoom in (None, _zoom_of(i))))

    return listing


def _zoom_of(item: Item) -> int:
    named = NAME.match(item.path.name)
    return int(named[4]) if named else 0


def _in_paper(item: Item) -> bool:
    """Whether a tile is of those that the paper seems to have taken: it does not say which, and its 644 benign and 903
    malignant ones are as many as there are, at 100x, benign ones and ductal carcinomas."""
    named = NAME.match(item.path.name)
    return bool(named and named[4] == "100" and (item.label == 0 or named[2].upper() == "DC"))


SCHEMES = {"": grouped("patients"), "random": at_random()}
PAPER = {
    "paper": counted({"train": (515, 722), "validation": (64, 90), "test": (65, 91)},
                     "Yang 2024, table 3-2, whose sums are those of all benign tiles and the ductal carcinomas at 100x",
                     _in_paper),
    "paper-blackbox": counted({"train": (515, 722), "test": (129, 181)},
                              "Yang 2024, table 5-1, of the same tiles", _in_paper),
}

for _zoom in (None, *MAGNIFICATIONS):
    _named = INFO if _zoom is None else replace(
        INFO, name=f"breakhis-{_zoom}x", title=f"BreakHis histology, {_zoom}x",
        sentence=f"Colour microscope tiles of breast tumours at a magnification of {_zoom}, benign or malignant.")
    Collection(_named, find, _at(_zoom),
               {**SCHEMES, **(PAPER if _zoom in (None, 100) else {}), "all": whole()}, colour=True,
               opened=Tiles).register()
