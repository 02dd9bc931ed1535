"""Models behind defenses before attackers who do not know of them and who do, as long work. Does not import torch."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import cast

import numpy as np

from engine.attacks import ATTACKS
from engine.attacks.base import Knowledge
from engine.attacks.rows import Rows
from engine.attacks.spec import ADAPTIVE, AttackSpec, attack_of, has_gradients, make_spec
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.defended import stacks_of
from engine.experiments.defending.again import ARRAYS, Again
from engine.experiments.defending.facing import Face, Facing, face_of, facing, facing_task
from engine.experiments.defending.watching import (
    Crowd,
    Scores,
    crowd_task,
    crowds,
    facts_of_crowds,
    has_detectors,
    payload_of_scores,
    refused_of,
    scores_of,
    scores_task,
)
from engine.experiments.gathered import Gathered
from engine.experiments.queries.walks import (
    Walks,
    payload_of_walks,
    plan,
    verified_task,
    walk_task,
    walks_joined,
    walks_of,
)
from engine.experiments.sweeps import Step, Sweep, performed
from engine.experiments.units import Unit, images_task, rows_of, rows_task
from engine.metrics.masking import HUGE
from engine.work.kinds import Bench, Task, kind
from engine.work.store import Payload
from engine.zoo.registry import label_of

VAST = 128 / 255  # the budget at which an attacker with gradients must always succeed
VAST_STEPS = 20  # in which he goes there: each short enough for whoever is flat nearby
FACED = 16  # images that a defended model is asked about at a time, before any attack
_SHARE, _LAST = 0.05, 0.95  # of the progress: when that is done, and when detectors and crowds begin


@dataclass(frozen=True, kw_only=True, eq=False)
class Checked(Walks):
    """One run: its rows, what it found on its way, where it asked a defended model alone, its best images `verified`,
    and the `scores` of every detector that the model stands behind."""

    scores: tuple[Scores, ...] = ()

    @staticmethod
    def of_walks(walks: Walks, scores: tuple[Scores, ...] = ()) -> Checked:
        return Checked(**{f.name: getattr(walks, f.name) for f in fields(Walks)}, scores=scores)

    @staticmethod
    def of_rows(rows: Rows) -> Checked:
        """Who has the model has found something where it was fooled in the end."""
        from engine.attacks.result import Finds

        fooled = np.flatnonzero(rows.success)
        return Checked.of_walks(Walks.of(rows, Finds(fooled, rows.queries[fooled], rows.linf[fooled], rows.l2[fooled],
                                                     rows.l0[fooled])))


def checked_joined(pieces: Sequence[Checked]) -> Checked:
    """A run that was made in `pieces`, in their order."""
    return Checked.of_walks(walks_joined(pieces))


@dataclass(frozen=True, eq=False)
class Defended:
    """What is known of a sweep: its runs (None: nothing yet), what each defended model is like without attacks, and
    what becomes of a crowd of honest pictures where a defense remembers who asked what."""

    runs: tuple[Checked | None, ...]
    faces: tuple[Face, ...]
    crowds: tuple[Crowd, ...] = ()

    def __iter__(self) -> Iterator[Checked | None]:
        return iter(self.runs)

    def __bool__(self) -> bool:
        return any(run is not None for run in self.runs)

    @property
    def known(self) -> list[Checked]:
        return [run for run in self.runs if run is not None]


class Growing:
    """The same while it is made: whoever works adds to it."""

    def __init__(self, faces: Sequence[Face], rows: Gathered) -> None:
        self._faces, self._rows = tuple(faces), rows

    def now(self) -> Defended:
        """As far as it is."""
        return Defended(tuple(cast(list[Checked | None], self._rows.runs())), self._faces)


# ---- what is kept


def payload_of(found: Defended) -> Payload:
    """What is kept of it; its runs are complete. Films are not kept: the pages about walks have them."""
    runs = found.known
    kept = payload_of_walks([replace(run, films=(), verified=None) for run in runs])
    verified = {number: run.verified for number, run in enumerate(runs) if run.verified is not None}
    again = {str(number): {"times": one.times, "queries": list(one.queries)} for number, one in verified.items()}
    arrays = {f"again_{number}_{name}": getattr(one, name) for number, one in verified.items() for name in ARRAYS}
    faces = [face.payload() for face in found.faces]
    scores = {number: payload_of_scores(run.scores) for number, run in enumerate(runs) if run.scores}
    return Payload(
        {**kept.facts, "again": again, "faces": [face.facts for face in faces],
         "crowds": facts_of_crowds(found.crowds), "scores": {str(number): one.facts for number, one in scores.items()}},
        {**kept.arrays, **arrays, **{f"face_{n}": face.arrays["noisy"] for n, face in enumerate(faces)},
         **{f"crowd_{n}": crowd.refused for n, crowd in enumerate(found.crowds)},
         **{f"scores_{n}_{name}": values for n, one in scores.items() for name, values in one.arrays.items()}})


def defended_of(payload: Payload) -> Defended:
    """What `payload_of` wrote; raises EngineError for what is no such result."""
    walks, facts = walks_of(payload), payload.facts
    try:
        again = {int(number): Again(known["times"], tuple(known["queries"]),
                                    *(payload.arrays[f"again_{number}_{name}"] for name in ARRAYS))
                 for number, known in facts["again"].items()}
        scores = {int(number): scores_of(Payload(known, _begun(payload, f"scores_{number}_")))
                  for number, known in facts.get("scores", {}).items()}
        faces = tuple(face_of(known, payload.arrays[f"face_{number}"]) for number, known in enumerate(facts["faces"]))
        crowds = tuple(Crowd(known["model"], known["defenses"], payload.arrays[f"crowd_{number}"])
                       for number, known in enumerate(facts.get("crowds", [])))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EngineError(f"this is no judgement of defenses ({type(error).__name__})") from None
    return Defended(tuple(Checked.of_walks(replace(one, verified=again.get(number)), scores.get(number, ()))
                          for number, one in enumerate(walks)), faces, crowds)


def _begun(payload: Payload, name: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin so, by the rest of their names."""
    return {one.removeprefix(name): values for one, values in payload.arrays.items() if one.startswith(name)}


