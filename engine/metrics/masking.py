"""Signs that a defense hides its gradients instead of being robust: each is a check by name, with its numbers.

After Athalye, Carlini, Wagner 2018 ("Obfuscated Gradients Give a False Sense of Security", section 3.1), Carlini et al.
2019 ("On Evaluating Adversarial Robustness", section 5) and the flags that AutoAttack raises (Croce, Hein 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from engine.errors import EngineError
from engine.metrics.pairs import Paired

WHITE, BLACK, NOISE = "white box", "black box", "noise"
HUGE = 64 / 255  # in grey levels, from which on hardly anything is left of a picture
RESTARTED = 0.1  # of the images, by which further starts may change what one start does
ZERO = 0.01  # of the gradients, from which on the attacker is blind


@dataclass(frozen=True, eq=False)
class Trial:
    """One attack on a defended model: who (`title`), what he has (`kind`), in how many `steps` (1: in one; None: that
    is no question of him), from which start (`start`), within `eps`, `budget` for people (`vast`: it leaves hardly
    anything of a picture, so that whoever has gradients that lead anywhere gets there); and of the images that count
    (`open`, bool [N]) which he `fooled` (bool [N]). `gradients` were taken, of which `zero` were 0 everywhere."""

    title: str
    kind: str
    steps: int | None
    start: int
    eps: float
    budget: str
    fooled: np.ndarray
    open: np.ndarray
    vast: bool = False
    gradients: int = 0
    zero: int = 0

    def __post_init__(self) -> None:
        if self.fooled.shape != self.open.shape or bool((self.fooled & ~self.open).any()):
            raise EngineError("a trial counts only images that were open to it")

    @property
    def count(self) -> int:
        return int(self.fooled.sum())

    @property
    def of(self) -> int:
        return int(self.open.sum())

    @property
    def figures(self) -> str:
        return f"{self.title} {self.count} of {self.of}"


@dataclass(frozen=True)
class Sign:
    """A check that struck: its `name`, and its numbers in a sentence. `sure`: chance would not explain them."""

    name: str
    sentence: str
    sure: bool = True


Check = Callable[[Sequence[Trial]], Iterator[Sign]]


def signs(trials: Sequence[Trial]) -> list[Sign]:
    """What the attacks on one model behind one defense, all on the same images, show of hidden gradients."""
    return [sign for check in CHECKS for sign in check(trials)]


def one_step_beats_many(trials: Sequence[Trial]) -> Iterator[Sign]:
    """Many steps contain one: where they do worse, the gradient leads astray."""
    for same in _by_eps(trials):
        single = _best([one for one in same if one.kind == WHITE and one.steps == 1])
        many = _best([one for one in same if one.kind == WHITE and (one.steps or 0) > 1])
        yield from _beats("one step beats many", single, many)


def black_beats_white(trials: Sequence[Trial]) -> Iterator[Sign]:
    """Who has the model can do all that one who only asks can."""
    for same in _by_eps(trials):
        yield from _beats("black box beats white box", _best([one for one in same if one.kind == BLACK]),
                          _best([one for one in same if one.kind == WHITE]))


def noise_beats_gradients(trials: Sequence[Trial]) -> Iterator[Sign]:
    """Random noise finds what gradients should have found."""
    for same in _by_eps(trials):
        noise = _best([one for one in same if one.kind == NOISE])
        white = [one for one in same if one.kind == WHITE]
        if noise is None or not white:
            continue
        missed = noise.fooled & ~np.any([one.fooled for one in white], axis=0)
        if missed.any():
            yield Sign("noise wins where gradients fail", f"{_images(int(missed.sum()))} fell to {noise.title} and to "
                       f"no attack with gradients ({', '.join(one.figures for one in white)})", int(missed.sum()) > 1)


def huge_budget_fails(trials: Sequence[Trial]) -> Iterator[Sign]:
    """With a budget that leaves nothing of the picture, every attack with gradients must succeed; what fools within a
    smaller one is within it, too."""
    white = [one for one in trials if one.kind == WHITE]
    vast = _best([one for one in white if one.vast])
    if vast is None:
        return
    count = int(np.any([one.fooled for one in white], axis=0).sum())
    if count < vast.of:
        yield Sign("a huge budget does not reach 0", f"at {vast.budget}, where hardly anything is left of "
                   f"the picture, {vast.title} fooled {count} of {vast.of}")


def restarts_change_much(trials: Sequence[Trial]) -> Iterator[Sign]:
    """Where gradients lead to the same place from anywhere, a further start finds little."""
    for same in _grouped(trials, lambda one: (one.title, one.eps)):
        if len({one.start for one in same}) < 2:
            continue
        total = same[0].of
        mean = float(np.mean([one.count for one in same]))
        any_ = int(np.any([one.fooled for one in same], axis=0).sum())
        if total and (any_ - mean) / total > RESTARTED:
            yield Sign("random restarts change much", f"{same[0].title} fooled {mean:.3g} of {total} from one start on "
                       f"average, {any_} from any of {len(same)}")


def zero_gradients(trials: Sequence[Trial]) -> Iterator[Sign]:
    """A gradient that is 0 everywhere says nothing."""
    taken, zero = sum(one.gradients for one in trials), sum(one.zero for one in trials)
    if taken and zero / taken >= ZERO:
        yield Sign("zero gradients", f"{zero:,} of {taken:,} gradients were 0 everywhere: there the attacker did not "
                   "know which way to go")


def rises_with_budget(trials: Sequence[Trial]) -> Iterator[Sign]:
    """A larger budget contains the smaller one: it cannot fool fewer. (Steps that leave nothing of a picture may.)"""
    for same in _grouped([one for one in trials if not one.vast], lambda one: (one.title, one.start)):
        for small, large in combinations(sorted(same, key=lambda one: one.eps), 2):
            if large.count < small.count:
                yield Sign("more budget fools fewer", f"{small.title} fooled {small.count} of {small.of} at "
                           f"{small.budget} and {large.count} at {large.budget}",
                           Paired.of(small.fooled, large.fooled).told)
                break


CHECKS: tuple[Check, ...] = (one_step_beats_many, black_beats_white, noise_beats_gradients, huge_budget_fails,
                             restarts_change_much, zero_gradients, rises_with_budget)


def _beats(name: str, weak: Trial | None, strong: Trial | None) -> Iterator[Sign]:
    """Where who should do worse did better."""
    if weak is not None and strong is not None and weak.count > strong.count:
        yield Sign(name, f"within {weak.budget} {weak.figures}, {strong.figures}",
                   Paired.of(weak.fooled, strong.fooled).told)


def _best(trials: Sequence[Trial]) -> Trial | None:
    return max(trials, key=lambda one: one.count, default=None)


def _by_eps(trials: Sequence[Trial]) -> list[list[Trial]]:
    return _grouped(trials, lambda one: one.eps)


def _grouped(trials: Sequence[Trial], by: Callable[[Trial], object]) -> list[list[Trial]]:
    found: dict[object, list[Trial]] = {}
    for one in trials:
        found.setdefault(by(one), []).append(one)
    return list(found.values())


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"
