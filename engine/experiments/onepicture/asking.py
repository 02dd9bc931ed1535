"""What a served model says of single pictures, outside of attacks and their verdicts. Importing it does not import
torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from engine import digest
from engine.attacks.spec import AttackSpec
from engine.defenses.base import defenses_from

if TYPE_CHECKING:
    from torch import Tensor

    from engine.zoo.classifier import Classifier


def said(logits: np.ndarray) -> np.ndarray:
    """The probabilities of answers [R, K]; all 0 where the model refused to give one."""
    return np.nan_to_num(softmax(logits, axis=1), nan=0.0)


def refused(probabilities: Sequence[float] | np.ndarray) -> bool:
    """Whether that is what `said` makes of a refusal."""
    return not np.any(probabilities)


def answers(classifier: Classifier, attack: AttackSpec, images: Tensor, sessions: Sequence[str]) -> np.ndarray:
    """What the model says [R, K] of images [R, C, H, W] behind the defenses of the attack: each is the one query of a
    client of its own, whose draws its session names, as in a verdict."""
    import torch

    from engine.serving.defense import Client
    from engine.serving.served import Served

    served = Served(classifier, defenses_from(attack.defenses), attack.seed)
    clients = [Client(digest.of_arrays(image.numpy()), session)
               for image, session in zip(images, sessions, strict=True)]
    with torch.no_grad():
        answer = served.answer(images.to(classifier.device), served.queries(clients, range(len(images))))
    return said(answer.logits.cpu().numpy())
