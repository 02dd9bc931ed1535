"""What a unit of work names, loaded, and attacked."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from engine.attacks.result import AttackResult
from engine.attacks.runner import Resources, run_attack
from engine.experiments.epsilon.bisection import smallest_eps
from engine.experiments.epsilon.minimal import Minimal
from engine.experiments.resources import resources_for
from engine.experiments.sources import opened, picture
from engine.experiments.units import Unit, unchanged
from engine.work.kinds import Bench
from engine.work.lessons import StoredLessons
from engine.zoo.classifier import Classifier
from engine.zoo.registry import load_model


@dataclass(frozen=True, eq=False)
class Loaded:
    """A unit's model, its images [N, C, H, W], their classes [N], and what the attacker has besides."""

    model: Classifier
    images: Tensor
    labels: Tensor
    resources: Resources


def loaded(unit: Unit) -> Loaded:
    """What the unit names, if it is still the same; raises EngineError."""
    dataset, model = unchanged(unit).seen, load_model(unit.model)
    images = torch.from_numpy(picture(unit.source).image[None] if unit.upload else _read(unit))
    labels = _said(model, images) if unit.upload else torch.from_numpy(dataset.labels[list(unit.indices)])
    return Loaded(model, images, labels,
                  resources_for(unit.attack, dataset, unit.indices, images, model, unit.further))


def attack_unit(unit: Unit, bench: Bench, keep_steps: bool) -> AttackResult:
    """The whole result of a unit; raises EngineError and Cancelled."""
    bench.progress.report(0.0, "reading the images")
    it = loaded(unit)
    # A look at what there is so far would show the first image, whichever is meant.
    progress = bench.progress.unseen() if unit.shown else bench.progress
    return run_attack(unit.attack, it.model, it.images, it.labels, resources=it.resources, device=bench.device,
                      progress=progress, keep_steps=keep_steps, memory=StoredLessons(bench.store))


def search_unit(unit: Unit, high: float, tolerance: float, bench: Bench) -> Minimal:
    """The smallest eps of a unit's attack on each of its images; raises EngineError and Cancelled."""
    bench.progress.report(0.0, "reading the images")
    it = loaded(unit)
    return smallest_eps(unit.attack, it.model, it.images, it.labels, high=high, tolerance=tolerance,
                        resources=it.resources, device=bench.device, progress=bench.progress,
                        memory=StoredLessons(bench.store))


def _read(unit: Unit) -> np.ndarray:
    """The last few are remembered: a curve asks for the same images at every eps."""
    return _images(unit.dataset, unit.split, unit.indices, unit.images)


@lru_cache(maxsize=4)
def _images(dataset: str, split: str, indices: tuple[int, ...], digest: str) -> np.ndarray:
    return opened(dataset, split).images(indices)


def _said(model: Classifier, images: Tensor) -> Tensor:
    """Nobody told us what an upload shows: there an attack leads away from what the model says now."""
    with torch.no_grad():
        return model(images.to(model.device)).argmax(dim=1).cpu()
