"""A defended model before anybody attacks it: how long an answer takes, and what it says of pictures with random noise.

Does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.defenses.base import defenses_from, learners
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.sources import seen
from engine.experiments.units import reference_digest
from engine.work.kinds import Bench, Task, kind
from engine.work.store import Payload
from engine.zoo.registry import label_of, model_digest

Names = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Facing:
    """A model behind defenses, and the images that it is asked about; `budgets` are those of the noise, in [0,1].
    `reference` is the digest of the clean images that defenses learn from, where any does."""

    dataset: str
    split: str
    indices: tuple[int, ...]
    model: str
    defenses: str
    budgets: tuple[float, ...]
    seed: int
    names: Names
    images: str
    weights: str
    reference: str = ""

    def canonical(self) -> dict[str, Any]:
        """What decides the answers."""
        return {"images": self.images, "weights": self.weights, "defenses": self.defenses, "seed": self.seed,
                "budgets": list(self.budgets), "names": dict(self.names),
                **({"reference": self.reference} if self.reference else {})}


@dataclass(frozen=True, eq=False)
class Face:
    """What came of it: seconds an answer takes on average, of the `bare` model and of the `defended` one, asked about
    one picture at a time; and at each of `budgets` the classes [N] said of the images `identities` with noise on every
    pixel, as strong as the budget allows (-1: refused)."""

    model: str
    defenses: str
    bare: float
    defended: float
    budgets: tuple[float, ...]
    identities: tuple[str, ...]
    noisy: np.ndarray

    @property
    def ratio(self) -> float:
        """How many times longer an answer takes than without the defense."""
        return self.defended / self.bare

    def payload(self) -> Payload:
        facts = {"model": self.model, "defenses": self.defenses, "bare": self.bare, "defended": self.defended,
                 "budgets": list(self.budgets), "identities": list(self.identities)}
        return Payload(facts, {"noisy": self.noisy})

    @staticmethod
    def of(payload: Payload) -> Face:
        """The one that `payload` wrote; raises EngineError for what is none."""
        return face_of(payload.facts, payload.arrays["noisy"])


def face_of(facts: dict[str, Any], noisy: np.ndarray) -> Face:
    """A face from what is kept of it; raises EngineError for what is none."""
    try:
        return Face(facts["model"], facts["defenses"], facts["bare"], facts["defended"], tuple(facts["budgets"]),
                    tuple(facts["identities"]), noisy)
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"this is not what a defended model was like ({type(error).__name__})") from None


def facing(dataset: str, split: str, indices: Sequence[int], model: str, defenses: str, budgets: Sequence[float],
           seed: int, names: Names = ()) -> Facing:
    """As they are now; raises EngineError."""
    data = seen(dataset, split, model, names)
    return Facing(dataset, split, tuple(indices), model, defenses, tuple(budgets), seed, names,
                  data.digest_of(indices), model_digest(model),
                  reference_digest(data) if learners(defenses_from(defenses)) else "")


def facing_task(facing: Facing, device: str = "auto") -> Task:
    """The job whose payload `Face.of` reads."""
    behind = f" behind {facing.defenses}" if facing.defenses else ""
    return Task("facing", facing, f"{label_of(facing.model)}{behind} before an attack", device)


@kind("facing", Facing, reads=Face.of)
def _face(spec: Facing, bench: Bench) -> Payload:
    bench.progress.report(0.0, "asking the defended model")
    load_libraries()
    from engine.experiments.defending.asking import faced

    return faced(spec, bench.device).payload()
