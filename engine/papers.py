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


def thesis_of_li_yang(chapter: int | None = None) -> Paper:
    """The thesis that GBBA, ANT and DND come from, or one chapter of it."""
    title = ("Research on Adversarial Attacks and Enhancing Defense Capabilities in Medical Image Deep Learning "
             "Systems")
    return Paper("Li Yang", title if chapter is None else f"{title}, ch. {chapter}", 2024,
                 where="thesis, Hiroshima University")
