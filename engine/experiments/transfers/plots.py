"""A transfer's figures for papers, as SVG and PNG, made without a browser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from engine.experiments.transfers.transferred import Matrix, Relation
from engine.experiments.transfers.words import attack_title, short

_SHARES = LinearSegmentedColormap.from_list("shares", ["#f4f6f8", "#0072b2"])
_FRAMES = {Relation.ITSELF: "solid", Relation.MEMBER: "dotted"}
_DARK = 0.55  # the share from which on a cell is so dark that white is read better on it


def heat(found: Sequence[Matrix]) -> Figure:
    """A matrix an attack, side by side; frames mark what was made on the target itself, dotted ones what on it, too."""
    first = found[0]
    width, height = 1.5 + 1.1 * len(first.targets), 1.6 + 0.7 * len(first.sources)
    figure = Figure(figsize=(width * len(found), height), layout="constrained")
    attacks = [matrix.attack for matrix in found]
    for place, (axes, matrix) in enumerate(zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True)):
        _matrix(axes, matrix)
        axes.set_title(attack_title(matrix.attack, attacks))
        if place:
            axes.set_yticklabels([])
            axes.set_ylabel("")
    return figure


def _matrix(axes: Axes, matrix: Matrix) -> None:
    names = short((*matrix.sources, *matrix.targets))
    rates = np.array([[np.nan if cell.fooled.rate is None else cell.fooled.rate for cell in row]
                      for row in matrix.cells])
    axes.imshow(rates, cmap=_SHARES, vmin=0, vmax=1, aspect="auto")
    for row, cells in enumerate(matrix.cells):
        for column, cell in enumerate(cells):
            if (rate := cell.fooled.rate) is not None:
                low, high = cell.fooled.interval
                axes.text(column, row, f"{rate:.0%}\n{low:.0%} to {high:.0%}", ha="center", va="center", fontsize=8,
                          color="white" if rate > _DARK else "black")
            if cell.relation in _FRAMES:
                axes.add_patch(Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, fill=False, linewidth=2,
                                         edgecolor="#e69f00", linestyle=_FRAMES[cell.relation]))
    axes.set_xticks(range(len(matrix.targets)), [names[name] for name in matrix.targets], rotation=30, ha="right")
    axes.set_yticks(range(len(matrix.sources)), [names[name] for name in matrix.sources])
    axes.set_xlabel("shown to")
    axes.set_ylabel("made on")


def means(found: Sequence[Matrix]) -> Figure:
    """The mean success on models that the attacker never saw, with its 95 % interval."""
    attacks = [matrix.attack for matrix in found]
    known = [matrix for matrix in found if matrix.elsewhere.rate is not None]
    figure = Figure(figsize=(6, 0.9 + 0.4 * len(known)), layout="constrained")
    axes = figure.subplots()
    rates = [matrix.elsewhere.rate or 0.0 for matrix in known]
    spread = [[rate - matrix.elsewhere.low for rate, matrix in zip(rates, known, strict=True)],
              [matrix.elsewhere.high - rate for rate, matrix in zip(rates, known, strict=True)]]
    axes.barh(range(len(known)), rates, xerr=spread, color="#56b4e9", ecolor="#555555", capsize=3)
    axes.set_yticks(range(len(known)), [attack_title(matrix.attack, attacks) for matrix in known])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("success on models never seen, mean of all pairs (95 % interval)")
    return figure
