"""Walks: black-box attacks, and how near they had come to each image after how many queries. Does not import torch.

A walk is made once, to the largest number of queries asked for; how far it was at any smaller number is read from it.
Whoever asks a random defense may have been lucky: the nearest images of such a walk are asked about again.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, cast

import numpy as np

from engine import device as devices
from engine.attacks import ATTACKS
from engine.attacks.base import Cost, Knowledge
from engine.attacks.result import FRAMES, Finds
from engine.attacks.rows import Rows, joined, sizes
from engine.attacks.spec import AttackSpec, asking, attack_of, has_gradients
from engine.defenses.base import defenses_from
from engine.errors import EngineError
from engine.experiments.defending.again import ARRAYS, TIMES, Again
from engine.experiments.gathered import payload_of_runs, runs_of
from engine.experiments.onepicture import pace
from engine.experiments.sweeps import Step, Sweep, performed
from engine.experiments.units import (
    Unit,
    attacked,
    images_payload,
    images_task,
    payload_of,
    rows_task,
    units_of,
)
from engine.params import params_of
from engine.serving.defense import is_random
from engine.work.kinds import Bench, Task, kind
from engine.work.store import Payload

if TYPE_CHECKING:
    from engine.attacks.result import AttackResult

MOST_FILMS = 4  # of one run
QUERIES = "queries"  # what every black-box attack calls the queries that it may spend on an image
AT_ONCE = 250  # about so many queries a unit on a CPU: a few seconds, after which others have their turn
FEWEST = 2  # images of a unit
_FIND, _FILM, _VERIFIED = "find_", "film_", "verified_"


@dataclass(frozen=True, eq=False)
class Film:
    """The way of one image in pictures: its number in the split, and the `frames` float16 [F, C, H, W] after `queries`
    [F], each so far from the original in the norm of the run: `sizes` [F]. The last frame is the image returned."""

    index: int
    queries: tuple[int, ...]
    sizes: tuple[float, ...]
    frames: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Walks(Rows):
    """One run on N images (Rows), its `finds` on the way, `films` of a few images, and its nearest images asked about
    again, where they were: `verified`.

    An attack that sees decisions alone has found something from its first image on that fools the model, and then ever
    nearer ones; what it returns lies a thousandth further out than the last, where another rounding changes nothing.
    One that sees more has found its only one at its end.
    """

    finds: Finds
    films: tuple[Film, ...] = ()
    verified: Again | None = None

    @classmethod
    def of(cls, rows: Rows, finds: Finds, films: tuple[Film, ...] = (), verified: Again | None = None) -> Walks:
        """The walks whose rows are those."""
        return cls(**{f.name: getattr(rows, f.name) for f in fields(Rows)}, finds=finds, films=films,
                   verified=verified)

    @property
    def limit(self) -> int:
        """The queries that the attack might spend on an image."""
        return limit_of(self.spec)

    @cached_property
    def _ways(self) -> list[slice]:
        """Which of the finds are each image's."""
        bounds = np.searchsorted(self.finds.image, np.arange(len(self.labels) + 1)).tolist()
        return [slice(start, end) for start, end in pairwise(bounds)]

    def distances(self, norm: str, counts: Sequence[int]) -> np.ndarray:
        """How far, in `norm`, the nearest image that fooled the model lay after so many queries [len(counts), N];
        infinite where there was none, or where in the end the model as it is was not fooled (`success`)."""
        found = np.full((len(counts), len(self.labels)), np.inf)
        for image in np.flatnonzero(self.success):
            way = self._ways[image]
            far = np.array([np.inf, *getattr(self.finds, norm)[way]])
            found[:, image] = far[np.searchsorted(self.finds.queries[way], counts, side="right")]
        return found


def walks_joined(pieces: Sequence[Walks]) -> Walks:
    """A run that was made in `pieces`, in their order; the same as if it had been made in one, but for the films."""
    again = [piece.verified for piece in pieces]
    return Walks.of(joined(pieces), Finds.joined([(piece.finds, len(piece.labels)) for piece in pieces]),
                    tuple(film for piece in pieces for film in piece.films)[:MOST_FILMS],
                    None if None in again else Again.joined(cast(list[Again], again)))


