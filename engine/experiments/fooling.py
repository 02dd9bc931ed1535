"""How often what an attack learned once, a universal pattern or a patch, fools the model on a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.attacks import ATTACKS
from engine.attacks.spec import AttackSpec
from engine.data import Dataset
from engine.data.marks import MARKS, marked
from engine.data.splits import evenly
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.explore import Exploring, unchanged
from engine.experiments.explored import Measured
from engine.experiments.further import chosen_others
from engine.experiments.sources import own_number, seen_by
from engine.work.kinds import Bench, Task, kind
from engine.work.specs import canonical, from_json
from engine.work.store import Payload

MOST = 200  # images, spread evenly over the split


@dataclass(frozen=True)
class Measuring:
    """How often what an attack on one picture learned fools the model on `images`, up to `limit` of a split."""

    exploring: Exploring
    limit: int
    images: str

    def canonical(self) -> dict[str, Any]:
        """It belongs to what was learned, which the picture does not decide."""
        learned = {name: value for name, value in canonical(self.exploring).items() if name not in ("image", "label")}
        return {**learned, "limit": self.limit, "images": self.images}


def fooling_task(explored: Task, limit: int = MOST) -> Task:
    """The job that tries what the attack `explored` on one picture learned on up to `limit` images of the picture's
    split; raises EngineError."""
    spec: Exploring = explored.spec
    _, dataset = seen_by(spec.model, spec.source)
    images = dataset.digest_of(_unseen(dataset, own_number(spec.source), spec.attack, limit))
    title = f"{ATTACKS[spec.attack.attack].info.title} on {dataset.info.name}/{dataset.split}"
    return Task("fooling", Measuring(spec, limit, images), title, explored.device)


@kind("fooling", Measuring, result=Measured)
def _measure(measuring: Measuring, bench: Bench) -> Payload:
    bench.progress.report(0.0, "loading PyTorch and the model")
    load_libraries()
    import torch

    from engine.attacks.runner import run_attack
    from engine.experiments.resources import resources_for
    from engine.work.lessons import StoredLessons
    from engine.zoo.registry import load_model

    spec = unchanged(measuring.exploring)
    source, attack = spec.source, spec.attack
    (_, dataset), classifier = seen_by(spec.model, source), load_model(spec.model)
    own = own_number(source)
    indices = _measured(dataset, own, attack, measuring.limit)
    bench.progress.report(0.05, "reading the images")
    images, labels = torch.from_numpy(dataset.images(indices)), torch.from_numpy(dataset.labels[indices])
    # What was learned is known by what it was learned from: the further images are those of the explored picture.
    resources = resources_for(attack, dataset, indices, images, classifier, learned_beside=own)
    result = run_attack(attack, classifier, images, labels, resources=resources, device=bench.device,
                        progress=bench.progress.part(0.1, 1.0), memory=StoredLessons(bench.store))
    return from_json(Measured, {**result.summary(), "indices": np.array(indices), "labels": result.labels,
                                "predicted_clean": result.predicted_clean,
                                "predicted_adversarial": result.predicted_adversarial}).payload()


def _unseen(dataset: Dataset, own: list[int], attack: AttackSpec, limit: int) -> list[int]:
    """The numbers of up to `limit` images that the attack did not learn from."""
    pool, learned_from = chosen_others(dataset, own, ATTACKS[attack.attack].info.others)
    taken = set(learned_from) if pool is dataset else set()
    return evenly([i for i in range(len(dataset)) if i not in taken], limit)


def _measured(dataset: Dataset, own: list[int], attack: AttackSpec, limit: int) -> list[int]:
    """Of those, the ones that have the mask within which the attack is confined; raises EngineError."""
    chosen = _unseen(dataset, own, attack, limit)
    if attack.mask in MARKS:
        chosen = [i for i in chosen if marked(attack.mask, dataset, i) is not None]
    if not chosen:
        raise EngineError(f"{dataset.info.name}/{dataset.split} has no images to measure on, beside those that the "
                          "attack learned from; choose another split or mask")
    return chosen
