"""Attacks: importing this package registers every family."""

import engine.attacks.gradient  # noqa: F401  (registers itself)
from engine.attacks.base import ATTACKS

__all__ = ["ATTACKS"]
