"""The RSNA Pneumonia Detection Challenge of 2018: chest radiographs as DICOM, with boxes around the opacities."""

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from engine.data import boxes
from engine.data.base import DatasetInfo
from engine.data.boxes import Box
from engine.data.collection import Collection, Item, Listing, at_random, counted, grouped, whole
from engine.data.files import DICOM, FileDataset, find_layout
from engine.data.tables import numbers, rows
from engine.errors import EngineError

IMAGES, LABELS, DETAILS = "stage_2_train_images", "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
LAYOUTS = ("rsna", "rsna-pneumonia-detection-challenge", "rsna-pneumonia", "RSNA")

INFO = DatasetInfo(
    name="rsna",
    title="RSNA pneumonia challenge (adults)",
    sentence="26,684 real chest X-rays of adults, with or without an opacity that suggests pneumonia, which is boxed.",
    classes=("No pneumonia", "Pneumonia"),
    splits={},
    source="Shih, Wu, Halabi et al., Radiology: Artificial Intelligence 1 (2019), doi:10.1148/ryai.2019180041",
    terms="free for academic, commercial and other use with attribution, as rsna.org says of the RSNA Pneumonia "
          "Detection Challenge (2018); by Kaggle its competition's rules",
    modality="radiograph of the chest (CR, DICOM)",
    obtain="download it (kaggle.com/c/rsna-pneumonia-detection-challenge) and unpack it",
    layouts=(f"rsna/{IMAGES}/*.dcm, {LABELS}, {DETAILS}",
             f"rsna-pneumonia-detection-challenge/{IMAGES}/*.dcm, ..."),
    grouping="by the challenge's patientId, which every image has one of its own",
)


@dataclass(frozen=True)
class Labels:
    """What the tables say, by patientId: 0 or 1, the boxes, and which of three kinds it is."""

    targets: Mapping[str, int]
    boxes: Mapping[str, tuple[Box, ...]]
    details: Mapping[str, str]


class Rsna(FileDataset):
    """The challenge's images; its boxes are what marks the lesion."""

    def boxes(self, index: int) -> tuple[Box, ...]:
        """The boxes of image `index`, in the pixels of its file."""
        return _labels(self.root).boxes.get(self.paths[index].stem, ())

    def detail(self, index: int) -> str:
        """"Normal", "Lung Opacity", "No Lung Opacity / Not Normal", or "" where the table is missing."""
        return _labels(self.root).details.get(self.paths[index].stem, "")

    def groups(self, index: int) -> Mapping[str, str]:
        return {"Radiologists' class": detail} if (detail := self.detail(index)) else {}

    def lesion(self, index: int) -> np.ndarray | None:
        found = self.boxes(index)
        return boxes.mask(found, *_size(self.paths[index])) if found else None


def _size(path: Path) -> tuple[int, int]:
    """A DICOM picture's width and height; raises EngineError."""
    from engine.data.dicom import picture_size  # pydicom takes a while to import

    return picture_size(path)


def find() -> Path | None:
    """The folder with the images and their labels at or below PERTURBSCOPE_DATA, or None."""
    root = find_layout(LAYOUTS, (IMAGES,))
    return root if root and os.path.isfile(root / LABELS) else None


@cache
def _labels(root: Path) -> Labels:
    targets: dict[str, int] = {}
    found: dict[str, list[Box]] = defaultdict(list)
    for row in rows(root / LABELS, ("patientId", "Target")):
        name = row["patientid"]
        if row["target"] not in ("0", "1"):
            continue  # counted as a file without a label
        targets[name] = max(targets.get(name, 0), int(row["target"]))
        cells = [row.get(side, "") for side in ("x", "y", "width", "height")]
        if row["target"] == "1" and (box := numbers(cells)):
            found[name].append(Box(*box))
    details = {}
    if os.path.isfile(root / DETAILS):
        details = {row["patientid"]: row["class"] for row in rows(root / DETAILS, ("patientId", "class"))}
    return Labels(targets, {name: tuple(dict.fromkeys(each)) for name, each in found.items()}, details)


@cache
def _listing(root: Path) -> Listing:
    """Every image with a label, without a look into any: there are 26,684."""
    targets = _labels(root).targets
    try:
        names = sorted(name.removesuffix(DICOM) for name in os.listdir(root / IMAGES)
                       if name.endswith(DICOM) and not name.startswith("."))
    except OSError as error:
        raise EngineError(f"{IMAGES} cannot be read ({error.strerror}); change its permissions") from None
    items = tuple(Item(root / IMAGES / f"{name}{DICOM}", targets[name], name) for name in names if name in targets)
    return Listing(items, without_file=len(targets) - len(items), without_label=len(names) - len(items))


Collection(INFO, find, _listing, {
    "": grouped("patients"),
    "paper": counted({"train": (18593, 5407), "test": (2079, 605)},
                     "the PwP report of Khandelwal, Karthikeyan et al., 24,000 and 2,684"),
    "random": at_random(),
    "all": whole(),
}, opened=Rsna).register()
