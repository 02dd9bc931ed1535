"""How sure a counted share is."""

import math
from dataclasses import dataclass

from scipy.special import ndtri

_Z = float(ndtri(0.975))


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; all None where it is not defined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Share:
    """So many of so many, as a share with its 95 % interval; None of none."""

    counted: int
    of: int

    @property
    def rate(self) -> float | None:
        return self.counted / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        return interval(self.counted, self.of)

    def facts(self) -> dict[str, float | int | None]:
        """JSON-able."""
        low, high = self.interval
        return {"rate": self.rate, "low": low, "high": high, "counted": self.counted, "of": self.of}


def share(counted: int, of: int) -> Estimate:
    """A counted share with its interval; not defined where there was nothing to count."""
    return Estimate(counted / of, *interval(counted, of)) if of else Estimate()


def interval(counted: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share by its count (Wilson 1927), each from 0 to 1; (0, 1) where nothing was counted."""
    if of == 0:
        return 0.0, 1.0
    # SciPy's binomtest gives the same to the last digit, but tests as well, which takes a thousand times as long.
    part, whole = counted / of, 2 * (of + _Z**2)
    centre = (2 * of * part + _Z**2) / whole
    wide = _Z / whole * math.sqrt(4 * of * part * (1 - part) + _Z**2)
    return centre - wide if counted else 0.0, centre + wide if counted < of else 1.0


def chance(some: int, others: int) -> float:
    """How likely it is that `some` + `others` tossed coins fall at least so unevenly: the exact sign test, two-sided,
    and McNemar's where each is a pair of yes and no. 1 where there are none."""
    if some + others == 0:
        return 1.0
    from scipy.stats import binomtest  # half a second that a page's first drawing can do without

    return float(binomtest(some, some + others).pvalue)
