"""Where points of a trade-off stand, so that none hides another. Pure functions of standings."""

from __future__ import annotations

from collections.abc import Sequence

from engine.experiments.defending.judged import Standing

BESIDE = 0.025  # between points that would lie on each other


def across(standings: Sequence[Standing]) -> list[float]:
    """Where each stands across, from 0 to 1: at its accuracy unattacked, or a little beside that, towards the middle,
    where another one already stands as high."""
    taken: list[tuple[float, float]] = []
    found = []
    for one in standings:
        at = clean = one.clean.rate or 0.0
        heights = [faced.robust.rate or 0.0 for faced, _ in one.points]
        while any(abs(at - x) < BESIDE / 2 and abs(height - y) < BESIDE for x, y in taken for height in heights):
            at += -BESIDE if clean > 0.5 else BESIDE
        taken += [(at, height) for height in heights]
        found.append(at)
    return found
