"""What defenses that refuse do to those who attack nobody."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from engine.serving.defense import Client, Defense
from engine.serving.served import Served
from engine.zoo.classifier import Classifier


@torch.no_grad()
def false_alarms(classifier: Classifier, defenses: Sequence[Defense], pieces: Iterable[Tensor], *,
                 one_client: bool = True, seed: int = 0) -> Tensor:
    """Which of honest images, sent in `pieces` [R, C, H, W], get no answer behind `defenses`, bool [N]: where they all
    come from `one_client` in this order, as a clinic's do, or each from a client of its own."""
    served, clinic = Served(classifier, defenses, seed), Client("clinic")
    found: list[Tensor] = []
    for number, some in enumerate(pieces):
        clients = [clinic if one_client else Client(f"{number} {row}") for row in range(len(some))]
        found.append(served.refusals(some.to(served.device), served.queries(clients, range(len(some)))))
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.bool)
