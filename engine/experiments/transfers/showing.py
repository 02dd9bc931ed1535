"""Adversarial images that were made on one model, as another sees them."""

import numpy as np
import torch

from engine.attacks.rows import Rows
from engine.attacks.runner import show
from engine.errors import EngineError
from engine.experiments.resources import reference_for, surrogate
from engine.experiments.sources import seen
from engine.experiments.transfers.transfer import Shown
from engine.experiments.units import unchanged
from engine.zoo.registry import load_model, model_digest


def seen_by(shown: Shown, target: str, made: Rows, adversarial: np.ndarray, device: str) -> Rows:
    """The rows of that target; raises EngineError."""
    unit, model = unchanged(shown.unit), load_model(target)
    if model_digest(target) != shown.weights[shown.targets.index(target)]:
        raise EngineError(f"{target} has changed since this was asked for; ask for it again")
    dataset = seen(unit.dataset, unit.split, target, shown.names(target))
    return show(made, shown.told(target), torch.tensor(adversarial), model,
                torch.from_numpy(dataset.images(unit.indices)), torch.from_numpy(dataset.labels[list(unit.indices)]),
                source=surrogate(shown.source, model.classes),
                reference=reference_for(shown.told(target).defenses, dataset), device=device)
