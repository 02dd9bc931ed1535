"""Attacks: importing this package registers every family."""

from importlib import import_module

from engine.attacks.base import ATTACKS

# The order in which they are listed.
FAMILIES = (
    "gradient",
    "transfer.attacks",
    "transfer.combined",
    "optimisation",
    "sparse",
    "patch",
    "universal",
    "generative",
    "autoattack",
    "decision.hopskipjump",
    "decision.boundary",
    "decision.opt",
    "decision.geoda",
    "score",
)
for _family in FAMILIES:
    import_module(f"engine.attacks.{_family}")

__all__ = ["ATTACKS"]
