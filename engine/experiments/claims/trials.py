"""A claim measured: with the networks of every seed, the same attacks on the same pictures. Does not import torch."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from engine.attacks.rows import Rows
from engine.attacks.spec import make_spec
from engine.data.splits import evenly_of_each
from engine.errors import EngineError
from engine.experiments.claims.declared import Claim
from engine.experiments.claims.networks import ready
from engine.experiments.sources import opened
from engine.experiments.sweeps import Sweep, performed, steps_of
from engine.work.kinds import Bench

_TRAINED, _READ = 0.3, 0.4  # which part of the work is over when


@dataclass(frozen=True, eq=False)
class Trial:
    """What came out with the networks of one seed: `rows` of every entry, one of each budget, about the pictures
    numbered `indices`. `models` are the targets and, where there is one, the surrogate."""

    models: tuple[str, ...]
    indices: tuple[int, ...]
    rows: Mapping[str, tuple[Rows, ...]]


def trials(claim: Claim, seeds: int, bench: Bench) -> Generator[None, None, list[Trial]]:
    """A trial for each of so many seeds, with a yield between units of work; raises EngineError and Cancelled.

    Networks and rows are kept, so that who was stopped goes on there.
    """
    found = []
    for seed in range(seeds):
        found.append((yield from _trial(claim, seed, bench.piece(seed, seeds))))
    return found


def _trial(claim: Claim, seed: int, bench: Bench) -> Generator[None, None, Trial]:
    targets = claim.targets
    wanted = [*targets, *([] if claim.surrogate is None else [claim.surrogate])]
    models = []
    for number, network in enumerate(wanted):
        part = bench.part(0.0, _TRAINED).piece(number, len(wanted))
        models.append(ready(network, claim.dataset, seed, part))
        yield
    indices = yield from _pictures(claim, tuple(models), bench.part(_TRAINED, _READ))
    surrogate = "".join(models[len(targets):])
    plan = []
    for entry in claim.entries:
        model = models[targets.index(claim.target_of(entry))]
        specs = tuple(replace(spec, surrogate=surrogate) for spec in entry.specs)
        plan += Sweep(claim.dataset, claim.split, indices, (model,), specs).plan()
    rows = yield from performed(steps_of(plan, bench.device), bench.part(_READ, 1.0))
    width = len(claim.budgets)
    return Trial(tuple(models), indices, {entry.label: tuple(rows[place * width:(place + 1) * width])
                                          for place, entry in enumerate(claim.entries)})


def _pictures(claim: Claim, models: tuple[str, ...], bench: Bench) -> Generator[None, None, tuple[int, ...]]:
    """The claim's pictures; raises EngineError."""
    if not claim.misread:
        return (yield from read_by_all(claim, models, bench))
    labels = opened(claim.dataset, claim.split).labels
    return _evenly(claim, labels, np.ones(len(labels), dtype=bool))


def read_by_all(claim: Claim, models: tuple[str, ...], bench: Bench) -> Generator[None, None, tuple[int, ...]]:
    """The claim's pictures: those that all models read correctly, the same number of every class where there are
    enough, spread evenly over the split; raises EngineError."""
    split = opened(claim.dataset, claim.split)
    nothing = make_spec("fgsm", eps=0.0)
    sweep = Sweep(claim.dataset, claim.split, tuple(range(len(split))), models, (nothing,))
    rows = yield from performed(steps_of(sweep.plan(), bench.device), bench)
    read = np.logical_and.reduce([seen.predicted_clean == seen.labels for seen in rows])
    chosen = _evenly(claim, rows[0].labels, read)
    if not chosen:
        raise EngineError(f"no picture of {claim.dataset}/{claim.split} is read correctly by {' and '.join(models)}; "
                          "there is nothing to attack")
    return chosen


def _evenly(claim: Claim, labels: np.ndarray, allowed: np.ndarray) -> tuple[int, ...]:
    """As many of the allowed pictures as the claim wants, the same number of every class where there are enough."""
    return tuple(evenly_of_each(labels, claim.pictures // len(np.unique(labels)), allowed))
