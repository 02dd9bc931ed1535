"""Input gradients of several models on the same images, compared."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from engine import device as devices
from engine.attacks.base import Goal
from engine.experiments.sources import seen
from engine.experiments.sweeps import Names
from engine.experiments.transfers.alignment import Aligning
from engine.serving.prepare import prepared
from engine.serving.threat import WhiteBox
from engine.work.kinds import Bench
from engine.zoo.registry import load_model


@devices.exact()
def cosines(asked: Aligning, names: Sequence[Names], bench: Bench) -> np.ndarray:
    """The cosine [P, N] of every pair of models, whose names for the data set's classes are `names`, on every image."""
    gradients = []
    for number, (model, own) in enumerate(zip(asked.models, names, strict=True)):
        bench.progress.report(number / len(asked.models), f"gradients of {model}")
        gradients.append(_gradients(asked, model, own, bench.device))
    return np.stack([_cosine(gradients[one], gradients[other]) for one, other in combinations(range(len(names)), 2)])


def _gradients(asked: Aligning, model: str, names: Names, device: str) -> Tensor:
    """The gradient [N, P] of the loss of the true class, float64 on the host."""
    chosen = devices.choose(device)
    dataset = seen(asked.dataset, asked.split, model, names)
    images = torch.from_numpy(dataset.images(asked.indices)).to(chosen)
    goal = Goal(torch.from_numpy(dataset.labels[list(asked.indices)]).to(chosen))
    found = WhiteBox(prepared(load_model(model), chosen), len(images)).gradient(images, goal.objective).gradient
    return found.flatten(1).cpu().double()


def _cosine(some: Tensor, others: Tensor) -> np.ndarray:
    """[N]; NaN where a gradient is 0 everywhere. The largest entries are made 1 first: a sure model's gradients are so
    small that their squares vanish."""
    some, others = (each / each.abs().amax(dim=1, keepdim=True) for each in (some, others))
    found: np.ndarray = torch.nn.functional.cosine_similarity(some, others).numpy()
    return found
