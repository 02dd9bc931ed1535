"""What the engine says when it is used wrongly: one line, what is wrong and what to do."""

import difflib
import re
from collections.abc import Iterable

_LONGEST = 500  # characters of a message; what somebody typed is quoted in it, and can be of any length
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def one_line(text: str) -> str:
    """`text` as one readable line: control characters are written out, the middle of what is too long is left out."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST // 2]} ... {text[-_LONGEST // 2:]}"
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


class EngineError(ValueError):
    """A mistake the user can mend; the message is one line that says how."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class UnknownName(EngineError):
    """A name that no registry knows; the message offers the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:8]
        hint = ", ".join(near) if near else "none is registered"
        super().__init__(f"unknown {kind} '{name}'; did you mean: {hint}?")


class Cancelled(Exception):
    """The user asked a running job to stop."""