# ---- kinds of work


def defend_task(sweep: Sweep, device: str = "auto") -> Task:
    """The long job whose payload `defended_of` reads: every run, model by model and attack by attack."""
    return Task("defend", sweep, f"defenses: {sweep.title}", device)


@kind("defend", Sweep, version=2, reads=defended_of)
def _defend(sweep: Sweep, bench: Bench) -> Generator[None, None, Payload]:
    bench.progress.report(0.0, "planning")
    runs = plan(sweep.unchanged(), bench.device)
    load_libraries()
    faces = yield from _faces(sweep, bench.part(0.0, _SHARE))
    # Places are those of the first images: the units of one run may be larger than those of another.
    steps = [_step(unit, run, place, bench.device) for run, units in enumerate(runs) for unit, place in zip(
        units, accumulate((len(unit.indices) for unit in units), initial=0), strict=False)]
    growing = replace(bench.part(_SHARE, _LAST), publish=lambda rows: bench.publish(Growing(faces, rows)))
    found = cast(list[Checked], (yield from performed(steps, growing, checked_joined)))
    watched = yield from _watched(found, runs, bench.part(_LAST, 1.0))
    honest = yield from _crowds(sweep, bench.part(1.0, 1.0))
    return payload_of(Defended(tuple(watched), tuple(faces), tuple(honest)))


def _watched(found: Sequence[Checked], runs: Sequence[Sequence[Unit]], bench: Bench
             ) -> Generator[None, None, list[Checked]]:
    """The same runs with the scores of their detectors."""
    watched = []
    for number, (run, units) in enumerate(zip(found, runs, strict=True)):
        pieces = []
        for unit in units if has_detectors(run.spec) else ():
            task = scores_task(unit, bench.device)
            pieces.append(scores_of(bench.piece(number, len(runs)).result(task)))
            yield
        watched.append(replace(run, scores=tuple(map(Scores.joined, zip(*pieces, strict=True)))))
    return watched


def _crowds(sweep: Sweep, bench: Bench) -> Generator[None, None, list[Crowd]]:
    found = []
    for model, stack, asked in crowds(sweep):
        refused = refused_of(bench.result(crowd_task(asked, bench.device)))
        found.append(Crowd(label_of(model), stack, refused))
        yield
    return found


