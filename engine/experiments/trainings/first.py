"""What to begin with: settings that suit a data set and an architecture, and the first model that anybody trains."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.data import Dataset
from engine.device import multiplies_bfloat16
from engine.params import Value
from engine.training.defenses import TrainingDefense
from engine.training.spec import IMAGENET, SCRATCH
from engine.zoo.architectures import ARCHITECTURES

ARCH = "resnet18"
# Trains in about two minutes on two cores, to about 85 %.
FIRST: Mapping[str, str] = {"dataset": "phantom-cxr@64", "arch": ARCH, "start": SCRATCH, "limit": "600",
                            "epochs": "8", "full_size_epochs": "8", "batch": "16"}
_SMALL = 2000  # pictures, below which a network sees them oftener, and stops when it has learned them
_TRANSFORMERS = ("convnext_tiny", "vit_b_16", "swin_t")  # which AdamW at a high rate spoils


@dataclass(frozen=True)
class Suggested:
    """Weights to begin with, and what differs from the defaults of `TrainSpec`."""

    start: str
    values: Mapping[str, Value]


def suggested(dataset: Dataset, arch: str, start: str | None = None, device: str = "auto",
              defense: TrainingDefense | None = None) -> Suggested:
    """For a training split and a network, which begins with `start` where that is chosen already, and is hardened by
    `defense`."""
    pretrained = start not in (None, "", SCRATCH)
    values: dict[str, Any] = {"flips": "modality"}
    if not multiplies_bfloat16(device):
        values["precision"] = "float32"
    side = dataset.image(0).shape[-1]
    if side <= 112:
        values["small_size"] = max(32, side // 2)
    if len(dataset) < _SMALL:
        values |= {"epochs": 30, "full_size_epochs": 15, "patience": 6, "batch": max(2, min(32, len(dataset) // 8))}
    if pretrained:
        values |= {"lr": 3e-4, "frozen_epochs": 1}
    if arch in _TRANSFORMERS:
        values |= {"lr": 1e-4, "schedule": "cosine"}
    if defense is not None:
        values |= defense.suited
    return Suggested(start or SCRATCH, values)


def starts(arch: str, models: Mapping[str, str]) -> list[str]:
    """What that network may begin with, of `models` (name to architecture) those of its kind."""
    imagenet = [IMAGENET] if ARCHITECTURES[arch].imagenet is not None else []
    return [SCRATCH, *imagenet, *(name for name, kind in models.items() if kind == arch)]


def named(dataset: str, arch: str, defense: str = "") -> str:
    """A name for a model trained on it, with the defense of that name."""
    words = re.sub(r"\W+", "-", re.sub(r"^\w+:.*[/\\]", "", dataset)).strip("-") or "pictures"
    return f"my/{words[:60]}-{arch}" + (f"-{defense}" if defense else "")
