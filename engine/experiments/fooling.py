"""How often what an attack learned once, a universal pattern or a patch, fools the model on a split."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.attacks import ATTACKS
from engine.data import Dataset
from engine.data.marks import MARKS, marked
from engine.data.splits import evenly
from engine.errors import EngineError
from engine.experiments.further import training_split
from engine.experiments.onepicture.explored import Measured
from engine.experiments.sweeps import Sweep, performed, steps_of
from engine.experiments.units import Unit, unchanged
from engine.work.kinds import Bench, Task, kind
from engine.work.specs import canonical, from_json
from engine.work.store import Payload

MOST = 200  # images, spread evenly over the split


@dataclass(frozen=True)
class Measuring:
    """How often what an attack on one picture learned fools the model on `images`, up to `limit` of a split."""

    unit: Unit
    limit: int
    images: str

    def canonical(self) -> dict[str, Any]:
        """It belongs to what was learned, which the picture does not decide."""
        learned = {name: value for name, value in canonical(self.unit).items() if name not in ("images", "shown")}
        return {**learned, "limit": self.limit, "images": self.images}


def fooling_task(explored: Task, limit: int = MOST) -> Task:
    """The job that tries what the attack `explored` on one picture learned on up to `limit` images of the picture's
    split; raises EngineError."""
    unit: Unit = explored.spec
    dataset = unit.seen
    title = f"{ATTACKS[unit.attack.attack].info.title} on {dataset.info.name}/{dataset.split}"
    images = dataset.digest_of(_unseen(dataset, unit, limit))
    return Task("fooling", Measuring(unit, limit, images), title, explored.device)


@kind("fooling", Measuring, reads=Measured.of)
def _measure(measuring: Measuring, bench: Bench) -> Generator[None, None, Payload]:
    unit = unchanged(measuring.unit)
    indices = _measured(unit.seen, unit, measuring.limit)
    # What was learned is known by what it was learned from: the further images are those of the explored picture.
    sweep = Sweep(unit.dataset, unit.split, tuple(indices), (unit.model,), (unit.attack,), unit.names, unit.further)
    rows, = yield from performed(steps_of(sweep.plan(), bench.device), bench)
    return from_json(Measured, {**rows.summary(), "indices": np.array(indices), "labels": rows.labels,
                                "predicted_clean": rows.predicted_clean,
                                "predicted_adversarial": rows.predicted_adversarial}).payload()


def _unseen(dataset: Dataset, unit: Unit, limit: int) -> list[int]:
    """The numbers of up to `limit` images that the attack did not learn from."""
    taken = set(unit.further) if training_split(dataset) is dataset else set()
    return evenly([i for i in range(len(dataset)) if i not in taken], limit)


def _measured(dataset: Dataset, unit: Unit, limit: int) -> list[int]:
    """Of those, the ones that have the mask within which the attack is confined; raises EngineError."""
    chosen, mask = _unseen(dataset, unit, limit), unit.attack.mask
    if mask in MARKS:
        chosen = [i for i in chosen if marked(mask, dataset, i) is not None]
    if not chosen:
        raise EngineError(f"{dataset.info.name}/{dataset.split} has no images to measure on, beside those that the "
                          "attack learned from; choose another split or mask")
    return chosen
