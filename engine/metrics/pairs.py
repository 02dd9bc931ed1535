"""What is asked of two images that are compared, and of two models that answer about the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.errors import EngineError
from engine.metrics.rates import chance

SURE = 0.05  # how seldom chance alone may make a difference that is told


def check_pair(clean: np.ndarray, adversarial: np.ndarray) -> None:
    """Raises EngineError unless both are one image [C,H,W] of the same shape."""
    if clean.ndim != 3 or clean.shape != adversarial.shape:
        raise EngineError(f"two images [C,H,W] of one size are compared, not {clean.shape} with {adversarial.shape}")


@dataclass(frozen=True)
class Paired:
    """Two answers to the same images, right or wrong: of how many both are right, only the `first`, only the `second`,
    or neither."""

    both: int
    first: int
    second: int
    neither: int

    @staticmethod
    def of(first: np.ndarray, second: np.ndarray) -> Paired:
        """From right (True) or wrong, bool [N] each, image by image; raises EngineError."""
        if first.shape != second.shape:
            raise EngineError(f"pairs need the same images: {len(first)} answers stand beside {len(second)}")
        return Paired(*(int(which.sum()) for which in (first & second, first & ~second, ~first & second,
                                                       ~first & ~second)))

    @property
    def counts(self) -> tuple[int, int]:
        """How many each has right."""
        return self.both + self.first, self.both + self.second

    @property
    def n(self) -> int:
        return self.both + self.first + self.second + self.neither

    @property
    def chance(self) -> float:
        """How likely so uneven a difference is by chance: McNemar's exact test, two-sided."""
        return chance(self.first, self.second)

    @property
    def told(self) -> bool:
        """Whether the difference can be told from chance."""
        return self.chance < SURE

    @property
    def sentence(self) -> str:
        """In plain words: "no difference can be told: 56 against 57 of 75"."""
        one, other = self.counts
        figures = f"{one} against {other} of {self.n}"
        if not self.told:
            return f"no difference can be told: {figures}"
        return f"{'fewer' if one < other else 'more'}: {figures} (chance would do that {_seldom(self.chance)})"


def _seldom(p: float) -> str:
    return "less than once in 1,000 times" if p < 0.001 else f"{max(1, round(1000 * p))} times in 1,000"
