"""What a report is made of: a list of blocks, which `html` and `pdf` write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

DISCLAIMER = ("For research and teaching, not for diagnosis. No number here says anything about a patient. That an "
              "attack works on these models does not mean that it works on a product, and that it fails does not mean "
              "that a model is safe.")


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Words:
    """A paragraph; one that is `loud` must not be overlooked."""

    text: str
    loud: bool = False


@dataclass(frozen=True)
class Points:
    """A list of lines."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Texts below their heads; columns of numbers, by their place, stand right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Drawing:
    """A figure, called `name` in files, that `draw` gives; `width` is the share of the page that it takes."""

    name: str
    title: str
    draw: Callable[[], Figure]
    width: float = 1.0

    def file(self, form: str) -> bytes:
        """In one of the forms of engine.experiments.plots, in the one style."""
        from engine.experiments.plots import drawn

        return drawn(self.draw, form)


@dataclass(frozen=True)
class Photo:
    """An image as PNG, and what is said below it."""

    png: bytes
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Rows of images."""

    rows: tuple[tuple[Photo, ...], ...]


Block = Heading | Words | Points | Table | Code | Drawing | Gallery


@dataclass(frozen=True)
class Report:
    """What stands in it, in order, below its title."""

    title: str
    subtitle: str
    blocks: tuple[Block, ...]


def table_of(frame: pandas.DataFrame, most: int = 200) -> tuple[Block, ...]:
    """The first lines of a table, numbers with four digits; columns that say nothing are left out."""
    frame = frame.loc[:, [bool((frame[name].notna() & (frame[name].astype(str) != "")).any()) for name in frame]]
    numbers = frozenset(place for place, kind in enumerate(frame.dtypes) if kind.kind in "iuf")
    rows = tuple(tuple(map(_text, row)) for row in frame.head(most).itertuples(index=False))
    table = Table(tuple(map(str, frame.columns)), rows, numbers)
    return (table,) if len(frame) <= most else (
        table, Words(f"The first {most} of {len(frame):,}; the exported rows have all."))


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
