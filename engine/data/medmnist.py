"""MedMNIST and MedMNIST+ (Yang et al. 2023): the twelve 2-D sets, from their .npz files, in four sizes."""

import os
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from engine import digest
from engine.data.base import DATASETS, Dataset, DatasetEntry, DatasetInfo
from engine.data.files import data_home, not_here
from engine.data.remote import Remote
from engine.disk import advice, read_array, replacing
from engine.errors import EngineError
from engine.home import home

SIDES = (28, 64, 128, 224)
PLACES = ("medmnist", ".", "MedMNIST", ".medmnist")
PARTS = {"train": "train", "validation": "val", "test": "test"}
IN_MEMORY = 64 * 2**20  # bytes of a split's pictures; more are unpacked to the disk, and read from there as asked for
_HEADER = 4096  # bytes that an array may have before its values
SENTENCES = {"train": "The {:,} pictures published as train.",
             "validation": "The {:,} published as val, for choosing the epoch.",
             "test": "The {:,} published as test."}


@dataclass(frozen=True)
class Facts:
    """What its authors say of one set: counts are those of train, val and test."""

    title: str
    of: str
    modality: str
    classes: tuple[str, ...]
    counts: tuple[int, int, int]
    colour: bool = False
    terms: str = "CC BY 4.0"
    population: str = ""
    findings: tuple[str, ...] = ()


_ORGANS = ("Bladder", "Femur left", "Femur right", "Heart", "Kidney left", "Kidney right", "Liver", "Lung left",
           "Lung right", "Pancreas", "Spleen")
FINDINGS = ("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
            "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia")

SETS = {
    "pneumoniamnist": Facts("PneumoniaMNIST (chest X-rays of children)", "chest X-rays of children",
                            "radiograph of the chest", ("Normal", "Pneumonia"), (4708, 524, 624),
                            population="children"),
    "breastmnist": Facts("BreastMNIST (breast ultrasound)", "ultrasound pictures of the breast", "ultrasound",
                         ("Malignant", "Normal or benign"), (546, 78, 156)),
    "pathmnist": Facts("PathMNIST (colon histology)", "tiles of colorectal tissue", "histology, H&E, RGB",
                       ("Adipose", "Background", "Debris", "Lymphocytes", "Mucus", "Smooth muscle",
                        "Normal colon mucosa", "Cancer-associated stroma", "Colorectal adenocarcinoma epithelium"),
                       (89996, 10004, 7180), colour=True),
    "dermamnist": Facts("DermaMNIST (skin lesions)", "dermatoscopic pictures of skin lesions", "dermatoscopy, RGB",
                        ("Actinic keratoses and intraepithelial carcinoma", "Basal cell carcinoma",
                         "Benign keratosis-like lesions", "Dermatofibroma", "Melanoma", "Melanocytic nevi",
                         "Vascular lesions"), (7007, 1003, 2005), colour=True, terms="CC BY-NC 4.0"),
    "octmnist": Facts("OCTMNIST (retinal OCT)", "sections of the retina", "optical coherence tomography",
                      ("Choroidal neovascularization", "Diabetic macular edema", "Drusen", "Normal"),
                      (97477, 10832, 1000)),
    "retinamnist": Facts("RetinaMNIST (fundus, diabetic retinopathy)", "fundus pictures graded 0 to 4",
                         "fundus photograph, RGB", ("Grade 0", "Grade 1", "Grade 2", "Grade 3", "Grade 4"),
                         (1080, 120, 400), colour=True),
    "bloodmnist": Facts("BloodMNIST (blood cells)", "blood cells under the microscope", "microscopy, RGB",
                        ("Basophil", "Eosinophil", "Erythroblast", "Immature granulocytes", "Lymphocyte", "Monocyte",
                         "Neutrophil", "Platelet"), (11959, 1712, 3421), colour=True),
    "tissuemnist": Facts("TissueMNIST (kidney cortex cells)", "kidney cells under the microscope", "microscopy",
                         ("Collecting duct, connecting tubule", "Distal convoluted tubule",
                          "Glomerular endothelial cells", "Interstitial endothelial cells", "Leukocytes", "Podocytes",
                          "Proximal tubule segments", "Thick ascending limb"), (165466, 23640, 47280)),
    "organamnist": Facts("OrganAMNIST (abdominal CT, axial)", "axial CT cuttings of organs", "CT", _ORGANS,
                         (34561, 6491, 17778)),
    "organcmnist": Facts("OrganCMNIST (abdominal CT, coronal)", "coronal CT cuttings of organs", "CT", _ORGANS,
                         (12975, 2392, 8216)),
    "organsmnist": Facts("OrganSMNIST (abdominal CT, sagittal)", "sagittal CT cuttings of organs", "CT", _ORGANS,
                         (13932, 2452, 8827)),
    "chestmnist": Facts("ChestMNIST (chest X-rays, any of 14 findings)",
                        "chest X-rays, each with any number of 14 findings; here: with none, or with some",
                        "radiograph of the chest", ("No finding", "Finding"), (78468, 11219, 22433), findings=FINDINGS),
}

