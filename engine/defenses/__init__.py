"""Defenses at inference time."""

from engine.defenses.base import DEFENSES

__all__ = ["DEFENSES"]
