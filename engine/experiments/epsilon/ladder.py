"""One attack at many eps at once, and the two readings of a curve. Does not import torch."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from engine import digest
from engine.attacks import ATTACKS
from engine.attacks.rows import Rows
from engine.attacks.spec import AttackSpec, attack_of
from engine.device import load_libraries
from engine.errors import EngineError, UnknownName
from engine.experiments.gathered import payload_of_runs, runs_of
from engine.experiments.sweeps import Step, Sweep, performed
from engine.experiments.units import Unit, rows_task
from engine.work.kinds import Bench, Task, kind
from engine.work.specs import canonical
from engine.work.store import Payload

INDEPENDENT, WORST = "independent", "worst"
READINGS = {
    INDEPENDENT: "independent runs: at every eps an attack of its own, which uses all of it",
    WORST: "worst case within the budget: an image counts as fooled from the smallest eps on that fools it",
}
ASSUMED = ("found by halving: each success is verified, but it is assumed, not proven, that no image resists a larger "
           "eps after it failed a smaller one")
# The worst case taken from independent runs, which were paid for as such: nothing is assumed.
TRIED = "tried"


@dataclass(frozen=True)
class Ladder:
    """A unit's attack at every eps of `rungs`, in [0,1] and ascending, the last of which is the unit's own, in one of
    READINGS or as TRIED; with `pictures` the images are kept, too."""

    unit: Unit
    rungs: tuple[float, ...]
    reading: str
    pictures: bool = False

    def canonical(self) -> dict[str, Any]:
        """Whether images are kept changes no rows."""
        return {"unit": canonical(self.unit), "rungs": list(self.rungs), "reading": self.reading}

    def at(self, eps: float) -> Unit:
        """The unit of one rung."""
        return replace(self.unit, attack=replace(self.unit.attack, eps=eps))


def ladder_of(unit: Unit, rungs: Sequence[float], reading: str, pictures: bool = False) -> Ladder:
    """The unit's attack at those eps, whatever its own; raises EngineError."""
    if not ATTACKS[unit.attack.attack].info.bounded:
        raise EngineError(f"{unit.attack.attack} has no eps, and so no curve")
    ordered = tuple(sorted(set(rungs)))
    if not ordered:
        raise EngineError("a curve needs at least one eps")
    return Ladder(replace(unit, attack=replace(unit.attack, eps=ordered[-1])), ordered, reading, pictures)


@dataclass(frozen=True, eq=False)
class Climbed:
    """The rows of every rung, and images [N, C, H, W]: at the largest eps, or in the worst case at the smallest that
    fooled the model (as they are, where none did)."""

    runs: list[Rows]
    images: np.ndarray


def sharing(runs: Sequence[Rows]) -> list[Rows]:
    """Runs of which the first one asked for what all used: the others spent nothing."""
    return [runs[0], *unpaid(runs[1:])]


def unpaid(runs: Sequence[Rows]) -> list[Rows]:
    """Runs whose cost is counted elsewhere."""
    return [replace(rows, queries=np.zeros_like(rows.queries), gradients=np.zeros_like(rows.gradients),
                    tally=replace(rows.tally, zero_gradients=0, bad_gradients=0)) for rows in runs]