RECORD = "https://zenodo.org/records/10519652/files"
# The MD5 of every set's files in the order of SIDES, as the package medmnist 3.0.2 has them.
MD5 = {
    "pneumoniamnist": ("28209eda62fecd6e6a2d98b1501bb15f", "8f4eceb4ccffa70c672198ea285246c6",
                       "05b46931834c231683c68f40c47b2971", "d6a3c71de1b945ea11211b03746c1fe1"),
    "breastmnist": ("750601b1f35ba3300ea97c75c52ff8f6", "742edef2a1fd1524b2efff4bd7ba9364",
                    "363e4b3f8d712e9b5de15470a2aaadf1", "b56378a6eefa9fed602bb16d192d4c8b"),
    "pathmnist": ("a8b06965200029087d5bd730944a56c1", "55aa9c1e0525abe5a6b9d8343a507616",
                  "ac42d08fb904d92c244187169d1fd1d9", "2c51a510bcdc9cf8ddb2af93af1eadec"),
    "dermamnist": ("0744692d530f8e62ec473284d019b0c7", "b70a2f5635c6199aeaa28c31d7202e1f",
                   "2defd784463fa5243564e855ed717de1", "8974907d8e169bef5f5b96bc506ae45d"),
    "octmnist": ("c68d92d5b585d8d81f7112f81e2d0842", "e229e9440236b774d9f0dfef9d07bdaf",
                 "0a97e76651ace45c5d943ee3f65b63ae", "abc493b6d529d5de7569faaef2773ba3"),
    "retinamnist": ("bd4c0672f1bba3e3a89f0e4e876791e4", "afda852cc34dcda56f86ad2b2457dbcc",
                    "e48e916a24454daf90583d4e6efb1a18", "eae7e3b6f3fcbda4ae613ebdcbe35348"),
    "bloodmnist": ("7053d0359d879ad8a5505303e11de1dc", "2b94928a2ae4916078ca51e05b6b800b",
                   "adace1e0ed228fccda1f39692059dd4c", "b718ff6835fcbdb22ba9eacccd7b2601"),
    "tissuemnist": ("ebe78ee8b05294063de985d821c1c34b", "123ece2eba09d0aa5d698fda57103344",
                    "61b955355d7425a89687b06cca3ce0c2", "b077128c4a949f0a4eb01517f9037b9c"),
    "organamnist": ("68e3f8846a6bd62f0c9bf841c0d9eacc", "2dcccc29b88e6da5a01161ef20cda288",
                    "eeae80d0a227a8d099027e1b3cfd3b60", "50747347e05c87dd3aaf92c49f9f3170"),
    "organcmnist": ("b9ceb9546e10131b32923c5bbeaea2b1", "3ce34a8724ea6f548e6db4744d03b6a9",
                    "773c1f009daa3fe5d9a2a201b2a7ed94", "050f5e875dc056f6768abf94ec9995d1"),
    "organsmnist": ("9ab87b696fb54e2a387ebe992d6ed5f1", "53a6d115339d874c25e309a994ff46d3",
                    "ded0c5fa01a95dc4978b956f613e9b8e", "b354719e553fbbb2513d5533f52a4cb1"),
    "chestmnist": ("02c8a6516a18b556561a56cbdd36c4a8", "9de6cd0b934ebb5b7426cfba5efbae16",
                   "db107e5590b27930b62dbaf558aebee3", "45bd33e6f06c3e8cdb481c74a89152aa"),
}


class MedMnist(Dataset):
    """A split of an .npz file, each picture as large as it is there."""

    def __init__(self, info: DatasetInfo, split: str, path: Path, facts: Facts, side: int) -> None:
        part = PARTS[split]
        shape = (side, side, 3) if facts.colour else (side, side)
        most = max(facts.counts)
        self._images = _member(path, f"{part}_images", most * int(np.prod(shape)))
        self._truth = _member(path, f"{part}_labels", most * len(FINDINGS) * 8)
        if self._images.dtype != np.uint8 or self._images.shape[1:] != shape:
            raise EngineError(f"{path.name} is not {info.name} as published: its {part}_images have the shape "
                              f"{self._images.shape}, not (N, {', '.join(map(str, shape))}); download it again")
        super().__init__(info, split, _labels(path, self._truth, len(self._images), facts))
        self._path = path
        self._origins: dict[int, str] = {}  # of pictures that stay as they are for as long as this is open

    def image(self, index: int) -> np.ndarray:
        pixels = np.asarray(self._images[index], np.float32) / np.float32(255)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if pixels.ndim == 3 else pixels[None]

    def origin(self, index: int) -> str:
        if index not in self._origins:
            self._origins[index] = super().origin(index)
        return self._origins[index]

    def item_name(self, index: int) -> str:
        return f"{self.split}/{index}"

    def files(self) -> Sequence[Path]:
        return (self._path,)

    @property
    def truth(self) -> np.ndarray:
        return self._truth.astype(bool) if self.info.findings else super().truth


