"""Attacks: importing this package registers what is declared of every family, and imports no PyTorch."""

from importlib import import_module

from engine.attacks.base import ATTACKS

# The order in which they are listed.
FAMILIES = (
    "declared.gradient",
    "declared.transfer",
    "declared.optimisation",
    "declared.sparse",
    "declared.patch",
    "declared.universal",
    "declared.generative",
    "declared.autoattack",
    "declared.decision",
    "declared.score",
)
for _family in FAMILIES:
    import_module(f"engine.attacks.{_family}")

__all__ = ["ATTACKS"]
