"""Models made of others: several as one, the mean of their logits; one with its classes in another order."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from engine.data.classmap import fits, match
from engine.errors import EngineError
from engine.zoo.classifier import Classifier

_KEPT = 4


class MeanOfLogits(nn.Module):
    """What an ensemble computes, whatever its members are: as trained, or prepared."""

    def __init__(self, members: Sequence[Classifier]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images) for member in self.members]).mean(dim=0)


class Ensemble(Classifier):
    """A classifier made of others, each of which normalises by itself."""

    @property
    def members(self) -> list[Classifier]:
        return [cast(Classifier, member) for member in cast(MeanOfLogits, self.module).members]


def ensemble(models: Sequence[Classifier]) -> Ensemble:
    """A classifier whose logits are the mean of those of `models` (Liu et al. 2017, "Delving into Transferable
    Adversarial Examples and Black-box Attacks", there with weights); raises EngineError where their classes differ.

    The ensembles used last are remembered: what is prepared or learned for one is found again at the next run.
    """
    key = tuple(model.number for model in models)
    with _lock:
        if key not in _memory:
            _memory[key] = _made(models)
            while len(_memory) > _KEPT:
                _memory.popitem(last=False)
        _memory.move_to_end(key)
        return _memory[key]


_memory: OrderedDict[tuple[int, ...], Ensemble] = OrderedDict()
_lock = threading.Lock()


def _made(models: Sequence[Classifier]) -> Ensemble:
    first = models[0]
    for other in models[1:]:
        if other.classes != first.classes:
            raise EngineError(f"{other.name} and {first.name} tell different classes apart; an ensemble needs the same")
    return Ensemble(MeanOfLogits(models), first.classes, channels=max(m.channels for m in models),
                    name=" + ".join(m.name for m in models))


class Reordered(nn.Module):
    """What a model with its classes in another order computes."""

    def __init__(self, model: Classifier, places: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.places = tuple(places)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits[:, self.places]


def with_classes(model: Classifier, classes: Sequence[str]) -> Classifier:
    """`model` with its classes named and ordered as in `classes`, itself where they are; raises EngineError where they
    are not the same by name."""
    if len(classes) != len(model.classes) or not fits(classes, model.classes):
        raise EngineError(f"{model.name} tells apart {', '.join(model.classes)}, and the attacked model "
                          f"{', '.join(classes)}; as a surrogate, choose a model with the same classes")
    found = match(classes, model.classes, model.name)
    if found.trivial:
        return model
    return Classifier(Reordered(model, found.places), classes, channels=model.channels, name=model.name,
                      arch=model.arch)
