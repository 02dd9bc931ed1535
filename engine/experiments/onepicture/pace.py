"""How long an attack on one picture will take on this machine, learned from those that have run. No torch."""

from dataclasses import dataclass

from engine.attacks.base import Cost

FORWARD = 0.4  # a forward pass in units of forward and backward, measured on ResNet-18 and DenseNet-121
VERDICTS = 3  # forward passes that every run adds: clean, adversarial, 8 bits


@dataclass(frozen=True)
class Pace:
    """Seconds for a forward and backward pass of one picture."""

    seconds: float

    def estimate(self, cost: Cost) -> float:
        """Seconds for one picture; an upper bound where the attack may stop early."""
        return self.seconds * _passes(cost)


_known: dict[tuple[str, str], Pace] = {}


def learn(model: str, device: str, spent: Cost, seconds: float) -> None:
    """Note what a run on one picture took."""
    _known[model, device] = Pace(seconds / _passes(spent))


def known(model: str, device: str) -> Pace | None:
    """The pace of `model` on `device`, if anything has run there since the start."""
    return _known.get((model, device))


def _passes(cost: Cost) -> float:
    """In units of forward and backward; every gradient has its query, the other queries are forward only."""
    return cost.gradients + FORWARD * (max(0, cost.queries - cost.gradients) + VERDICTS)
