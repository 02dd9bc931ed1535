"""How long work tells its watcher how far it is, and learns that it should stop."""

import threading
import time
from collections import deque
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

    def saying(self, words: Callable[[str], str]) -> "Progress":
        """The same, with what `words` makes of each line."""
        return Progress(lambda fraction, text: self.report(fraction, words(text)), self._cancel, self._on_preview)

    def unseen(self) -> "Progress":
        """The same, without looks at what there is so far."""
        return Progress(self.report, self._cancel)


class Pace:
    """How fast something grows that is to reach `whole`, since it first got on: what went before, such as loading
    libraries, says nothing of the rest. The later half of the time counts: what was kept from before a crash is there
    in no time, and what follows is not."""

    _LEAST = 15.0  # seconds that count where there are as many
    _ENOUGH_TIME, _ENOUGH_DONE = 1.0, 0.005  # seconds and share of the whole from which there is something to go by

    def __init__(self, whole: float = 1.0) -> None:
        self._whole, self._done = whole, 0.0
        self._began: float | None = None
        self._marks: deque[tuple[float, float]] = deque()

    def mark(self, done: float) -> None:
        """So much is done now."""
        now = time.monotonic()
        self._done = done
        if done <= 0:
            return
        if self._began is None:
            self._began = now
        if not self._marks or now - self._marks[-1][0] >= self._ENOUGH_TIME:
            self._marks.append((now, done))
        since = now - max(self._LEAST, (now - self._began) / 2)
        while len(self._marks) > 1 and self._marks[1][0] <= since:
            self._marks.popleft()

    def rate(self) -> float | None:
        """How much a second; None while there is too little to go by."""
        elapsed, done = self._lately()
        return done / elapsed if elapsed >= self._ENOUGH_TIME and done > 0 else None

    def left(self) -> float | None:
        """Seconds until all is done; None as `rate`, and before a small share of it is."""
        rate, (_, done) = self.rate(), self._lately()
        return None if rate is None or done < self._ENOUGH_DONE * self._whole else (self._whole - self._done) / rate

    def _lately(self) -> tuple[float, float]:
        """The seconds that count, and what was done in them."""
        since, before = self._marks[0] if self._marks else (time.monotonic(), self._done)
        return time.monotonic() - since, self._done - before


def to_the_end(steps: Generator[None, None, T]) -> T:
    """What long work gives that comes in steps, done at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: T = end.value
            return outcome
