"""Defenses at inference time: importing this package registers all of them, and imports no PyTorch."""

from importlib import import_module

from engine.defenses.base import DEFENSES

# The order in which they are listed.
for _family in ("noise", "filters", "resizing", "smoothing", "limits", "detectors"):
    import_module(f"engine.defenses.{_family}")

__all__ = ["DEFENSES"]