def payload_of_walks(walks: Sequence[Walks]) -> Payload:
    """Walks as they are kept: as rows are, and what they have besides."""
    kept = payload_of_runs(walks)
    finds = {_FIND + f.name: np.concatenate([getattr(one.finds, f.name) for one in walks]) for f in fields(Finds)}
    films = [{"run": run, "index": film.index, "queries": list(film.queries), "sizes": list(film.sizes)}
             for run, one in enumerate(walks) for film in one.films]
    frames = {f"{_FILM}{number}": film.frames
              for number, film in enumerate(film for one in walks for film in one.films)}
    again = {number: one.verified for number, one in enumerate(walks) if one.verified is not None}
    looks = {str(number): {"times": one.times, "queries": list(one.queries)} for number, one in again.items()}
    answers = {f"{_VERIFIED}{number}_{name}": getattr(one, name) for number, one in again.items() for name in ARRAYS}
    return Payload({**kept.facts, "finds": [len(one.finds.image) for one in walks], "films": films,
                    **({"verified": looks} if looks else {})}, {**kept.arrays, **finds, **frames, **answers})


def walks_of(payload: Payload) -> list[Walks]:
    """The walks that `payload_of_walks` wrote; raises EngineError for what is no such result."""
    runs = runs_of(payload)
    try:
        counts, films = payload.facts["finds"], payload.facts["films"]
        columns = {f.name: payload.arrays[_FIND + f.name] for f in fields(Finds)}
        ends = np.cumsum([0, *counts]).tolist()
        pictures = [Film(film["index"], tuple(film["queries"]), tuple(film["sizes"]),
                         payload.arrays[f"{_FILM}{number}"]) for number, film in enumerate(films)]
        again = {int(run): Again(looks["times"], tuple(looks["queries"]),
                                 *(payload.arrays[f"{_VERIFIED}{run}_{name}"] for name in ARRAYS))
                 for run, looks in payload.facts.get("verified", {}).items()}
        return [Walks.of(rows, Finds(**{name: values[start:end] for name, values in columns.items()}),
                         tuple(picture for film, picture in zip(films, pictures, strict=True) if film["run"] == run),
                         again.get(run))
                for run, (rows, (start, end)) in enumerate(zip(runs, pairwise(ends), strict=True))]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise EngineError(f"these are no walks ({type(error).__name__})") from None


# ---- what walks


def walkers() -> list[str]:
    """The attacks that ask a model they do not have, by name."""
    return [name for name in ATTACKS if not has_gradients(ATTACKS[name].info.knowledge)]


def limit_of(spec: AttackSpec) -> int:
    """The queries that an attack may spend on an image."""
    declared = attack_of(spec).cost().queries
    return declared if spec.max_queries is None else min(declared, spec.max_queries)


def walking(spec: AttackSpec, queries: int) -> AttackSpec:
    """`spec` to so many queries an image; raises EngineError."""
    if has_gradients(ATTACKS[spec.attack].info.knowledge):
        raise EngineError(f"{ATTACKS[spec.attack].info.title} has the model and counts no questions; choose one of "
                          f"{', '.join(walkers())}")
    allowed = next(p for p in params_of(ATTACKS[spec.attack]) if p.name == QUERIES).check(queries)
    walked = replace(spec, params={**spec.params, QUERIES: allowed}, max_queries=None)
    asking(attack_of(walked), walked.draws)
    return walked


def to_verify(spec: AttackSpec) -> bool:
    """Whether what the attack finds on its way may be luck, and is asked about again: a decision-based one's, whose
    every answer comes from a random defense. One that sees more ends with its find, of which the verdict is another
    answer."""
    return ATTACKS[spec.attack].info.knowledge is Knowledge.DECISION and is_random(defenses_from(spec.defenses))


def verifying(spec: AttackSpec) -> int:
    """The queries an image that this takes, at most."""
    return (TIMES + 1) * (1 + sum(frame < limit_of(spec) for frame in FRAMES)) if to_verify(spec) else 0


