"""Figures are drawn once: every click runs a page anew, mostly with the same numbers."""

import hashlib
import io
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

from engine.attacks.rows import Rows

P = ParamSpec("P")
T = TypeVar("T")
# Figures of all visitors together, and rows that are kept with them: those that were asked for last stay. A sweep that
# grows while one looks leaves many.
MOST, MOST_ROWS = 200, 1_000_000

_lock = threading.Lock()
_kept: OrderedDict[tuple[str, str], tuple[list[object], Any]] = OrderedDict()


def remembered(make: Callable[P, T]) -> Callable[P, T]:
    """Decorator: what the function makes of the same arguments is the same, and nobody changes it.

    Arguments are the same whose contents are; rows, which may be many and never change, and functions only where they
    are the very same ones (`Job.read` gives the same rows to all). They are kept with what was made, so that no others
    take their place in memory.
    """
    @wraps(make)
    def made(*args: P.args, **named: P.kwargs) -> T:
        contents = _Contents()
        contents.dump((args, named))
        key = f"{make.__module__}.{make.__qualname__}", contents.digest
        with _lock:
            if key in _kept:
                _kept.move_to_end(key)
                found: T = _kept[key][1]
                return found
        new = make(*args, **named)
        with _lock:
            _kept[key] = contents.themselves, new
            while len(_kept) > MOST or (len(_kept) > 1 and _rows() > MOST_ROWS):
                _kept.popitem(last=False)
        return new

    return made


def _rows() -> int:
    """How many rows are kept, those of several figures once."""
    kept = {id(one): one for themselves, _ in _kept.values() for one in themselves if isinstance(one, Rows)}
    return sum(len(one.labels) for one in kept.values())


class _Contents(pickle.Pickler):
    """Tells contents apart; of rows and functions, which ones they are."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self.themselves: list[object] = []
        super().__init__(self._file, protocol=5)

    def persistent_id(self, obj: object) -> int | None:
        if not isinstance(obj, Rows | FunctionType):
            return None
        self.themselves.append(obj)
        return id(obj)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self._file.getbuffer()).hexdigest()
