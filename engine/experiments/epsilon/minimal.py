"""The smallest epsilon at which an attack fools the model, image by image. Does not import torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from engine.attacks.spec import AttackSpec
from engine.device import load_libraries
from engine.experiments.sources import Source
from engine.experiments.units import Unit, unit_of
from engine.work.kinds import Bench, Task, kind
from engine.work.specs import from_json
from engine.work.store import Payload

# The largest budget that a search on a page tries, and how exactly it finds the smallest, for each norm.
SEARCH = {"linf": (16 / 255, 0.05 / 255), "l2": (8.0, 0.02)}


@dataclass(frozen=True)
class Try:
    """One attack on one image: `eps` in [0,1], and whether it fooled the model."""

    eps: float
    success: bool


@dataclass(frozen=True)
class Found:
    """What is known of one image: the smallest eps that fooled the model (None: not even the highest; 0: nothing was
    to be done, it is classified wrongly or of the target class as it is) and what was tried, in order."""

    label: int
    eps: float | None
    tries: tuple[Try, ...]


@dataclass(frozen=True)
class Minimal:
    """The search's outcome: `found` in the order of the images, `adversarial` the images at their smallest eps (the
    clean image where there is none), float32 [N, C, H, W]. Of an image's `queries` a defended model refused so many:
    `refusals`."""

    spec: AttackSpec
    high: float
    tolerance: float
    model: str
    found: tuple[Found, ...]
    adversarial: np.ndarray
    queries: np.ndarray
    gradients: np.ndarray
    refusals: np.ndarray
    seconds: float

    @property
    def attacked(self) -> tuple[Found, ...]:
        """The images that had something to be done."""
        return tuple(f for f in self.found if f.eps != 0)

    def summary(self) -> dict[str, Any]:
        """JSON-able. The median counts an image that resisted as infinite, and is None where it is infinite."""
        sizes = [math.inf if f.eps is None else f.eps for f in self.attacked]
        median = float(np.median(sizes)) if sizes else math.inf
        known = [size for size in sizes if math.isfinite(size)]
        return {
            "n": len(self.found),
            "attacked": len(sizes),
            "fooled": len(known),
            "eps_median": median if math.isfinite(median) else None,
            "eps_mean_of_fooled": float(np.mean(known)) if known else None,
            "eps_smallest": min(known, default=None),
            "eps_largest": max(known, default=None),
            "high": self.high,
            "tolerance": self.tolerance,
            "queries_mean": float(self.queries.mean()),
            "gradients_mean": float(self.gradients.mean()),
            "seconds": self.seconds,
            "seed": self.spec.seed,
            "model": self.model,
            "spec": asdict(self.spec),
            "images": [asdict(f) for f in self.found],
        }


@dataclass(frozen=True)
class Searching:
    """The search for the smallest eps on each image of a unit: from `high` ([0,1]) down, known to `tolerance`."""

    unit: Unit
    high: float
    tolerance: float


def minimal_task(source: Source, model: str, attack: AttackSpec, device: str = "auto") -> Task:
    """The job that finds the smallest eps at which `attack` fools the model on one picture; its own eps is ignored."""
    high, tolerance = SEARCH[attack.norm]
    return search_task(unit_of(source, model, replace(attack, eps=high)), high, tolerance, device)


def search_task(unit: Unit, high: float, tolerance: float, device: str = "auto") -> Task:
    """The job that finds it for every image of a unit, whose eps is `high`; `minimal_of` turns its payload into what
    was found."""
    return Task("minimal", Searching(unit, high, tolerance), f"smallest epsilon of {unit.title}", device)


def payload_of(minimal: Minimal) -> Payload:
    """What was found as it is kept."""
    facts = {"spec": asdict(minimal.spec), "high": minimal.high, "tolerance": minimal.tolerance,
             "model": minimal.model, "found": [asdict(found) for found in minimal.found],
             "seconds": minimal.seconds}
    return Payload(facts, {"adversarial": minimal.adversarial, "queries": minimal.queries,
                           "gradients": minimal.gradients, "refusals": minimal.refusals})


def minimal_of(payload: Payload) -> Minimal:
    """What `payload_of` wrote."""
    facts = payload.facts
    return Minimal(from_json(AttackSpec, facts["spec"]), facts["high"], facts["tolerance"], facts["model"],
                   tuple(from_json(Found, found) for found in facts["found"]), **payload.arrays,
                   seconds=facts["seconds"])


@kind("minimal", Searching, version=2, reads=minimal_of)
def _minimal(search: Searching, bench: Bench) -> Payload:
    bench.progress.report(0.0, "loading PyTorch and the model")
    load_libraries()
    from engine.experiments.attacking import search_unit

    return payload_of(search_unit(search.unit, search.high, search.tolerance, bench))


def joined(pieces: Sequence[Minimal]) -> Minimal:
    """What was found in pieces, in their order; without the images, as there may be many."""
    first = pieces[0]
    return replace(first, found=tuple(found for piece in pieces for found in piece.found),
                   adversarial=first.adversarial[:0],
                   queries=np.concatenate([piece.queries for piece in pieces]),
                   gradients=np.concatenate([piece.gradients for piece in pieces]),
                   refusals=np.concatenate([piece.refusals for piece in pieces]),
                   seconds=sum(piece.seconds for piece in pieces))
