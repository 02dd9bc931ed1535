"""Defenses as they are told: to people, and to the command line. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable

from engine.defenses.base import defenses_from
from engine.errors import EngineError
from engine.params import Param, Value, params_of, values_of
from engine.serving.defense import Defense

NONE = "none"  # how the bare model is asked for among defenses


def titled(text: str) -> str:
    """The defenses that `text` names for people, "RND (sigma 0.02), then JPEG (quality 75)"; the text itself where this
    version does not know them."""
    def one(defense: Defense) -> str:
        settings = ", ".join(f"{p.title.lower()} {_valued(p, value)}" for p, value in _settings(defense))
        return f"{defense.info.title} ({settings})" if settings else defense.info.title

    return _told(text, one, ", then ")


def short(text: str) -> str:
    """The same without what is set of them, "RND, then JPEG"."""
    return _told(text, lambda defense: defense.info.title, ", then ")


def spelled(text: str) -> str:
    """The same as the command line takes it, "rnd:sigma=0.02+jpeg:quality=75"; NONE where there are none."""
    def one(defense: Defense) -> str:
        settings = ",".join(f"{p.name}={value}" for p, value in _settings(defense))
        return f"{defense.info.name}:{settings}" if settings else defense.info.name

    return _told(text, one, "+") or NONE


def _told(text: str, one: Callable[[Defense], str], between: str) -> str:
    try:
        return between.join(map(one, defenses_from(text)))
    except EngineError:
        return text


def _settings(defense: Defense) -> list[tuple[Param, Value]]:
    values = values_of(defense)
    return [(p, values[p.name]) for p in params_of(type(defense))]


def _valued(p: Param, value: Value) -> str:
    if isinstance(value, float):
        return f"{value * 255:.4g}/255" if p.unit == "/255" else f"{value:.4g} {p.unit.strip()}".strip()
    return f"{value} {p.unit.strip()}".strip()
