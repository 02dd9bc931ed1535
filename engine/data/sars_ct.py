"""Lung CT slices of Soares, Angelov et al. 2020: with and without SARS-CoV-2."""

from functools import cache
from pathlib import Path

from engine.data import splits
from engine.data.base import DatasetInfo
from engine.data.collection import Collection, Item, Listing, Scheme, whole
from engine.data.files import find_layout, image_files

FOLDERS = ("non-COVID", "COVID")
LAYOUTS = ("sars-cov-2-ct", "sars-cov-2-ct-scan", "SARS-COV-2-Ct-Scan", "SARS-COV-2 Ct-Scan", "sarscov2-ctscan-dataset")

INFO = DatasetInfo(
    name="sars-cov-2-ct",
    title="SARS-CoV-2 lung CT slices (Sao Paulo)",
    sentence="2,482 real lung CT slices of patients in hospitals of Sao Paulo, infected with SARS-CoV-2 or not.",
    classes=("No COVID-19", "COVID-19"),
    splits={},
    source="Soares, Angelov, Biaso, Higa Froes, Kanda Abe 2020, medRxiv doi:10.1101/2020.04.24.20078584",
    terms="CC BY-NC-SA 4.0",
    modality="CT of the lungs (slices as pictures)",
    obtain="download it (kaggle.com/datasets/plameneduardo/sarscov2-ctscan-dataset) and unpack it",
    layouts=("sars-cov-2-ct/COVID,non-COVID/", "SARS-COV-2-Ct-Scan/COVID,non-COVID/", "COVID,non-COVID/"),
    grouping="none: the files do not name patients, so that one may be in several parts",
)


def find() -> Path | None:
    """The folder with COVID/ and non-COVID/ at or below PERTURBSCOPE_DATA, or None."""
    return find_layout(LAYOUTS, FOLDERS)


@cache
def _listing(root: Path) -> Listing:
    return Listing(tuple(Item(path, label, "") for label, folder in enumerate(FOLDERS)
                         for path in image_files(root / folder)))


Collection(INFO, find, _listing, {
    "": Scheme({
        "train": "80 % of each class, drawn by slice: no file names its patient, who may be in several parts.",
        "validation": "10 % of each class by slice, for choosing the epoch.",
        "test": "10 % of each class by slice; slices of patients that were trained on may be among them.",
    }, lambda items: splits.draw_by_class([i.path.name for i in items], [i.label for i in items])),
    "all": whole(),
}).register()
