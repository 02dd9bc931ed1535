"""How sure a counted share is."""

import math

SURE = 1.959964  # standard deviations within which 95 % of a normal distribution lie


def interval(counted: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share by its count (Wilson 1927), each from 0 to 1; (0, 1) where nothing was counted."""
    if of == 0:
        return 0.0, 1.0
    share, square = counted / of, SURE**2
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = SURE / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)
