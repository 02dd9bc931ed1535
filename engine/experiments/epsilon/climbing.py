"""One attack at many eps: with one gradient for all of them, or halving per image where the model gives way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.attacks.result import AttackResult
from engine.attacks.rows import OUTCOME, Rows, Tally, added, within
from engine.attacks.runner import Arena
from engine.attacks.spec import AttackSpec
from engine.experiments.attacking import loaded
from engine.experiments.epsilon.ladder import INDEPENDENT, WORST, Climbed, Ladder, further, most_tries, sharing, unpaid
from engine.experiments.units import payload_of, rows_of, rows_task
from engine.progress import Progress
from engine.work.kinds import Bench
from engine.work.lessons import StoredLessons

SPENT = ("queries", "gradients", "refusals")


def climbed(ladder: Ladder, bench: Bench) -> Climbed:
    """The rows of every rung, and images; raises EngineError and Cancelled."""
    bench.progress.report(0.0, "reading the images")
    it = loaded(ladder.unit)
    arena = Arena.of(ladder.unit.attack, it.model, it.images, it.labels, resources=it.resources, device=bench.device,
                     memory=StoredLessons(bench.store)).shared()
    if ladder.reading == WORST and not arena.attack.straight:
        return halved(arena, ladder.rungs, bench.progress)
    separate = _Separate(arena, ladder, bench)
    if ladder.reading == INDEPENDENT:
        return Climbed(sharing(separate.runs), separate.last)
    worst = within(separate.runs, arena.untouched().rows)
    return Climbed(sharing(worst) if ladder.reading == WORST else unpaid(worst), separate.first)


class _Separate:
    """The `runs` of every rung as a run of its own gives them: those that are kept, the others computed and kept. Of
    images that are asked for, the `first` that fooled the model, and the `last`, at the largest eps."""

    def __init__(self, arena: Arena, ladder: Ladder, bench: Bench) -> None:
        self.runs: list[Rows] = []
        self.first = self.last = arena.images.numpy()
        self._fooled = np.zeros(len(arena.images), bool)
        self._payer: Rows | None = None
        for number, eps in enumerate(ladder.rungs):
            task = rows_task(ladder.at(eps), bench.device)
            drawn = ladder.pictures and (ladder.reading != INDEPENDENT or eps == ladder.rungs[-1])
            kept = None if drawn else bench.recall(task)
            if kept is not None:
                self.runs.append(rows_of(kept))
                continue
            rows = self._run(arena.at(eps), bench.piece(number, len(ladder.rungs)).progress)
            bench.keep(task, payload_of(rows))
            self.runs.append(rows)

    def _run(self, arena: Arena, progress: Progress) -> Rows:
        result = arena.run(progress)
        self.last, new = result.adversarial, result.success & ~self._fooled
        self.first = np.where(new[:, None, None, None], result.adversarial, self.first)
        self._fooled |= new
        if not arena.attack.straight:
            return result.rows
        self._payer = self._payer or result.rows
        return _paying(result.rows, self._payer)


def _paying(rows: Rows, payer: Rows) -> Rows:
    """`rows` with what `payer` spent on the gradients that both used."""
    tally = replace(rows.tally, zero_gradients=payer.tally.zero_gradients, bad_gradients=payer.tally.bad_gradients)
    return replace(rows, tally=tally, queries=payer.queries, gradients=payer.gradients)


def halved(arena: Arena, rungs: Sequence[float], progress: Progress) -> Climbed:
    """The worst case within each eps of `rungs`: of every image the smallest that fools the model, by halving.

    The largest comes first, and who resists it resists. Every success is a run's verdict; that no image resists a
    larger eps after failing a smaller one is assumed. The attack leaves an image alone once that is fooled, where it
    can. Images that are to be tried at the same eps are attacked together, and draw the same random numbers in every
    company.
    """
    return _Halving(arena, rungs).run(progress)


class _Halving:
    """Every image resists at rung `low` (-1: none yet) and is fooled at rung `high` (the number of rungs: none yet)."""

    def __init__(self, arena: Arena, rungs: Sequence[float]) -> None:
        hasty = {**arena.spec.params, **arena.attack.hasty()}
        self._untouched = arena.untouched()
        self._arena = arena.setting(hasty).knowing(self._untouched)
        self._rungs = rungs
        count = len(arena.images)
        self._low = np.full(count, sum(eps == 0 for eps in rungs) - 1)  # nothing is fooled by nothing
        self._high = np.full(count, len(rungs))
        self._tries = [_Tries(self._untouched.rows) for _ in rungs]
        self._images = self._untouched.clean.copy()

    def run(self, progress: Progress) -> Climbed:
        top, most = len(self._rungs) - 1, most_tries(len(self._rungs))
        playing = np.flatnonzero(self._untouched.attacked & (self._low < top))
        rung = np.full(len(playing), top)
        for number in range(most):
            self._round(playing, rung, progress.part(number / most, (number + 1) / most))
            playing = np.flatnonzero((self._high <= top) & (self._high - self._low > 1))
            rung = self._low[playing] + further(self._high[playing] - self._low[playing])
        runs = [tries.rows(self._arena.at(eps).spec) for tries, eps in zip(self._tries, self._rungs, strict=True)]
        return Climbed(within(runs, self._untouched.rows), self._images)

    def _round(self, playing: np.ndarray, rung: np.ndarray, progress: Progress) -> None:
        tried = np.unique(rung)
        for place, number in enumerate(tried):
            part = progress.part(place / len(tried), (place + 1) / len(tried))
            together = playing[rung == number]
            self._learn(together, int(number), self._arena.only(together).at(self._rungs[number]).run(part))

    def _learn(self, which: np.ndarray, rung: int, result: AttackResult) -> None:
        self._tries[rung].note(which, result)
        fooled = which[result.success]
        self._images[fooled] = result.adversarial[result.success]
        self._high[fooled] = rung
        self._low[np.setdiff1d(which, fooled)] = rung


class _Tries:
    """What was tried at one eps, on the images that were: the others are as they are without an attack."""

    def __init__(self, untouched: Rows) -> None:
        self._untouched = untouched
        self._columns = {name: getattr(untouched, name).copy() for name in (*OUTCOME, *SPENT)}
        self._tallies: list[Tally] = []
        self._seconds = 0.0

    def note(self, which: np.ndarray, result: AttackResult) -> None:
        for name, column in self._columns.items():
            column[which] = getattr(result, name)
        self._tallies.append(result.tally)
        self._seconds += result.seconds

    def rows(self, spec: AttackSpec) -> Rows:
        known, tried = self._untouched.tally, added(self._tallies)
        tally = replace(tried, notes={**tried.notes, **known.notes},
                        said=tuple(dict.fromkeys((*known.said, *tried.said))))
        return replace(self._untouched, spec=spec, tally=tally, seconds=self._seconds,
                       **{name: column.copy() for name, column in self._columns.items()})