def together(spec: AttackSpec, device: str) -> int:
    """How many images are a unit. Who sees decisions asks about many rows at a time and fills the model's batches with
    few images, so that on a CPU a unit is over soon: it is what a crash costs and what others wait for. Who sees more
    asks about one row after another, and needs a batch of images to fill one; but it ends where the model is fooled."""
    if devices.resolved(device) != "cpu" or ATTACKS[spec.attack].info.knowledge is not Knowledge.DECISION:
        return spec.batch
    return min(spec.batch, max(FEWEST, AT_ONCE // limit_of(spec)))


def plan(sweep: Sweep, device: str) -> list[list[Unit]]:
    """The units of every run, model by model and attack by attack; raises EngineError."""
    return [units_of(sweep.dataset, sweep.split, sweep.indices, model, attack, sweep.names, sweep.further,
                     together(attack, device)) for model in sweep.models for attack in sweep.attacks]


# ---- kinds of work


def walk_task(unit: Unit, device: str = "auto") -> Task:
    """The job whose payload `walks_of` turns into the one run of the unit."""
    return Task("walk", unit, f"{unit.title}, {limit_of(unit.attack):,} queries", device)


@kind("walk", Unit, reads=walks_of)
def _walk(unit: Unit, bench: Bench) -> Payload:
    """The walks of a unit."""
    return kept_walk(unit, attacked(unit, bench, keep_steps=True), bench)


def kept_walk(unit: Unit, result: AttackResult, bench: Bench) -> Payload:
    """What is kept of the walks of a unit. Its rows are kept as well, and its images: to make them again would take as
    long."""
    bench.keep(rows_task(unit, bench.device), payload_of(result.rows))
    bench.keep(images_task(unit, bench.device), images_payload(result))
    count = len(result.labels)
    pace.learn(unit.model, bench.device, Cost(0, math.ceil(result.queries.sum() / count)), result.seconds / count)
    return payload_of_walks([Walks.of(result, finds_of(result), _films(unit, result))])


def verified_task(unit: Unit, device: str = "auto") -> Task:
    """The same with the nearest images asked about again."""
    return Task("verified walk", unit, f"{unit.title}, {limit_of(unit.attack):,} queries, asked again", device)


@kind("verified walk", Unit, reads=walks_of)
def _verified_walk(unit: Unit, bench: Bench) -> Payload:
    """The walks are kept as if they alone had been asked for."""
    result = attacked(unit, bench.part(0.0, 0.9), keep_steps=True)
    walked = kept_walk(unit, result, bench)
    bench.keep(walk_task(unit, bench.device), walked)
    bench.progress.report(0.9, "asking again")
    from engine.experiments.defending.asking import asked_again

    walks, = walks_of(walked)
    return payload_of_walks([replace(walks, verified=asked_again(unit, result, bench.device))])


def finds_of(result: AttackResult) -> Finds:
    """What a run found on its way. Where an attack ends as soon as the model is fooled, that is its end."""
    walk = result.trace.walk
    if walk is not None and ATTACKS[result.spec.attack].info.knowledge is Knowledge.DECISION:
        return walk.finds
    fooled = np.flatnonzero(result.success)
    return Finds(fooled, result.queries[fooled], result.linf[fooled], result.l2[fooled], result.l0[fooled])


def _films(unit: Unit, result: AttackResult) -> tuple[Film, ...]:
    """The way of the first image that counts, as it stood at FRAMES that it reached, and at its end."""
    walk, chosen = result.trace.walk, np.flatnonzero(result.attacked)[:1]
    if walk is None or walk.film is None or not len(chosen):
        return ()
    image = int(chosen[0])
    spent = int(result.queries[image])
    reached = [frame for frame in FRAMES if frame < spent]
    frames = np.stack([*walk.film[:len(reached), image], result.adversarial[image]])
    far = sizes(np.broadcast_to(result.clean[image], frames.shape), frames)[result.spec.norm]
    return (Film(unit.indices[image], (*reached, spent), tuple(far.tolist()), frames.astype(np.float16)),)


def query_curve_task(sweep: Sweep, device: str = "auto") -> Task:
    """The long job whose payload `walks_of` turns into the walks of every run, model by model and attack by attack."""
    return Task("query-curve", sweep, f"query curve: {sweep.title}", device)


@kind("query-curve", Sweep, reads=walks_of)
def _query_curve(sweep: Sweep, bench: Bench) -> Generator[None, None, Payload]:
    bench.progress.report(0.0, "planning")
    runs = plan(sweep.unchanged(), bench.device)
    # Places are those of the first images: the units of one run may be larger than those of another.
    steps = [Step((verified_task if to_verify(unit.attack) else walk_task)(unit, bench.device), (run,), place, walks_of)
             for run, units in enumerate(runs)
             for unit, place in zip(units, accumulate((len(unit.indices) for unit in units), initial=0), strict=False)]
    found = yield from performed(steps, bench, walks_joined)
    return payload_of_walks(cast(list[Walks], found))


# ---- what it costs


@dataclass(frozen=True)
class Estimate:
    """The queries of all walks together, at most, and about how many seconds that takes here, where that is known."""

    queries: int
    seconds: float | None


def estimate(images: int, models: Sequence[str], attacks: Iterable[AttackSpec], device: str) -> Estimate:
    """Before anything is walked: an upper bound where attacks end early."""
    specs = list(attacks)
    each = [limit_of(spec) + verifying(spec) for spec in specs]
    paces = [pace.known(model, device) for model in models]
    seconds = None if None in paces else sum(
        at.estimate(Cost(0, queries)) for at in paces if at is not None for queries in each) * images
    return Estimate(images * len(models) * sum(each), seconds)
