"""Sweeps: attacks by models on the same images, as a declaration, and its work piece by piece, from coarse to fine.
Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine import digest
from engine.attacks.rows import Rows, joined
from engine.attacks.spec import AttackSpec
from engine.data.marks import MARKS, marked
from engine.errors import EngineError
from engine.experiments.gathered import Gathered, Join, payload_of_runs, runs_of
from engine.experiments.sources import opened, seen
from engine.experiments.units import Unit, common_of, further_of, images_task, rows_of, rows_task, units_of
from engine.progress import Pace
from engine.work.executors import Here
from engine.work.kinds import Bench, Task, kind
from engine.work.specs import canonical
from engine.work.store import Payload
from engine.zoo.registry import label_of

Names = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sweep:
    """Every attack (with its budget and seed) on every model, on the images `indices` of one split.

    `names` are what the models call the data set's classes, where they are called otherwise; `further` are the further
    images that the attackers have, the same for all (default: those that belong to `indices`). `contents` identifies
    images, weights and all else that decides the rows, as they were when it was asked for (`sweep_of`).
    """

    dataset: str
    split: str
    indices: tuple[int, ...]
    models: tuple[str, ...]
    attacks: tuple[AttackSpec, ...]
    names: Names = ()
    further: tuple[int, ...] | None = None
    contents: str = ""

    def canonical(self) -> dict[str, Any]:
        """What it is made of decides, not what that is called."""
        return {"contents": self.contents}

    @property
    def title(self) -> str:
        """For people."""
        attacks = ", ".join(dict.fromkeys(spec.attack for spec in self.attacks))
        return f"{attacks} on {len(self.indices)} images of {self.dataset}/{self.split} with {', '.join(self.models)}"

    @property
    def images(self) -> tuple[str, ...]:
        """What the images are called, in their order; raises EngineError."""
        dataset = opened(self.dataset, self.split)
        return tuple(dataset.item_name(index) for index in self.indices)

    def model_of(self, rows: Rows) -> str:
        """Which of the models the rows are of."""
        label = rows.provenance.model
        return next((model for model in self.models if label_of(model) == label), label)

    def plan(self) -> list[list[Unit]]:
        """The units of every run, model by model and attack by attack; raises EngineError."""
        return [units_of(self.dataset, self.split, self.indices, model, attack, self.names, self.further)
                for model in self.models for attack in self.attacks]

    def units(self, model: str, attack: AttackSpec, places: Iterable[int] | None = None,
              size: int | None = None) -> Iterator[Unit]:
        """The units of one run of the plan, or those at these places, one by one, as a look at all images may take
        long; they are of `size` images where that is less than a batch. Raises EngineError."""
        size = attack.batch if size is None else min(size, attack.batch)
        further = self.further_for(model, attack)
        for place in range(-(-len(self.indices) // size)) if places is None else places:
            yield from units_of(self.dataset, self.split, self.indices[place * size:(place + 1) * size], model, attack,
                                self.names, further, size)

    def unit(self, model: str, attack: AttackSpec, indices: Sequence[int]) -> Unit:
        """The attack on some of the images together, a batch at most, as the sweep's attacker makes it; raises
        EngineError."""
        unit, = units_of(self.dataset, self.split, indices, model, attack, self.names, self.further_for(model, attack))
        return unit

    def further_for(self, model: str, attack: AttackSpec) -> tuple[int, ...]:
        """The numbers of the further images that the attacker has, whichever of the images are attacked together;
        raises EngineError."""
        if self.further is not None:
            return self.further
        return further_of(seen(self.dataset, self.split, model, self.names), self.indices, attack)

    def unchanged(self) -> Sweep:
        """The sweep, if what it names is still what it was when it was asked for; raises EngineError."""
        if self.contents and _contents(self) != self.contents:
            raise EngineError("the images or a model have changed since this was asked for; ask for it again")
        return self


def sweep_of(dataset: str, split: str, indices: Sequence[int], models: Sequence[str], attacks: Sequence[AttackSpec],
             names: Names = (), further: Sequence[int] | None = None) -> Sweep:
    """That sweep of images and models as they are now; raises EngineError for what can be seen without computing."""
    asked = Sweep(dataset, split, tuple(indices), tuple(models), tuple(attacks), names,
                  None if further is None else tuple(further))
    if not (asked.indices and asked.models and asked.attacks):
        raise EngineError("a sweep needs at least one image, one model and one attack")
    return replace(asked, contents=_contents(asked))


def _contents(sweep: Sweep) -> str:
    """The digest of what decides the rows of a sweep: less than all of its units', which would be many."""
    runs: list[Any] = []
    images = ""
    for model in sweep.models:
        dataset = seen(sweep.dataset, sweep.split, model, sweep.names)
        images = images or dataset.digest_of(sweep.indices)
        for attack in sweep.attacks:
            further = sweep.further_for(model, attack)
            runs.append(canonical(common_of(dataset, sweep.dataset, model, attack, further)))
    names = {attack.mask for attack in sweep.attacks} & set(MARKS)
    masks = [digest.of_arrays(shape) for name in sorted(names) for index in sweep.indices
             if (shape := marked(name, dataset, index)) is not None]
    return digest.of_spec({"images": images, "runs": runs, "masks": masks})


