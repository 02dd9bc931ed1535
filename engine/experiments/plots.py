"""The one style of all static figures, and how they become files; made without a browser.

Texts from outside are shown as they are: no formula comes of a dollar (`save`), and what cannot be seen is a
replacement character (`shown`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from threading import Lock
from typing import IO, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

FORMATS = ("svg", "png")
# Okabe and Ito's colours; marks and dashes tell lines apart without them.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", ":", "-.")
BEFORE, AFTER, FRAME, FAINT = "#56b4e9", "#e69f00", "#e69f00", "#888888"
# From nearly white to blue; and around it from vermilion to blue, or the other way round.
AMOUNTS = LinearSegmentedColormap.from_list("amounts", ["#f4f6f8", "#0072b2"])
AGREEMENT = LinearSegmentedColormap.from_list("agreement", ["#d55e00", "#f4f6f8", "#0072b2"])
CHANGES = AGREEMENT.reversed()
_STYLE: Any = {  # typed by Matplotlib as one of its own names each
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "figure.titlesize": 11,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "grid.alpha": 0.3, "lines.linewidth": 1.4,
    "lines.markersize": 4.5, "text.parse_math": False, "svg.hashsalt": "perturbscope"}
_DRAWING = Lock()  # Matplotlib's settings are those of the whole process
_LONGEST = 60  # letters of a name


def save(draw: Callable[[], Figure], form: str, file: IO[bytes], letters: bool = True) -> None:
    """What `draw` gives, in the style, in one of FORMATS; the same figure gives the same bytes. An SVG has `letters`,
    for whom has the font and edits it, or their outlines, which look the same everywhere."""
    with _DRAWING, rc_context({**_STYLE, "svg.fonttype": "none" if letters else "path"}):
        draw().savefig(file, format=form, dpi=150, metadata={"Date": None} if form == "svg" else {"Software": None})


def drawn(draw: Callable[[], Figure], form: str) -> bytes:
    """What `draw` gives as a file that looks the same everywhere."""
    save(draw, form, file := io.BytesIO(), letters=False)
    data = file.getvalue()
    return data if form == "png" else data[data.index(b"<svg"):]  # without the address of what SVG is


def shown(text: str) -> str:
    """A text from outside as a figure shows it."""
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST - 19]}...{line[-16:]}"


# ---- axes


def panels(columns: int = 1, rows: int = 1, size: tuple[float, float] = (7.0, 4.2), **options: Any
           ) -> tuple[Figure, np.ndarray]:
    """A figure of so many inches with its axes [rows, columns]."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def shares(axes: Axes, across: bool = False) -> None:
    """The upright axis (or that which goes `across`) is of shares from 0 to 1, written in percent."""
    axis = axes.xaxis if across else axes.yaxis
    (axes.set_xlim if across else axes.set_ylim)(-0.03, 1.03)
    axis.set_major_formatter(lambda value, place: f"{value:.0%}".replace("%", " %"))
    axes.grid(True)


def logarithmic(axes: Axes, upright: bool = False) -> None:
    """Numbers of queries (and, if `upright`, sizes, where there are any) on logarithmic axes, written out."""
    queries = np.concatenate([line.get_xdata() for line in axes.lines])
    axes.set_xlim(queries.min() / 1.1, queries.max() * 1.1)  # whatever is drawn there, as it may be nothing
    if upright and not any(np.isfinite(line.get_ydata()).any() for line in axes.lines):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "none so far", transform=axes.transAxes, ha="center", color=FAINT)
        upright = False
    for axis, leads in (("x", (1,)), ("y", (1, 2, 5)))[:1 + upright]:
        getattr(axes, f"set_{axis}scale")("log")
        own = getattr(axes, f"{axis}axis")
        own.set_major_locator(LogLocator(subs=leads))
        own.set_major_formatter(lambda value, place: f"{value:,.6g}")
        own.set_minor_formatter(lambda value, place: "")
    axes.grid(True)


def counts(axes: Axes) -> None:
    """The upright axis is of whole numbers."""
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)


def legend(axes: Axes, columns: int = 2) -> None:
    """Below the axes, where it hides nothing."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns)


def named_rows(axes: Axes, names: Sequence[str]) -> None:
    """One row a name, from above."""
    axes.set_yticks(range(len(names)), [shown(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)


def dots(axes: Axes, values: Sequence[tuple[float, float, float] | None], name: str, colour: str, mark: str,
         shift: float = 0.0) -> None:
    """A row's value with its interval (value, low, high), a little below its middle or above; None: there is none."""
    known = [(row, one) for row, one in enumerate(values) if one is not None]
    spread = [[max(0.0, value - low) for _, (value, low, _) in known],
              [max(0.0, high - value) for _, (value, _, high) in known]]
    axes.errorbar([value for _, (value, _, _) in known], [row + shift for row, _ in known], xerr=spread, fmt=mark,
                  color=colour, capsize=3, label=name)


def band(axes: Axes, points: Sequence[tuple[float, float, float | None, float | None]], name: str, number: int) -> None:
    """A line through points (x, value, low, high) with the band of their intervals, in the look number `number`."""
    colour = COLOURS[number % len(COLOURS)]
    x, values, low, high = zip(*points, strict=True)
    if None not in low:
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, values, color=colour, marker=MARKS[number % len(MARKS)],
              linestyle=DASHES[number // len(COLOURS) % len(DASHES)], label=shown(name))


def grid(axes: Axes, colours: np.ndarray, texts: Sequence[Sequence[str]], rows: Sequence[str], columns: Sequence[str],
         scale: Colormap, low: float, high: float) -> None:
    """A matrix with a text in every cell, in a colour that can be read on it; what is not known (NaN) is white."""
    axes.imshow(colours, cmap=scale, vmin=low, vmax=high, aspect="auto")
    for row, own in enumerate(texts):
        for column, text in enumerate(own):
            red, green, blue, _ = scale((np.nan_to_num(colours[row, column]) - low) / (high - low))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 and not np.isnan(colours[row, column])
            axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), [shown(name) for name in columns], rotation=25, ha="right")
    axes.set_yticks(range(len(rows)), [shown(name) for name in rows])
    axes.spines[:].set_visible(False)
