"""Tables of findings."""

from collections.abc import Iterable

import numpy as np
from scipy.stats import binomtest


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    lines = [head, ("---", *["--:"] * (len(head) - 1)), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def share(hits: np.ndarray) -> str:
    """A share in per cent with its 95 % interval (Wilson)."""
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return f"{hits.mean():.1%} ({interval.low:.0%} to {interval.high:.0%})"
