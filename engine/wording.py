"""Numbers as people read them. Does not import torch."""


def counted(number: int, one: str, many: str = "") -> str:
    """A number of things in words: "1 query", "2,000 queries"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def percent(value: float) -> str:
    """A probability for people: 97.2 %, and never 100 % for what is not certain."""
    if value >= 0.9995 and value < 1:
        return "> 99.9 %"
    if 0 < value < 0.0005:
        return "< 0.1 %"
    return f"{value:.1%}".replace("%", " %")


def duration(seconds: float) -> str:
    """A rough time for people."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
