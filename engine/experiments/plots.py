"""Figures for papers as files, made without a browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from matplotlib import rc_context
from matplotlib.figure import Figure

FORMATS = ("svg", "png")


def save(draw: Callable[[], Figure], form: str, file: IO[bytes]) -> None:
    """What `draw` gives, as "svg" or "png"; the same figure gives the same bytes. Names from outside are shown as they
    are, whatever dollars are in them."""
    with rc_context({"svg.hashsalt": "perturbscope", "svg.fonttype": "none", "text.parse_math": False}):
        draw().savefig(file, format=form, dpi=200, bbox_inches="tight",
                       metadata={"Date": None} if form == "svg" else {"Software": None})
