"""What a served model says of single pictures, outside of attacks and their verdicts. Importing it does not import
torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from engine import digest
from engine.experiments.units import Unit
from engine.serving.defense import Client

if TYPE_CHECKING:
    from torch import Tensor

    from engine.serving.served import Served
    from engine.zoo.classifier import Classifier


def said(logits: np.ndarray) -> np.ndarray:
    """The probabilities of answers [R, K]; all 0 where the model refused to give one."""
    return np.nan_to_num(softmax(logits, axis=1), nan=0.0)


def refused(probabilities: Sequence[float] | np.ndarray) -> bool:
    """Whether that is what `said` makes of a refusal."""
    return not np.any(probabilities)


def served(unit: Unit, classifier: Classifier) -> Served:
    """The unit's model, which is `classifier`, behind its defenses; raises EngineError."""
    from engine.experiments.resources import served_behind

    return served_behind(unit.attack.defenses, unit.attack.seed, classifier, unit.seen)


def answers(model: Served, images: Tensor, sessions: Sequence[str]) -> np.ndarray:
    """What the model says [R, K] of images [R, C, H, W]: each is the one query of a client of its own, whose draws its
    session names, as in a verdict."""
    import torch

    clients = [Client(digest.of_arrays(image.numpy()), session)
               for image, session in zip(images, sessions, strict=True)]
    with torch.no_grad():
        answer = model.answer(images.to(model.device), model.queries(clients, range(len(images))))
    return said(answer.logits.cpu().numpy())
