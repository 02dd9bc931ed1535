"""How sure a counted share is."""


def interval(counted: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share by its count (Wilson 1927), each from 0 to 1; (0, 1) where nothing was counted."""
    if of == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest  # half a second that a page's first drawing can do without

    found = binomtest(counted, of).proportion_ci(method="wilson")
    return float(found.low), float(found.high)