@dataclass(frozen=True)
class Step:
    """A piece of long work: the task, and `read`, which takes from its result the rows of each of `runs`, by their
    numbers among the runs of the whole. `place` numbers the images it is about; `before` is done first, for what it
    leaves behind."""

    task: Task
    runs: tuple[int, ...]
    place: int
    read: Callable[[Payload], Sequence[Rows]] = lambda payload: (rows_of(payload),)
    before: tuple[Task, ...] = ()


def steps_of(runs: Sequence[Sequence[Unit]], device: str, with_images: bool = False) -> list[Step]:
    """A step for every unit of every run; `with_images` keeps their images, too."""
    return [Step(rows_task(unit, device), (run,), place,
                 before=(images_task(unit, device),) if with_images else ())
            for run, units in enumerate(runs) for place, unit in enumerate(units)]


def performed(steps: Sequence[Step], bench: Bench, join: Join = joined) -> Generator[None, None, list[Rows]]:
    """The rows of every run, with a yield after each step: what is known already, or else computed and kept.

    All runs see the same images before any sees the next, and the first images lie far apart, so that what there is
    early is true of the whole. It is published as it grows. `join` makes one run of its pieces.
    """
    order = coarse_to_fine(1 + max(step.place for step in steps))
    rank = {place: number for number, place in enumerate(order)}
    found = Gathered(1 + max(run for step in steps for run in step.runs), len(steps), join)
    bench.publish(found)
    ordered = sorted(steps, key=lambda step: rank[step.place])
    executor, pace, rows = bench.executor or Here(), Pace(), 0

    def at_what_pace(text: str) -> str:
        rate = pace.rate()
        return text if rate is None else f"{text}, {rate:,.{0 if rate >= 10 else 1}f} attacked images a second"

    telling = replace(bench, progress=bench.progress.saying(at_what_pace))
    for number, payload in executor.results([(*step.before, step.task) for step in ordered], telling):
        step = ordered[number]
        pieces = step.read(payload)
        found.add(step.runs, step.place, pieces)
        rows += sum(len(piece.labels) for piece in pieces)
        pace.mark(rows)
        yield
    return found.whole()


def coarse_to_fine(count: int) -> list[int]:
    """The numbers from 0 to `count` - 1, the first few far apart and every further one in the middle of a gap (van der
    Corput 1935)."""
    bits = max(1, (count - 1).bit_length())
    return [place for place in (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits)) if place < count]


def evaluation_task(sweep: Sweep, device: str = "auto") -> Task:
    """The long job whose payload `runs_of` turns into the rows of every run, model by model and attack by attack."""
    return Task("evaluation", sweep, f"evaluation: {sweep.title}", device)


@kind("evaluation", Sweep, reads=runs_of)
def _evaluation(sweep: Sweep, bench: Bench) -> Generator[None, None, Payload]:
    bench.progress.report(0.0, "planning")
    return payload_of_runs((yield from performed(steps_of(sweep.unchanged().plan(), bench.device), bench)))
