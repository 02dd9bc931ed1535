"""Where something comes from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A source. `where` says what it is if no journal's, `url` where it can be read, if it can."""

    authors: str
    title: str
    year: int | None
    url: str = ""
    where: str = ""
