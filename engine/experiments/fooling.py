"""How often what an attack learned once, a universal pattern or a patch, fools the model on a split."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from engine import digest
from engine.attacks import ATTACKS
from engine.attacks.spec import AttackSpec
from engine.data import Dataset
from engine.data.marks import MARKS, marked
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.explore import Source, opened
from engine.jobs import Task
from engine.progress import Progress
from engine.store import Payload
from engine.zoo.registry import model_digest

MOST = 200  # images, spread evenly over the split


def fooling_task(outcome: Payload, source: Source, model: str, attack: AttackSpec, device: str = "auto",
                 limit: int = MOST) -> Task:
    """The job that tries what a run on one picture (`outcome`) learned on up to `limit` images of `source`'s split.

    The result belongs to what was learned, not to the picture. Facts: AttackResult.summary; arrays: `indices`,
    `labels`, `predicted_clean` and `predicted_adversarial` [N].
    """
    dataset = opened(source.dataset, source.split)
    learned = {name: digest.of_arrays(outcome.arrays[f"learned_{name}"]) for name in outcome.facts["learned"]}
    spec: dict[str, Any] = {"learned": learned, "model": model, "weights": model_digest(model), "device": device,
                            "attack": asdict(attack), "dataset": dataset.digest, "limit": limit}
    title = f"{ATTACKS[attack.attack].info.title} on {dataset.info.name}/{dataset.split}"
    return Task("fooling", title, spec, lambda progress: _measure(source, model, attack, device, limit, progress),
                device)


def _measure(source: Source, model: str, attack: AttackSpec, device: str, limit: int, progress: Progress) -> Payload:
    progress.report(0.0, "loading PyTorch and the model")
    load_libraries()
    import torch

    from engine.attacks.runner import run_attack
    from engine.experiments.means import means_for
    from engine.zoo.registry import load_model

    dataset, classifier = opened(source.dataset, source.split), load_model(model)
    own = [] if source.upload else [source.index]
    indices = _measured(dataset, own, attack, limit)
    progress.report(0.05, "reading the images")
    images, labels = torch.from_numpy(dataset.images(indices)), torch.from_numpy(dataset.labels[indices])
    # What was learned is known by what it was learned from: the further images are those of the explored picture.
    means = means_for(attack, dataset, indices, images, classifier, learned_beside=own)
    result = run_attack(attack, classifier, images, labels, means=means, device=device,
                        progress=progress.part(0.1, 1.0))
    return Payload(result.summary(), {"indices": np.array(indices), "labels": result.labels,
                                      "predicted_clean": result.predicted_clean,
                                      "predicted_adversarial": result.predicted_adversarial})


def _measured(dataset: Dataset, own: list[int], attack: AttackSpec, limit: int) -> list[int]:
    """The numbers of the images to measure on: none that the attack learned from, or has no mask for."""
    from engine.experiments.evaluate import evenly
    from engine.experiments.means import chosen_others

    pool, learned_from = chosen_others(dataset, own, ATTACKS[attack.attack].info.others)
    taken = set(learned_from) if pool is dataset else set()
    chosen = evenly([i for i in range(len(dataset)) if i not in taken], limit)
    if attack.mask in MARKS:
        chosen = [i for i in chosen if marked(attack.mask, dataset, i) is not None]
    if not chosen:
        raise EngineError(f"{dataset.info.name}/{dataset.split} has no images to measure on, beside those that the "
                          "attack learned from; choose another split or mask")
    return chosen
