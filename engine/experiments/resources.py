"""What attacker and defender have besides the target model, gathered by name: surrogate, further images, mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch

from engine.attacks.base import Others
from engine.attacks.runner import Resources
from engine.attacks.spec import AttackSpec
from engine.data.base import Dataset
from engine.data.marks import MARKS, marked
from engine.data.masks import cells_of, fitted, is_drawn
from engine.defenses.base import defenses_from, learners
from engine.defenses.binding import bound
from engine.errors import EngineError
from engine.experiments.further import chosen_reference, training_split
from engine.explain.cam import cam
from engine.serving.defense import Reference
from engine.serving.served import Served
from engine.zoo.classifier import Classifier
from engine.zoo.ensemble import ensemble, with_classes
from engine.zoo.registry import load_model

HOT = 0.2  # the share of an image that the "cam" mask leaves open


def resources_for(spec: AttackSpec, dataset: Dataset, indices: Sequence[int], images: torch.Tensor,
                  model: Classifier, further: Sequence[int] = ()) -> Resources:
    """Everything `spec` asks for, for the images numbered `indices` of `dataset`; raises EngineError.

    The attacker's `further` images are those of these numbers in the split that they come from. Without `indices` (an
    upload) there is no lesion.
    """
    return Resources(
        surrogate=surrogate(spec.surrogate, dataset.classes) if spec.surrogate else None,
        others=_bank(training_split(dataset), tuple(further)) if further else None,
        mask=mask_for(spec.mask, dataset, indices, images, model) if spec.mask else None,
        reference=reference_for(spec.defenses, dataset),
    )


def reference_for(defenses: str, dataset: Dataset) -> Reference | None:
    """The clean images from which those `defenses` learn that stand before a model for `dataset`'s split; None where
    none does. Raises EngineError."""
    if not learners(defenses_from(defenses)):
        return None
    pool, chosen = chosen_reference(dataset)
    return _reference(pool, chosen, pool.digest_of(chosen))


def served_behind(defenses: str, seed: int, model: Classifier, dataset: Dataset) -> Served:
    """`model` behind those `defenses`, whose random numbers come from `seed`, as it is served for `dataset`'s split;
    raises EngineError."""
    return Served(model, bound(defenses_from(defenses), model, reference_for(defenses, dataset), seed), seed)


@lru_cache(maxsize=2)
def _reference(pool: Dataset, chosen: tuple[int, ...], digest: str) -> Reference:
    return Reference(torch.from_numpy(pool.images(chosen)), torch.from_numpy(pool.labels[list(chosen)]), digest)


def mask_for(name: str, dataset: Dataset, indices: Sequence[int], images: torch.Tensor,
             model: Classifier) -> torch.Tensor:
    """The part that may change of the images numbered `indices` of `dataset`, bool [N, 1, H, W]; raises EngineError."""
    if is_drawn(name):
        mask = torch.from_numpy(fitted(cells_of(name), *images.shape[2:]))
        return mask.expand(len(images), 1, -1, -1)
    return MASK_MAKERS[name](dataset, indices, images, model)


def surrogate(names: str, classes: Sequence[str]) -> Classifier:
    """The model of that name, or the ensemble of several with commas between them, with `classes`, those of the target
    model, in their order; raises EngineError where it tells others apart."""
    models = [with_classes(load_model(name.strip()), classes) for name in names.split(",")]
    return models[0] if len(models) == 1 else ensemble(models)


def _bank(pool: Dataset, chosen: tuple[int, ...]) -> Others:
    """Those images of `pool`; the last few banks are remembered, as an attack on one picture wants its own at once."""
    key = (pool.digest, chosen)
    if key not in _banks:
        _banks[key] = Others(torch.from_numpy(pool.images(chosen)), torch.from_numpy(pool.labels[list(chosen)]))
        while len(_banks) > _KEPT:
            del _banks[next(iter(_banks))]
    return _banks[key]


_banks: dict[tuple[str, tuple[int, ...]], Others] = {}
_KEPT = 3


Mask = Callable[[Dataset, Sequence[int], torch.Tensor, Classifier], torch.Tensor]


def _marked(what: str) -> Mask:
    """The mask that is marked on every image; raises EngineError where one has none."""
    def make(dataset: Dataset, indices: Sequence[int], images: torch.Tensor, model: Classifier) -> torch.Tensor:
        known = [mask for mask in (marked(what, dataset, i) for i in indices) if mask is not None]
        if not known or len(known) < len(images):
            raise EngineError(f"nobody marked {MARKS[what].words} on some of these images; choose others, or another "
                              "mask")
        return torch.from_numpy(np.stack(known))[:, None]

    return make


def _cam(dataset: Dataset, indices: Sequence[int], images: torch.Tensor, model: Classifier) -> torch.Tensor:
    """The hottest HOT of each clean image's Grad-CAM of the predicted class."""
    with torch.no_grad():
        predicted = torch.cat([model(some.to(model.device)).argmax(1).cpu() for some in images.split(16)]).tolist()
    maps = np.concatenate([cam(model, some.to(model.device), predicted[16 * i:16 * i + 16]).maps
                           for i, some in enumerate(images.split(16))])
    edges = np.quantile(maps.reshape(len(maps), -1), 1 - HOT, axis=1)
    return torch.from_numpy(maps >= edges[:, None, None])[:, None]


MASK_MAKERS: dict[str, Mask] = {**{name: _marked(name) for name in MARKS}, "cam": _cam}