def _faces(sweep: Sweep, bench: Bench) -> Generator[None, None, list[Face]]:
    """What each defended model is like, of all images; the time is that of the first ones."""
    asked = facings(sweep)
    found = []
    for number, pieces in enumerate(asked):
        own = []
        for place, piece in enumerate(pieces):
            part = bench.piece(number, len(asked)).piece(place, len(pieces))
            own.append(Face.of(part.result(facing_task(piece, bench.device))))
            yield
        found.append(replace(own[0], identities=tuple(name for face in own for name in face.identities),
                             noisy=np.concatenate([face.noisy for face in own], axis=1)))
    return found


def facings(sweep: Sweep) -> list[list[Facing]]:
    """Every model behind each of its stacks of defenses, a few images at a time."""
    seed = sweep.attacks[0].seed
    return [[facing(sweep.dataset, sweep.split, sweep.indices[start:start + FACED], model, stack,
                    budgets_of(sweep.attacks), seed, sweep.names)
             for start in range(0, len(sweep.indices), FACED)]
            for model in sweep.models for stack in stacks_of(sweep.attacks)]


def budgets_of(specs: Sequence[AttackSpec]) -> tuple[float, ...]:
    """The budgets of grey levels at which defenses are judged, without those that leave nothing of a picture."""
    return tuple(sorted({spec.eps for spec in specs if spec.norm == "linf" and spec.eps is not None
                         and spec.eps < HUGE}))


def _step(unit: Unit, run: int, place: int, device: str) -> Step:
    """A unit's task, and how its run is read: who has a model is judged by rows, who has none by his walk."""
    spec = unit.attack
    if has_gradients(ATTACKS[spec.attack].info.knowledge):
        # What detectors make of the images is asked later; to make them again would take as long. Walks keep them.
        before = (images_task(unit, device),) if has_detectors(spec) else ()
        return Step(rows_task(unit, device), (run,), place, lambda payload: (Checked.of_rows(rows_of(payload)),),
                    before)
    verifies = spec.defenses and ATTACKS[spec.attack].info.knowledge is Knowledge.DECISION
    return Step((verified_task if verifies else walk_task)(unit, device), (run,), place,
                lambda payload: [Checked.of_walks(one) for one in walks_of(payload)])


# ---- what is asked for


def with_checks(specs: Sequence[AttackSpec]) -> tuple[AttackSpec, ...]:
    """The same and what shows hidden gradients, for every front of an attack with gradients and many steps: one step at
    its largest budget, and short steps within one that leaves nothing of a picture."""
    found = list(specs)
    largest = max(budgets_of(specs), default=0.0)
    for spec in specs:
        if spec.norm == "linf" and spec.eps == largest and _iterates(spec) and (
                spec.attacker == ADAPTIVE or not spec.defenses):
            found += [one for one in (_vast(spec), _check(spec, "fgsm", spec.eps)) if one not in found]
    return tuple(found)


def without_checks(specs: Sequence[AttackSpec]) -> tuple[tuple[AttackSpec, ...], bool]:
    """What was chosen of attacks among which there may be checks, and whether there are."""
    usual = [spec for spec in specs if spec.eps is None or spec.norm != "linf" or spec.eps < HUGE]
    for chosen in ([spec for spec in usual if spec.attack != "fgsm"], usual):
        whole = with_checks(chosen)
        if len(whole) == len(specs) and all(spec in whole for spec in specs):
            return tuple(chosen), True
    return tuple(specs), False


def _vast(spec: AttackSpec) -> AttackSpec:
    """From the picture itself: a random start so far out is none any more, and there networks are sure of one class and
    their gradients lead nowhere, however robust they are nearby."""
    return _check(spec, "bim", VAST, steps=VAST_STEPS)


def _check(spec: AttackSpec, attack: str, eps: float, **params: object) -> AttackSpec:
    """Another attack on the same front."""
    return make_spec(attack, eps=eps, norm=spec.norm, params=params, target=spec.target, seed=spec.seed,
                     batch=spec.batch, numerics=spec.numerics, mask=spec.mask, defenses=spec.defenses,
                     attacker=spec.attacker, draws=spec.draws)


def _iterates(spec: AttackSpec) -> bool:
    return ATTACKS[spec.attack].info.knowledge is Knowledge.WHITE_BOX and attack_of(spec).cost().gradients > 1
