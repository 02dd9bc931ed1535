"""Small data sets on disk in the layouts of large ones."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.dicoms import dicom

BREAKHIS_TYPES = {"benign": ("adenosis", "fibroadenoma"), "malignant": ("ductal_carcinoma", "lobular_carcinoma")}
BREAKHIS_CODES = {"adenosis": "B_A", "fibroadenoma": "B_F", "ductal_carcinoma": "M_DC", "lobular_carcinoma": "M_LC"}


def noise(seed: int, colour: bool = False, side: int = 24) -> np.ndarray:
    """A picture of its own, uint8 [side, side] or [side, side, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3) if colour else (side, side), np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write a picture, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def breakhis(root: Path, slides: int = 6) -> int:
    """The original tree, with one tile a slide and magnification; returns how many tiles there are."""
    tiles = list(_tiles(slides))
    for number, (place, name) in enumerate(tiles):
        save(root / "histology_slides" / "breast" / place / name, noise(number, colour=True))
    return len(tiles)


def _tiles(slides: int) -> Iterator[tuple[str, str]]:
    for label, types in BREAKHIS_TYPES.items():
        for kind in types:
            for slide in range(slides):
                # Two slides of every patient.
                named = f"{BREAKHIS_CODES[kind]}-14-{kind_number(kind)}{slide // 2}{'AB' if slide % 2 else 'CD'}"
                for zoom in (40, 100, 200, 400):
                    folder = f"{label}/SOB/{kind}/SOB_{named.replace('-', '_', 1)}/{zoom}X"
                    yield folder, f"SOB_{named}-{zoom}-001.png"


def kind_number(kind: str) -> int:
    """A slide number's first digits, other ones for every kind."""
    return 2254 + list(BREAKHIS_CODES).index(kind)


def medmnist(file: Path, counts: tuple[int, int, int], side: int = 28, classes: int = 2, colour: bool = False,
             findings: int = 0) -> dict[str, np.ndarray]:
    """A file in MedMNIST's form; returns its arrays."""
    rng, arrays = np.random.default_rng(sum(counts)), {}
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        shape = (count, side, side, 3) if colour else (count, side, side)
        arrays[f"{part}_images"] = rng.integers(0, 256, shape, np.uint8)
        arrays[f"{part}_labels"] = (rng.integers(0, 2, (count, findings), np.uint8) if findings else
                                    (np.arange(count, dtype=np.uint8) % classes)[:, None])
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **arrays)
    return arrays


def rsna(root: Path, count: int = 20, side: int = 64) -> list[str]:
    """The challenge's layout with `count` images, every third with pneumonia, and with two boxes where it is sixth too;
    returns their names."""
    (root / "stage_2_train_images").mkdir(parents=True)
    names = [f"{number:08x}-1ca0-4b1f" for number in range(count)]
    labels = ["patientId,x,y,width,height,Target"]
    for number, name in enumerate(names):
        (root / "stage_2_train_images" / f"{name}.dcm").write_bytes(dicom(noise(number, side=side)))
        half, quarter = side / 2, side / 4
        if number % 3 == 0:
            labels.append(f"{name},{half},{quarter},{quarter},{half},1")
        if number % 6 == 0:
            labels.append(f"{name},0.0,0.0,{quarter},{quarter},1")
        if number % 3:
            labels.append(f"{name},,,,,0")
    (root / "stage_2_train_labels.csv").write_text("\n".join(labels))
    details = (f"{name},{'Lung Opacity' if number % 3 == 0 else 'Normal'}" for number, name in enumerate(names))
    (root / "stage_2_detailed_class_info.csv").write_text("\n".join(["patientId,class", *details]))
    return names


def covidx(root: Path, each: int = 10) -> None:
    """COVIDx with so many images of a class in train, two of every patient, and three of a class in test."""
    for part, count in (("train", each), ("test", 3)):
        lines = []
        for label in ("positive", "negative"):
            for number in range(count):
                file = f"{label} {part}-{number}.png" if number == 1 else f"{label}_{part}_{number}.png"
                save(root / part / file, noise(number))
                lines.append(f"{part}{label[0]}{number // 2} {file} {label} cohen")
        (root / f"{part}.txt").write_text("\n".join(lines) + "\n")


def kermany(root: Path, each: int = 12) -> None:
    """Kermany's tree with so many training images of a class, two of every child, and two of a class in test."""
    for part, count in (("train", each), ("test", 2)):
        for number in range(count):
            child = number // 2 + (5000 if part == "test" else 0)
            save(root / part / "NORMAL" / f"IM-{child:04}-{number:04}.jpeg", noise(number))
            save(root / part / "PNEUMONIA" / f"person{child}_virus_{number}.jpeg", noise(number))
