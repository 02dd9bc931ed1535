"""Defenses made ready for one classifier: those that learn from clean images do so, once."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.defenses.base import learners, written
from engine.errors import EngineError
from engine.serving.defense import Client, Defense, Reference
from engine.serving.served import Served
from engine.zoo.classifier import Classifier

_KEPT, _AT_ONCE = 8, 16
_bound: OrderedDict[tuple[object, ...], tuple[Defense, ...]] = OrderedDict()
_lock = threading.Lock()


def bound(defenses: Sequence[Defense], classifier: Classifier, reference: Reference | None,
          seed: int = 0) -> tuple[Defense, ...]:
    """`defenses` as they stand before `classifier`; those that are fitted see the clean images of `reference` as the
    defenses in front of them let them through. What was fitted last is remembered. Raises EngineError."""
    defenses = tuple(defenses)
    learning = learners(defenses)
    if not learning:
        return defenses
    if reference is None:
        raise EngineError(f"{learning[0].info.title} is fitted on clean images that are not attacked; give them as the "
                          "defender's reference images")
    key = (classifier.number, classifier.digest, str(classifier.device), written(defenses), reference.digest, seed)
    with _lock:
        if key not in _bound:
            _bound[key] = _fitted(defenses, classifier, reference, seed)
            while len(_bound) > _KEPT:
                _bound.popitem(last=False)
        _bound.move_to_end(key)
        return _bound[key]


def _fitted(defenses: tuple[Defense, ...], classifier: Classifier, reference: Reference,
            seed: int) -> tuple[Defense, ...]:
    return tuple(defense.bound(classifier, reference.showing(_behind(defenses[:place], classifier, reference, seed)))
                 if defense.info.fitted else defense for place, defense in enumerate(defenses))


@torch.no_grad()
def _behind(defenses: Sequence[Defense], classifier: Classifier, reference: Reference, seed: int) -> Tensor:
    """The clean images as these defenses let them through, each sent once."""
    served = Served(classifier, defenses, seed)
    clients = [Client(str(number), "reference") for number in range(len(reference.images))]
    return torch.cat([served.behind(some, served.queries(clients, range(start, start + len(some))))
                      for start, some in zip(range(0, len(clients), _AT_ONCE), reference.images.split(_AT_ONCE),
                                             strict=True)])
