"""The list of defenses at inference time, and how a row of them is written: "jpeg(quality=75), rnd(sigma=0.02)", or on
a command line, where brackets and spaces are a nuisance, "jpeg:quality=75+rnd:sigma=0.02".

The first stands outermost: it sees an image first, and the logits last.
"""

import math
import re
from collections.abc import Sequence

from engine.errors import EngineError
from engine.params import build, values_of
from engine.registry import Registry
from engine.serving.defense import Defense

DEFENSES: Registry[type[Defense]] = Registry("defense")

# A name, its settings in brackets or behind a colon, and what parts it from the next. A plus in a number ("1e+2") is
# followed by a digit, one between two defenses by a name.
_ONE = re.compile(r"\s*([\w-]+)\s*(?:\(([^()]*)\)|:((?:[^()+]|\+(?=\d))*))?\s*(?:[,+]|$)")


def register(cls: type[Defense]) -> type[Defense]:
    """Class decorator: list the defense under its name."""
    DEFENSES.add(cls.info.name, cls)
    return cls


def defenses_from(text: str) -> tuple[Defense, ...]:
    """The defenses that `text` names, in its order, their parameters checked; raises EngineError."""
    found: list[Defense] = []
    at = 0
    while text[at:].strip():
        match = _ONE.match(text, at)
        if match is None:
            raise EngineError(f"'{text}' names no defenses; write them like 'jpeg(quality=75), rnd(sigma=0.02)', or "
                              "'jpeg:quality=75+rnd:sigma=0.02'")
        found.append(build(DEFENSES[match[1]], _settings(match[2] or match[3] or "")))
        at = match.end()
    return _stacked(found)


def _stacked(defenses: Sequence[Defense]) -> tuple[Defense, ...]:
    """The same, if they can stand in a row; raises EngineError."""
    names = [defense.info.name for defense in defenses]
    for defense in defenses:
        if defense.info.once and names.count(defense.info.name) > 1:
            raise EngineError(f"{defense.info.title} can stand before a model once only; leave one of them out")
    several = [place for place, defense in enumerate(defenses) if defense.copies > 1]
    behind = defenses[several[0] + 1:] if several else ()
    for defense in behind:
        if type(defense).refuses is not Defense.refuses:
            raise EngineError(f"{defense.info.title} has to stand before {defenses[several[0]].info.title}, behind "
                              "which every copy of an image would be judged as a query of its own; name it first")
    return tuple(defenses)


def passes(defenses: Sequence[Defense]) -> int:
    """How many images pass a classifier for one query that all of these defenses see."""
    return math.prod(defense.copies for defense in defenses) + sum(defense.looks for defense in defenses)


def learners(defenses: Sequence[Defense]) -> list[Defense]:
    """Those that first have to learn from clean images."""
    return [defense for defense in defenses if defense.info.fitted]


def cautions(defenses: Sequence[Defense]) -> list[str]:
    """What is to be said of these settings before anything runs, a line each."""
    return [f"{defense.info.title}: {said}" for defense in defenses if (said := defense.caution())]


def written(defenses: Sequence[Defense]) -> str:
    """The one way to write these defenses, every parameter included: `defenses_from` makes the same of it."""
    def one(defense: Defense) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in values_of(defense).items())
        return f"{defense.info.name}({settings})" if settings else defense.info.name

    return ", ".join(map(one, defenses))


def _settings(text: str) -> dict[str, object]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if any(not sign or not value.strip() for _, sign, value in pairs):
        raise EngineError(f"a defense's settings are written name=value, not '{text}'")
    return {name.strip(): value.strip() for name, _, value in pairs}