def further(left: Any) -> Any:
    """How many rungs above the highest that an image resists the next try is, where `left` are above that, the last of
    which fools it: rather more than half, as an attack that soon succeeds costs less than one that fails."""
    return np.minimum(left - 1, -(-3 * left // 5))


def most_tries(rungs: int) -> int:
    """How often an image is tried at most: at the largest eps, and as long as more than one rung is left."""
    return 1 + _deepest(rungs)


def _deepest(left: int) -> int:
    if left < 2:
        return 0
    step = int(further(left))
    return 1 + max(_deepest(step), _deepest(left - step))


# ---- kinds of work


def ladder_task(ladder: Ladder, device: str = "auto") -> Task:
    """The job whose payload `runs_of` turns into rows, those of a rung after the other."""
    return Task("ladder", ladder, f"{len(ladder.rungs)} epsilons of {ladder.unit.title}", device)


def pictures_task(ladder: Ladder, device: str = "auto") -> Task:
    """The job that gives the images of a ladder, as `pictures_of` reads them."""
    return Task("ladder pictures", replace(ladder, pictures=True), f"images of {ladder.unit.title}", device)


def pictures_of(payload: Payload) -> np.ndarray:
    """The images of Climbed."""
    return payload.arrays["pictures"]


@kind("ladder", Ladder, reads=runs_of)
def _ladder(ladder: Ladder, bench: Bench) -> Payload:
    """The rows of every rung. Those of separate runs are kept as the units they are, too, and taken from there."""
    found = _climbed(ladder, bench)
    if ladder.pictures:
        bench.keep(pictures_task(ladder, bench.device), Payload({}, {"pictures": found.images}))
    return payload_of_runs(found.runs)


@kind("ladder pictures", Ladder, reads=pictures_of)
def _pictures(ladder: Ladder, bench: Bench) -> Payload:
    """The images of a ladder; the rows are kept as well."""
    found = _climbed(ladder, bench)
    bench.keep(ladder_task(ladder, bench.device), payload_of_runs(found.runs))
    return Payload({}, {"pictures": found.images})


def _climbed(ladder: Ladder, bench: Bench) -> Climbed:
    bench.progress.report(0.0, "loading PyTorch and the model")
    load_libraries()
    from engine.experiments.epsilon.climbing import climbed

    return climbed(ladder, bench)


# ---- curves: ladders on many images, by several attacks and models


@dataclass(frozen=True)
class Curves:
    """The runs of a sweep in one reading or both, run by run in the order of the sweep, reading by reading; with
    `pictures` the images of the first batch are kept, too."""

    sweep: Sweep
    readings: tuple[str, ...]
    pictures: bool = False


def curves_of(sweep: Sweep, readings: Sequence[str], pictures: bool = False) -> Curves:
    """Curves of that sweep; raises EngineError."""
    for reading in readings:
        if reading not in READINGS:
            raise UnknownName("reading", reading, tuple(READINGS))
    for spec in sweep.attacks:
        if spec.eps is None:
            raise EngineError(f"{spec.attack} has no eps, and so no curve")
    return Curves(sweep, tuple(dict.fromkeys(readings)), pictures)


def climbs_of(sweep: Sweep) -> list[tuple[int, ...]]:
    """The numbers of the sweep's runs that differ in eps alone, in ascending order of it, model by model."""
    climbs: dict[str, list[int]] = {}
    for model in range(len(sweep.models)):
        for place, spec in enumerate(sweep.attacks):
            same = digest.of_spec({"model": model, **asdict(replace(spec, eps=None))})
            climbs.setdefault(same, []).append(model * len(sweep.attacks) + place)
    return [tuple(sorted(runs, key=lambda run: _spec(sweep, run).eps or 0)) for runs in climbs.values()]


def _spec(sweep: Sweep, run: int) -> AttackSpec:
    return sweep.attacks[run % len(sweep.attacks)]


def ladders_of(curves: Curves, climb: Sequence[int], reading: str) -> list[Ladder]:
    """The ladders of one climb, a batch of images each."""
    return list(_ladders(curves, climb, reading))


def first_ladder(curves: Curves, climb: Sequence[int], reading: str) -> Ladder:
    """The one whose pictures are kept, without a look at the images of the others."""
    return next(_ladders(curves, climb, reading))


def _ladders(curves: Curves, climb: Sequence[int], reading: str) -> Iterator[Ladder]:
    sweep, rungs = curves.sweep, [_spec(curves.sweep, run).eps or 0.0 for run in climb]
    units = sweep.units(sweep.models[climb[0] // len(sweep.attacks)], _spec(sweep, climb[-1]))
    return (ladder_of(unit, rungs, reading, curves.pictures and place == 0) for place, unit in enumerate(units))


def curve_steps(curves: Curves, device: str = "auto") -> list[Step]:
    """The work of the curves, that of straight attacks first, as it takes least; raises EngineError."""
    climbs = sorted(climbs_of(curves.sweep), key=lambda climb: not _straight(_spec(curves.sweep, climb[0])))
    return [step for climb in climbs for step in _steps(curves, climb, device)]


def _steps(curves: Curves, climb: Sequence[int], device: str) -> Iterator[Step]:
    """Where both readings are asked for, the worst case is taken from the independent runs, which it makes first."""
    count = len(curves.sweep.models) * len(curves.sweep.attacks)
    numbers = {reading: tuple(place * count + run for run in climb) for place, reading in enumerate(curves.readings)}
    if WORST in numbers:
        reading = TRIED if INDEPENDENT in numbers else WORST
        for place, ladder in enumerate(ladders_of(curves, climb, reading)):
            yield _climbing(ladder, numbers[WORST], place, device)
    if INDEPENDENT in numbers:
        straight = _straight(_spec(curves.sweep, climb[0]))
        for place, ladder in enumerate(ladders_of(curves, climb, INDEPENDENT)):
            if straight:
                yield _climbing(ladder, numbers[INDEPENDENT], place, device)
            else:
                yield from (Step(rows_task(ladder.at(eps), device), (run,), place)
                            for eps, run in zip(ladder.rungs, numbers[INDEPENDENT], strict=True))


def _climbing(ladder: Ladder, runs: tuple[int, ...], place: int, device: str) -> Step:
    return Step(ladder_task(ladder, device), runs, place, runs_of,
                before=(pictures_task(ladder, device),) if ladder.pictures else ())


def paid_for(curves: Curves) -> list[AttackSpec]:
    """The attacks that cost at least what the curves do, on every model: one of a straight attack, and for the worst
    case alone as many as halving takes."""
    paid: list[AttackSpec] = []
    for climb in climbs_of(curves.sweep)[:len(curves.sweep.attacks)]:
        specs = [_spec(curves.sweep, run) for run in climb if run < len(curves.sweep.attacks)]
        if specs and _straight(specs[0]):
            specs = specs[:1]
        elif INDEPENDENT not in curves.readings:
            specs = specs[-most_tries(len(specs)):]
        paid += specs
    return paid


def _straight(spec: AttackSpec) -> bool:
    return attack_of(spec).straight


def curves_task(curves: Curves, device: str = "auto") -> Task:
    """The long job whose payload `runs_of` turns into the rows of every run, reading by reading."""
    return Task("curves", curves, f"curves: {curves.sweep.title}", device)


@kind("curves", Curves, reads=runs_of)
def _curves(curves: Curves, bench: Bench) -> Generator[None, None, Payload]:
    bench.progress.report(0.0, "planning")
    curves.sweep.unchanged()
    return payload_of_runs((yield from performed(curve_steps(curves, bench.device), bench)))
