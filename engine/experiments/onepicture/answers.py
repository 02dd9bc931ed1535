"""What a served model with a random defense answers, again and again, to the picture of an attack. Building a task does
not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from engine import device as devices
from engine.errors import EngineError
from engine.experiments.onepicture.asking import answers, served
from engine.experiments.onepicture.explore import explored_task
from engine.experiments.onepicture.explored import Explored
from engine.experiments.units import Unit
from engine.work.kinds import Bench, Task, kind
from engine.work.results import Result
from engine.work.store import Payload

DRAWS = 64  # answers by which one sees how far a random defense spreads them
_AT_ONCE = 16  # pictures that the model sees together


def _shares(values: np.ndarray) -> np.ndarray:
    if values.ndim != 2 or not len(values) or not (values.min() >= 0 and values.max() <= 1 + 1e-6):
        raise EngineError("answers must be probabilities, a row an answer")
    return values


Shares = Annotated[np.ndarray, Field(exclude=True), AfterValidator(_shares)]


@dataclass(frozen=True, eq=False)
class Answered(Result):
    """Probabilities [draws, K] of the picture before and after the attack, a row an answer; 0 where it was refused."""

    before: Shares
    after: Shares

    def __post_init__(self) -> None:
        if self.before.shape != self.after.shape:
            raise EngineError("the answers before and after do not fit together")


@dataclass(frozen=True)
class Asking:
    """So many answers to the picture of a unit, as it was and as the attack left it."""

    unit: Unit
    draws: int


def answers_task(explored: Task, draws: int = DRAWS) -> Task:
    """The job that asks the served model again and again about the picture of the attack `explored`."""
    return Task("answers", Asking(explored.spec, draws), f"{draws} answers to {explored.title}", explored.device)


@kind("answers", Asking, reads=Answered.of)
def _answers(spec: Asking, bench: Bench) -> Payload:
    explored = Explored.of(bench.result(explored_task(spec.unit, bench.device)))
    bench.progress.report(0.0, "loading the model")
    import torch

    from engine.serving.prepare import placed
    from engine.zoo.registry import load_model

    model = served(spec.unit, placed(load_model(spec.unit.model), devices.choose(bench.device)))
    found: list[np.ndarray] = []
    for what, image in (("before", explored.clean), ("after", explored.adversarial)):
        for first in range(0, spec.draws, _AT_ONCE):
            bench.progress.report((len(found) * _AT_ONCE) / (2 * spec.draws), f"answer {first + 1} {what} the attack")
            sessions = [f"answer {number}" for number in range(first, min(first + _AT_ONCE, spec.draws))]
            same = torch.from_numpy(image).expand(len(sessions), *image.shape)
            with devices.exact():
                found.append(answers(model, same, sessions))
    before, after = np.split(np.concatenate(found), 2)
    return Answered(before, after).payload()
