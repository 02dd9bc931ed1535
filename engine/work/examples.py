"""Results that come with the program, so that there is something to see before anything was computed here.

They lie below the store: what that has none of is looked up here. They are read like kept results, of which they have
form and key, and are nobody's: not listed, not starred, not deleted, not counted.
"""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError
from engine.work.entries import About
from engine.work.files import Files
from engine.work.kinds import KINDS, Task
from engine.work.specs import to_json
from engine.work.store import Payload

SHIPPED = Path(__file__).resolve().parents[2] / "assets" / "examples"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A result that was computed elsewhere, and when (seconds since 1970)."""

    payload: Payload
    created: float


class Examples:
    """What lies in `folder`, under the keys of tasks: a key names the kind of device, too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = Files(folder)

    @classmethod
    def shipped(cls) -> "Examples":
        """Those that come with this version."""
        return cls(SHIPPED)

    def find(self, task: Task) -> Example | None:
        """The example of what `task` gives; None where there is none, or none that can be read."""
        try:
            about, arrays = self._files.read(task.key, None)
            if about is None:
                raise ValueError("it does not say what it is")
            KINDS[task.kind].reads(payload := Payload(about.facts, arrays))
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever a file that somebody changed brings about
            log.warning("the example %s cannot be read (%s: %s)", task.key, type(error).__name__, error)
            return None
        return Example(payload, about.created)

    def put(self, task: Task, payload: Payload) -> int:
        """Keep `payload` as the example of `task`; the bytes that it takes. Raises EngineError."""
        about = About(task.key, task.kind, task.title, to_json(task.spec), payload.facts, time.time())
        try:
            return self._files.write(about, payload.arrays, packed=True).st_size
        except OSError as error:
            raise EngineError(f"the example could not be kept in {self.folder} ({error.strerror})") from None

    def keep_only(self, keys: Collection[str]) -> None:
        """Remove all other examples, which nothing asks for any more; raises EngineError."""
        try:
            for key in self._files.results() - set(keys):
                self._files.result(key).unlink()
        except OSError as error:
            raise EngineError(f"old examples in {self.folder} could not be removed ({error.strerror})") from None
