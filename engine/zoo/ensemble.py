"""Several models as one: the mean of their logits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine.errors import EngineError
from engine.zoo.classifier import Classifier


class _MeanOfLogits(nn.Module):
    def __init__(self, members: Sequence[Classifier]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images) for member in self.members]).mean(dim=0)


def ensemble(models: Sequence[Classifier]) -> Classifier:
    """A classifier whose logits are the mean of those of `models` (Liu et al. 2017, "Delving into Transferable
    Adversarial Examples and Black-box Attacks", there with weights); raises EngineError where their classes differ."""
    first = models[0]
    for other in models[1:]:
        if other.classes != first.classes:
            raise EngineError(f"{other.name} and {first.name} tell different classes apart; an ensemble needs the same")
    return Classifier(_MeanOfLogits(models), first.classes, channels=max(m.channels for m in models),
                      name=" + ".join(m.name for m in models))
