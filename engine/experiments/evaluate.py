"""Attack many images of a data set and count."""

import torch

from engine.attacks.batch import Memory
from engine.attacks.result import AttackResult
from engine.attacks.runner import run_attack
from engine.attacks.spec import AttackSpec
from engine.data.base import Dataset
from engine.data.classmap import labelled, match
from engine.data.splits import evenly
from engine.experiments.resources import resources_for
from engine.progress import Progress
from engine.zoo.classifier import Classifier


def spread(dataset: Dataset, limit: int | None) -> list[int]:
    """`limit` image numbers spread evenly over the split, so that classes keep their shares; all where None."""
    return evenly(range(len(dataset)), limit)


def evaluate(dataset: Dataset, indices: list[int], model: Classifier, spec: AttackSpec, *, device: str = "auto",
             progress: Progress | None = None, memory: Memory | None = None) -> AttackResult:
    """Attack the images `indices` of `dataset`, whose classes are matched to the model's by name; raises EngineError
    where the model does not know one, and Cancelled."""
    dataset = labelled(dataset, match(dataset.classes, model.classes, model.name))
    progress = progress or Progress()
    progress.report(0.0, "reading the images")
    images = torch.from_numpy(dataset.images(indices))
    labels = torch.from_numpy(dataset.labels[indices])
    resources = resources_for(spec, dataset, indices, images, model)
    return run_attack(spec, model, images, labels, resources=resources, device=device, progress=progress,
                      memory=memory)
