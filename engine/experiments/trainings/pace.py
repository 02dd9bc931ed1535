"""What a training will cost here: from a step that is measured. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.data import Dataset
from engine.device import load_libraries
from engine.training.defenses import NOTHING, SAMPLE, defense_of
from engine.training.spec import TrainSpec, network_of, side_of
from engine.work.kinds import Bench, Task, kind
from engine.work.store import Payload
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.variants import Variant

FORWARD = 0.4  # a forward pass in units of forward and backward
WATCHED = SAMPLE * 11  # passes to see after an epoch how many pictures withstand PGD-10 and FGSM
_COPIES = 5  # of the weights: they, their gradients, the optimiser's two, and the best epoch's


@dataclass(frozen=True)
class Measuring:
    """Which network, on pictures of which size."""

    network: Variant
    size: int
    precision: str


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes of memory of a whole training."""

    seconds: float
    bytes: float


def measuring_task(spec: TrainSpec, training: Dataset, device: str = "auto") -> Task:
    """The job that measures a step of that training at its full size."""
    return Task("pace", Measuring(network_of(spec, len(training.classes)), full_size(spec, training), spec.precision),
                f"a step of {spec.arch}", device)


def full_size(spec: TrainSpec, training: Dataset) -> int:
    """The side of the pictures in the last epochs; raises EngineError."""
    return side_of(spec, training.image(0).shape[-1])


def cost_of(spec: TrainSpec, training: Dataset, counts: Mapping[str, int], measured: Payload) -> Cost:
    """What it costs with so many pictures of each split, if it does not stop early; by what `measuring_task` gave."""
    size, pace, image = full_size(spec, training), measured.facts["seconds"], training.image(0).size
    small = 1.0 if ARCHITECTURES[spec.arch].fixed else min(1.0, (spec.small_size / size) ** 2)
    sides = [small if epoch < spec.epochs - spec.full_size_epochs else 1.0 for epoch in range(spec.epochs)]
    epochs = sum(side * (FORWARD if epoch < spec.frozen_epochs else 1.0) for epoch, side in enumerate(sides))
    defense = defense_of(spec.defense) or NOTHING
    under_attack = 0 if defense.watched is None else spec.epochs * WATCHED
    looks = spec.epochs * counts[spec.validation] + 2 * (sum(counts.values()) - counts[spec.split])
    learned = (epochs * defense.passes + defense.first_passes) * counts[spec.split]
    return Cost(pace * (learned + under_attack + FORWARD * looks),
                _COPIES * measured.facts["weights"] + image * sum(counts.values())
                + min(spec.batch, counts[spec.split]) * defense.together * measured.facts["bytes"])


@kind("pace", Measuring, keep=False)
def _measure(asked: Measuring, bench: Bench) -> Payload:
    bench.progress.report(0.0, "loading PyTorch")
    load_libraries()
    from engine.training.pace import measured

    return Payload(dict(measured(asked.network, asked.size, asked.precision, bench.device)), {})
