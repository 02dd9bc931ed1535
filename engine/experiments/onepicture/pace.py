"""How long an attack on one picture will take on this machine, learned from those that have run. No torch."""

from collections import deque
from dataclasses import dataclass
from statistics import median_low

from engine.attacks.base import Cost

FORWARD = 0.4  # a forward pass in units of forward and backward, measured on ResNet-18 and DenseNet-121
VERDICTS = 3  # forward passes that every run adds: clean, adversarial, 8 bits
LATELY = 5  # runs of which the middle counts: one that met a model for the first time, or a busy machine, tells little


@dataclass(frozen=True)
class Pace:
    """Seconds for a forward and backward pass of one picture."""

    seconds: float

    def estimate(self, cost: Cost) -> float:
        """Seconds for one picture; an upper bound where the attack may stop early."""
        return self.seconds * passes(cost)


_known: dict[tuple[str, str], Pace] = {}
_lately: dict[tuple[str, str], deque[float]] = {}


def learn(model: str, device: str, spent: Cost, seconds: float) -> None:
    """Note what a run on one picture took."""
    lately = _lately.setdefault((model, device), deque(maxlen=LATELY))
    lately.append(seconds / passes(spent))
    _known[model, device] = Pace(median_low(lately))


def known(model: str, device: str) -> Pace | None:
    """The pace of `model` on `device`, if anything has run there since the start."""
    return _known.get((model, device))


def passes(cost: Cost, verdicts: int = VERDICTS) -> float:
    """In units of forward and backward; every gradient has its query, the other queries and the verdicts are forward
    only."""
    return cost.gradients + FORWARD * (max(0, cost.queries - cost.gradients) + verdicts)
