"""What the engine says when it is used wrongly: one line, what is wrong and what to do."""

import difflib
import re
from collections.abc import Iterable, Sequence

NEAR = 0.6  # how alike two names must be for one to be offered for the other
FEW = 8  # so many names can be listed in a line
MOST, _WORD = 500, 200  # characters of a message, and of a word in it; a path is often long, a list of classes too


class EngineError(ValueError):
    """A mistake the user can mend; the message is one line that says how, whatever it quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message, MOST))


class UnknownName(EngineError):
    """A name that no registry knows; the message offers the known ones that are near, or says which there are.

    A name that is empty stands for "nothing chosen" and is not offered.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(filter(None, known))
        by_folded = {k.casefold(): k for k in known}
        near = [by_folded[k] for k in difflib.get_close_matches(name.casefold(), by_folded, n=3, cutoff=NEAR)]
        hints = [f"did you mean: {', '.join(near)}?"] if near else []
        if not near or len(known) <= FEW:
            hints.append(f"{'T' if near else 't'}here {_which(known)}")
        super().__init__(f"unknown {kind} '{shortened(name)}'; {' '.join(hints)}")


def shortened(text: str, most: int = 60) -> str:
    """`text` as one readable line of at most `most` characters: control characters are written out, the middle of what
    is longer is left out, and first that of endless words, so that what stands around them stays readable."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return _ends(re.sub(rf"\S{{{_WORD + 1},}}", lambda word: _ends(word[0], _WORD), line), most)


def _ends(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most // 2 - 1]}...{text[len(text) - (most - most // 2 - 2):]}"


def _which(known: Sequence[str]) -> str:
    if not known:
        return "is none"
    more = f" and {len(known) - FEW} more" if len(known) > FEW else ""
    return f"{'is' if len(known) == 1 else 'are'}: {', '.join(known[:FEW])}{more}"


class Cancelled(Exception):
    """The user asked a running job to stop."""
