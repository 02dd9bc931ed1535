"""Attacks: importing this package registers every family."""

from importlib import import_module

from engine.attacks.base import ATTACKS

# The order in which they are listed.
FAMILIES = (
    "declared.gradient",
    "declared.transfer",
    "declared.optimisation",
    "declared.sparse",
    "patch",
    "declared.universal",
    "declared.generative",
    "declared.autoattack",
    "declared.decision",
    "declared.score",
)
for _family in FAMILIES:
    import_module(f"engine.attacks.{_family}")

__all__ = ["ATTACKS"]
