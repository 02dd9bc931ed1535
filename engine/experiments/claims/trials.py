"""A claim measured: with the networks of every seed, the same attacks on the same pictures. Does not import torch."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from engine.attacks.rows import Rows
from engine.attacks.spec import make_spec
from engine.data.splits import evenly
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
    numbered `indices`. `models` are the target and, where there is one, the surrogate."""

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
    wanted = [network for network in (claim.target, claim.surrogate) if network is not None]
    models = []
    for number, network in enumerate(wanted):
        part = bench.part(0.0, _TRAINED).piece(number, len(wanted))
        models.append(ready(network, claim.dataset, seed, part))
        yield
    indices = yield from read_by_all(claim, tuple(models), bench.part(_TRAINED, _READ))
    surrogate = "".join(models[1:])
    specs = tuple(replace(spec, surrogate=surrogate) for entry in claim.entries for spec in entry.specs)
    sweep = Sweep(claim.dataset, claim.split, indices, (models[0],), specs)
    rows = yield from performed(steps_of(sweep.plan(), bench.device), bench.part(_READ, 1.0))
    width = len(claim.budgets)
    return Trial(tuple(models), indices, {entry.label: tuple(rows[place * width:(place + 1) * width])
                                          for place, entry in enumerate(claim.entries)})


def read_by_all(claim: Claim, models: tuple[str, ...], bench: Bench) -> Generator[None, None, tuple[int, ...]]:
    """The claim's pictures: those that all models read correctly, the same number of every class where there are
    enough, spread evenly over the split; raises EngineError."""
    split = opened(claim.dataset, claim.split)
    nothing = make_spec("fgsm", eps=0.0)
    sweep = Sweep(claim.dataset, claim.split, tuple(range(len(split))), models, (nothing,))
    rows = yield from performed(steps_of(sweep.plan(), bench.device), bench)
    read = np.logical_and.reduce([seen.predicted_clean == seen.labels for seen in rows])
    labels = rows[0].labels
    each = claim.pictures // len(np.unique(labels))
    chosen = [int(index) for label in np.unique(labels)
              for index in evenly(np.flatnonzero(read & (labels == label)).tolist(), each)]
    if not chosen:
        raise EngineError(f"no picture of {claim.dataset}/{claim.split} is read correctly by {' and '.join(models)}; "
                          "there is nothing to attack")
    return tuple(chosen)