def _labels(path: Path, truth: np.ndarray, count: int, facts: Facts) -> np.ndarray:
    columns = len(facts.findings) or 1
    if truth.shape != (count, columns) or truth.dtype.kind not in "ui" or (
            count and truth.max() >= max(2, len(facts.classes) * (columns == 1))):
        raise EngineError(f"{path.name} has labels that do not belong to its pictures; download it again")
    return np.asarray(truth.any(axis=1) if columns > 1 else truth[:, 0], np.int64)


def _member(path: Path, name: str, most: int) -> np.ndarray:
    """An array of the file, in memory or, where it is large, from an unpacked copy; raises EngineError."""
    try:
        facts = path.stat()
        return _read(path, name, most, facts.st_mtime_ns, facts.st_size)
    except OSError as error:
        raise EngineError(f"{path.name} cannot be read {advice(error)}") from None
    except (_TooLarge, MemoryError):
        raise
    except Exception:  # whatever bytes that are no such file bring about
        raise EngineError(f"{path.name} is damaged or cut off, or is no file of MedMNIST; download it again") from None


class _TooLarge(EngineError):
    """A file that is refused before it is unpacked."""


@lru_cache(maxsize=8)
def _read(path: Path, name: str, most: int, modified: int, size: int) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
        if member.file_size > most + _HEADER:
            raise _TooLarge(f"{path.name} unpacks to more than was published ({member.file_size / 2**20:.0f} MiB of "
                            f"{name}); download it again")
        with archive.open(member) as stream:
            if member.file_size <= IN_MEMORY:
                return read_array(stream, member.file_size)
            return _unpacked(stream, digest.of_spec({"file": str(path), "member": name, "time": modified,
                                                     "size": size}), member.file_size)


def _unpacked(stream: IO[bytes], key: str, size: int) -> np.ndarray:
    """An array that stays on the disk, copied there once; raises OSError and ValueError."""
    place = home() / "unpacked" / f"{key[:32]}.npy"
    if not place.is_file() or place.stat().st_size != size:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as aside, aside.open("wb") as file:
            shutil.copyfileobj(stream, file, 2**20)
    return np.load(place, mmap_mode="r", allow_pickle=False)


def _file(name: str, side: int) -> str:
    return f"{name}.npz" if side == SIDES[0] else f"{name}_{side}.npz"


def find(name: str, side: int) -> Path | None:
    """The .npz file of a set and size, below PERTURBSCOPE_DATA, or None."""
    root = data_home()
    places = [root / place / _file(name, side) for place in PLACES] if root else []
    return next((place for place in places if os.path.isfile(place)), None)


def entry(name: str, side: int | None = None) -> DatasetEntry:
    """The set `name`, 28 x 28, or under the name NAME@SIDE one of the larger ones of MedMNIST+; raises EngineError."""
    if side not in (None, *SIDES):
        raise EngineError(f"{name} was published with {', '.join(map(str, SIDES))} pixels a side, not with {side}; "
                          f"take {name}@64, for one")
    facts, pixels = SETS[name], side or SIDES[0]
    file = _file(name, pixels)
    info = DatasetInfo(
        name=name if side is None else f"{name}@{side}",
        title=f"{facts.title}, {pixels} x {pixels}",
        sentence=f"{sum(facts.counts):,} {facts.of}, {pixels} x {pixels} pixels.",
        classes=facts.classes,
        splits={part: SENTENCES[part].format(count) for part, count in zip(PARTS, facts.counts, strict=True)},
        source="Yang, Shi, Wei et al., MedMNIST v2, Scientific Data 10 (2023), doi:10.1038/s41597-022-01721-8",
        terms=facts.terms,
        modality=facts.modality,
        population=facts.population,
        obtain=f"download {file} (zenodo.org/records/10519652, or by the medmnist package)",
        layouts=(f"medmnist/{file}", file),
        grouping="by its authors; the files do not name patients",
        findings=facts.findings,
        remote=Remote(f"{RECORD}/{file}?download=1", f"medmnist/{file}", f"md5:{MD5[name][SIDES.index(pixels)]}"),
    )

    def open_split(split: str) -> Dataset:
        path = find(name, pixels)
        assert path is not None  # DatasetEntry.load asks missing() first
        return MedMnist(info, split, path, facts, pixels)

    def missing() -> str | None:
        if find(name, pixels) is not None:
            return None
        return not_here(f"{info.name} is not here: {info.obtain}, and set PERTURBSCOPE_DATA to the folder that holds "
                        f"{info.layouts[0]}")

    return DatasetEntry(info, open_split, missing, lambda other: entry(name, other))


for _name in SETS:
    DATASETS.add(_name, entry(_name))
