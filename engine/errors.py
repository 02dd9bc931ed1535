"""What the engine says when it is used wrongly: one line, what is wrong and what to do."""

import difflib
from collections.abc import Iterable


class EngineError(ValueError):
    """A mistake the user can mend; the message is one line that says how."""


class UnknownName(EngineError):
    """A name that no registry knows; the message offers the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:8]
        hint = ", ".join(near) if near else "none is registered"
        super().__init__(f"unknown {kind} '{name}'; did you mean: {hint}?")


class Cancelled(Exception):
    """The user asked a running job to stop."""
