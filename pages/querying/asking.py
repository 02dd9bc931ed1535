"""What the Black box page lets choose besides: how many queries, in which norm, and at which sizes success is told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import streamlit as st

from engine.attacks.norms import NORMS
from engine.errors import EngineError
from engine.experiments.queries.curves import WITHIN
from engine.params import parse_number
from pages.ui import controls
from pages.ui.address import Address

T = TypeVar("T")
MOST_COUNTS, MOST_QUERIES = 12, 100_000
MOST_SIZES = 6
MEASURED = ("l2", "linf")
OWN = "own"


@dataclass(frozen=True)
class Asked:
    """Counts of queries, smallest first; the norm in which a change is measured, and whether that was `measured` by
    wish, or as it is the attacks' own; sizes in it, in [0,1] intensity."""

    counts: tuple[int, ...]
    norm: str
    measured: bool
    sizes: tuple[float, ...]

    @property
    def queries(self) -> int:
        """So many are walked to."""
        return self.counts[-1]


def choose(address: Address, counts: str, norm: str) -> Asked:
    """The controls; `counts` are those at first, `norm` is what the attacks limit. Raises EngineError."""
    asked = _listed(address, "queries", "Queries an image", counts, counts_in,
                    "How often the attacker may ask about each image: the largest number is walked to, and what it was "
                    "worth at the others is read from that. 1,000 of them are some seconds an image for a small model "
                    "here, and minutes for a large one.")
    measured = controls.choice(address, "measure", "Size of the change, measured as", (OWN, *MEASURED), OWN,
                               format_func=lambda name: "what the attacks keep small" if name == OWN
                               else NORMS[name].title)
    own = norm if measured == OWN else measured
    address.carry(*(f"within.{other}" for other in MEASURED if other != own))
    default = ",".join(size_text(own, size) for size in WITHIN[own])
    sizes = _listed(address, f"within.{own}", "Success is told at changes of at most", default,
                    lambda text: sizes_in(own, text),
                    f"Sizes, with commas, such as {default}: a change that is larger does not count as a success.")
    return Asked(asked, own, measured != OWN, sizes)


def _listed(address: Address, name: str, label: str, first: str, read: Callable[[str], T], help: str) -> T:
    """A line of text with values in it, kept in the address as `name`."""
    key = address.scope.control(name)

    def checked(text: str) -> str:
        read(text)
        return text

    text = st.text_input(label, address.seed(name, key, checked, first), key=key, help=help)
    address.note(name, text if text != first else None)
    try:
        return read(text)
    except EngineError as error:
        raise EngineError(f"{label}: {error}") from None


def counts_in(text: str) -> tuple[int, ...]:
    """Numbers of queries written with commas; raises EngineError."""
    try:
        counts = tuple(sorted({int(one.strip().replace(" ", "")) for one in text.split(",") if one.strip()}))
    except ValueError:
        raise EngineError("it must be whole numbers with commas, such as 100, 250, 1000") from None
    if not counts or len(counts) > MOST_COUNTS or not 1 <= counts[0] <= counts[-1] <= MOST_QUERIES:
        raise EngineError(f"it must be 1 to {MOST_COUNTS} numbers from 1 to {MOST_QUERIES}, with commas and none "
                          "within a number")
    return counts


def size_text(norm: str, size: float) -> str:
    """A size as it is written and read."""
    return NORMS[norm].text(size)


def sizes_in(norm: str, text: str) -> tuple[float, ...]:
    """Sizes of a change written with commas; raises EngineError."""
    example = ", ".join(size_text(norm, size) for size in WITHIN[norm])
    try:
        sizes = tuple(sorted({float(parse_number(one.strip())) for one in text.split(",") if one.strip()}))
    except (ValueError, ZeroDivisionError):
        raise EngineError(f"it must be sizes with commas, such as {example}") from None
    if not sizes or len(sizes) > MOST_SIZES or not 0 <= sizes[0] <= sizes[-1] < float("inf"):
        raise EngineError(f"it must be 1 to {MOST_SIZES} sizes from 0 on, such as {example}")
    return sizes
