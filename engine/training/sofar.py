"""What there is of a training while it goes on. Does not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sofar:
    """The history of the epochs that are over, of so many; and in the one under way how many are over in all, the mean
    loss, and images a second."""

    epochs: int
    history: tuple[Mapping[str, Any], ...]
    at: float | None = None
    loss: float | None = None
    rate: float | None = None
