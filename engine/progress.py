"""How long work tells its watcher how far it is, and learns that it should stop."""

import threading
from collections.abc import Callable

from engine.errors import Cancelled

Report = Callable[[float, str], None]


class Progress:
    """Handed to every long computation: `report` passes on the fraction done, and raises Cancelled on request."""

    def __init__(self, on_report: Report | None = None, cancel: threading.Event | None = None) -> None:
        self._on_report = on_report
        self._cancel = cancel or threading.Event()

    def report(self, fraction: float, text: str = "") -> None:
        """Say that `fraction` (0 to 1) is done; raises Cancelled."""
        if self._cancel.is_set():
            raise Cancelled
        if self._on_report is not None:
            self._on_report(min(max(fraction, 0.0), 1.0), text)

    def part(self, start: float, end: float) -> "Progress":
        """A Progress for a piece of the work that fills `start` to `end` of this one."""
        return Progress(lambda fraction, text: self.report(start + (end - start) * fraction, text), self._cancel)
