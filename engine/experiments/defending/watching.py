"""What defenses that refuse make of pictures, as work: the scores that detectors give untouched and attacked ones, and
what becomes of somebody who sends honest ones only. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.attacks.rows import lock
from engine.attacks.spec import AttackSpec
from engine.defenses.base import defenses_from, learners, written
from engine.defenses.detectors import Detector
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.defended import stacks_of
from engine.experiments.defending.facing import Facing, facing
from engine.experiments.sources import seen
from engine.experiments.sweeps import Sweep
from engine.experiments.units import Unit, images_of, images_task
from engine.serving.defense import Defense
from engine.work.kinds import Bench, Task, kind
from engine.work.store import Payload

CROWD = 1000  # honest pictures that one client sends, at most


@dataclass(frozen=True, eq=False)
class Scores:
    """What a `detector` makes of N images: its scores, float64 [N], before an attack (`clean`) and after (`attacked`).
    What scores above `threshold` is refused; that was set so that a share `allowed` of untouched images is."""

    detector: str
    allowed: float
    threshold: float
    clean: np.ndarray
    attacked: np.ndarray

    def __post_init__(self) -> None:
        lock(self)

    @staticmethod
    def joined(pieces: Sequence[Scores]) -> Scores:
        """Those of several runs as of one."""
        return replace(pieces[0], clean=np.concatenate([one.clean for one in pieces]),
                       attacked=np.concatenate([one.attacked for one in pieces]))


@dataclass(frozen=True, eq=False)
class Crowd:
    """N honest pictures that one client sends a defended model, as a clinic does: which are `refused`, bool [N].
    Detectors, which look at each picture by itself, take no part."""

    model: str
    defenses: str
    refused: np.ndarray

    def __post_init__(self) -> None:
        lock(self)


def detectors_in(stack: str) -> list[Detector]:
    """The detectors among the defenses that `stack` names, in their order."""
    return [defense for defense in defenses_from(stack) if isinstance(defense, Detector)]


def remembers(defense: Defense) -> bool:
    """Whether what it refuses depends on what else the client asked."""
    return type(defense).refuses is not Defense.refuses and not defense.info.fitted


def without_detectors(stack: str) -> str:
    """The same defenses without those that learned from clean images."""
    defenses = defenses_from(stack)
    return written([defense for defense in defenses if defense not in learners(defenses)])


# ---- what is kept


def payload_of_scores(found: Sequence[Scores]) -> Payload:
    """The scores of one run's detectors as they are kept."""
    return Payload({"scores": [{"detector": one.detector, "allowed": one.allowed, "threshold": one.threshold}
                               for one in found]},
                   {f"{place}_{side}": getattr(one, side) for place, one in enumerate(found)
                    for side in ("clean", "attacked")})


def scores_of(payload: Payload) -> tuple[Scores, ...]:
    """What `payload_of_scores` wrote; raises EngineError for what is no such result."""
    try:
        return tuple(Scores(facts["detector"], facts["allowed"], facts["threshold"], payload.arrays[f"{place}_clean"],
                            payload.arrays[f"{place}_attacked"])
                     for place, facts in enumerate(payload.facts["scores"]))
    except (KeyError, TypeError) as error:
        raise EngineError(f"these are no detector's scores ({type(error).__name__})") from None


# ---- kinds of work


def scores_task(unit: Unit, device: str = "auto") -> Task:
    """The job whose payload `scores_of` turns into the scores of the unit's detectors, in their order."""
    return Task("scores", unit, f"what detectors make of {unit.title}", device)


@kind("scores", Unit, reads=scores_of)
def _scores(unit: Unit, bench: Bench) -> Payload:
    adversarial, _ = images_of(bench.part(0.0, 0.7).result(images_task(unit, bench.device)))
    bench.progress.report(0.7, "asking the detectors")
    load_libraries()
    from engine.experiments.defending.asking import scored

    return payload_of_scores(scored(unit, adversarial, bench.device))


def crowds(sweep: Sweep) -> Iterator[tuple[str, str, Facing]]:
    """Every model and stack with a defense that remembers, and the honest pictures that are sent there: those of the
    whole split, or CROWD of them, in its order, where pictures of one patient stand together. Raises EngineError."""
    for model in sweep.models:
        for stack in stacks_of(sweep.attacks):
            if any(map(remembers, defenses_from(stack))):
                count = len(seen(sweep.dataset, sweep.split, model, sweep.names).labels)
                yield model, stack, facing(sweep.dataset, sweep.split, range(min(CROWD, count)), model,
                                           without_detectors(stack), (), sweep.attacks[0].seed, sweep.names)


def crowd_task(spec: Facing, device: str = "auto") -> Task:
    """The job whose payload `refused_of` reads."""
    return Task("crowd", spec, f"{len(spec.indices):,} honest pictures from one client", device)


def refused_of(payload: Payload) -> np.ndarray:
    """Which of the crowd's pictures were refused, bool [N]."""
    return payload.arrays["refused"]


@kind("crowd", Facing, reads=refused_of)
def _crowd(spec: Facing, bench: Bench) -> Payload:
    bench.progress.report(0.0, "sending honest pictures")
    load_libraries()
    from engine.experiments.defending.asking import refused_of_one_client

    return Payload({}, {"refused": refused_of_one_client(spec, bench.device)})


def facts_of_crowds(found: Sequence[Crowd]) -> list[dict[str, Any]]:
    """What is kept of them beside which were refused."""
    return [{"model": one.model, "defenses": one.defenses} for one in found]


def has_detectors(spec: AttackSpec) -> bool:
    """Whether the attack is made on a model behind a detector."""
    return bool(detectors_in(spec.defenses))
