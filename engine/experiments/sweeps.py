"""Sweeps: attacks by models on the same images, as a declaration, and its units from coarse to fine. No torch."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from engine.attacks.rows import Rows, joined
from engine.attacks.spec import AttackSpec
from engine.experiments.units import Unit, images_task, rows_of, rows_task, units_of
from engine.work.kinds import Bench


@dataclass(frozen=True)
class Sweep:
    """Every attack (with its budget and seed) on every model, on the images `indices` of one split.

    `names` are what the models call the data set's classes, where they are called otherwise; `further` are the further
    images that the attackers have, the same for all (default: those that belong to `indices`).
    """

    dataset: str
    split: str
    indices: tuple[int, ...]
    models: tuple[str, ...]
    attacks: tuple[AttackSpec, ...]
    names: tuple[tuple[str, str], ...] = ()
    further: tuple[int, ...] | None = None

    def plan(self) -> list[list[Unit]]:
        """The units of every run, model by model and attack by attack; raises EngineError."""
        return [units_of(self.dataset, self.split, self.indices, model, attack, self.names, self.further)
                for model in self.models for attack in self.attacks]


def performed(runs: Sequence[Sequence[Unit]], bench: Bench, with_images: bool = False
              ) -> Generator[None, None, list[Rows]]:
    """The rows of every run, with a yield after each unit: what is known already, or else computed and kept.

    All runs see the same images before any sees the next, and the first images lie far apart, so that what there is
    early is true of the whole.
    """
    order = [(run, place) for place in coarse_to_fine(max(map(len, runs))) for run, units in enumerate(runs)
             if place < len(units)]
    rows: dict[tuple[int, int], Rows] = {}
    for number, (run, place) in enumerate(order):
        part, unit = bench.piece(number, len(order)), runs[run][place]
        if with_images:
            part.result(images_task(unit, bench.device))
        rows[run, place] = rows_of(part.result(rows_task(unit, bench.device)))
        yield
    return [joined([rows[run, place] for place in range(len(units))]) for run, units in enumerate(runs)]


def coarse_to_fine(count: int) -> list[int]:
    """The numbers from 0 to `count` - 1, the first few far apart and every further one in the middle of a gap (van der
    Corput 1935)."""
    bits = max(1, (count - 1).bit_length())
    return [place for place in (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits)) if place < count]
