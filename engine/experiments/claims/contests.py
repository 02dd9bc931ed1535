"""Which of two attacks is the better one, and whether chance explains that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.experiments.claims.declared import Claim
from engine.experiments.claims.trials import Trial
from engine.metrics.rates import chance

LEVEL = 0.05  # how often chance alone may decide any comparison of a claim
HOLDS, CONTRARY, CHANCE, EQUAL = "holds", "the contrary holds", "chance explains it", "no difference"


@dataclass(frozen=True)
class Score:
    """On how many pictures the one that is claimed to be better is better, and on how many the other one."""

    better: int
    worse: int

    @property
    def chance(self) -> float:
        """How likely coins would fall at least so unevenly."""
        return chance(self.better, self.worse)

    def verdict(self, level: float) -> str:
        """What may be said of it."""
        if self.better == self.worse == 0:
            return EQUAL
        if self.chance > level:
            return CHANCE
        return HOLDS if self.better > self.worse else CONTRARY


@dataclass(frozen=True)
class Contest:
    """One comparison of a claim at one budget: with every network, and with all of them.

    A picture counts once among all, for the attack that is the better one with more networks: what several networks
    say of the same picture is no news each time.
    """

    better: str
    other: str
    budget: str
    level: float
    score: Score
    alone: tuple[Score, ...]

    @property
    def verdict(self) -> str:
        return self.score.verdict(self.level)

    @property
    def holds_alone(self) -> int:
        """With how many networks the claim holds, each taken for itself."""
        return sum(score.verdict(self.level) == HOLDS for score in self.alone)


def contests(claim: Claim, trials: Sequence[Trial]) -> list[Contest]:
    """Every comparison of the claim; LEVEL is shared out among them (Bonferroni)."""
    level = LEVEL / (len(claim.contests) * len(claim.budgets))
    return [_contest(claim, trials, better, other, place, level)
            for better, other in claim.contests for place in range(len(claim.budgets))]


def verdicts(found: Sequence[Contest]) -> dict[str, int]:
    """How many comparisons ended how."""
    return dict(Counter(contest.verdict for contest in found))


def _contest(claim: Claim, trials: Sequence[Trial], better: str, other: str, place: int, level: float) -> Contest:
    sides = [_sides(*(claim.measure.values(trial.rows[label][place]) for label in (better, other)))
             for trial in trials]
    return Contest(better, other, claim.budgets[place], level, _score(_by_picture(trials, sides)),
                   tuple(_score(side) for side in sides))


def _sides(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of every picture 1 where the first value is greater, -1 where it is less; infinite ones may be equal."""
    return (values > others).astype(int) - (values < others).astype(int)


def _by_picture(trials: Sequence[Trial], sides: Sequence[np.ndarray]) -> np.ndarray:
    net: Counter[int] = Counter()
    for trial, side in zip(trials, sides, strict=True):
        for index, value in zip(trial.indices, side.tolist(), strict=True):
            net[index] += value
    return np.array(list(net.values()))


def _score(sides: np.ndarray) -> Score:
    return Score(int((sides > 0).sum()), int((sides < 0).sum()))
