"""How long work tells its watcher how far it is, and learns that it should stop."""

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from engine.errors import Cancelled

Report = Callable[[float, str], None]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Preview:
    """What an attack has made of the first image of a batch so far: float32 [C, H, W] in [0,1], and how far it is;
    `probabilities` [K] are what the attacked model said of it, where the attacker sees that."""

    image: np.ndarray
    text: str
    probabilities: np.ndarray | None = None


Offer = Callable[[Callable[[], Preview]], None]


class Progress:
    """Handed to every long computation: `report` passes on the fraction done, and raises Cancelled on request;
    `preview` offers a look at what there is so far."""

    def __init__(self, on_report: Report | None = None, cancel: threading.Event | None = None,
                 on_preview: Offer | None = None) -> None:
        self._on_report = on_report
        self._cancel = cancel or threading.Event()
        self._on_preview = on_preview

    def report(self, fraction: float, text: str = "") -> None:
        """Say that `fraction` (0 to 1) is done; raises Cancelled."""
        if self._cancel.is_set():
            raise Cancelled
        if self._on_report is not None:
            self._on_report(min(max(fraction, 0.0), 1.0), text)

    def preview(self, make: Callable[[], Preview]) -> None:
        """`make` is called only where somebody wants to look now, for it costs a copy from the device."""
        if self._on_preview is not None:
            self._on_preview(make)

    def part(self, start: float, end: float) -> "Progress":
        """A Progress for a piece of the work that fills `start` to `end` of this one."""
        return Progress(lambda fraction, text: self.report(start + (end - start) * fraction, text), self._cancel,
                        self._on_preview)

    def unseen(self) -> "Progress":
        """The same, without looks at what there is so far."""
        return Progress(self.report, self._cancel)


def to_the_end(steps: Generator[None, None, T]) -> T:
    """What long work gives that comes in steps, done at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: T = end.value
            return outcome
