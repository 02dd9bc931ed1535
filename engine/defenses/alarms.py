"""What defenses that refuse do to those who attack nobody."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.serving.defense import Client, Defense
from engine.serving.served import Served
from engine.zoo.classifier import Classifier


@torch.no_grad()
def false_alarms(classifier: Classifier, defenses: Sequence[Defense], images: Tensor, *, one_client: bool = True,
                 seed: int = 0, batch: int = 16) -> Tensor:
    """Which of honest images [N, C, H, W] get no answer behind `defenses`, bool [N]: where they all come from
    `one_client` in this order, as a clinic's do, or each from a client of its own."""
    served = Served(classifier, defenses, seed)
    clients = [Client("clinic")] if one_client else [Client(str(number)) for number in range(len(images))]
    found = torch.zeros(len(images), dtype=torch.bool)
    for start in range(0, len(images), batch):
        some = images[start:start + batch]
        rows = [0] * len(some) if one_client else list(range(start, start + len(some)))
        found[start:start + batch] = served.refusals(some.to(served.device), served.queries(clients, rows))
    return found
