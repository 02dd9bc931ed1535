"""The list of defenses."""

from dataclasses import dataclass

from engine.registry import Registry


@dataclass(frozen=True)
class DefenseInfo:
    """A defense's declaration."""

    name: str
    title: str
    sentence: str
    paper: str


DEFENSES: Registry[DefenseInfo] = Registry("defense")
