"""A transfer's figures for papers and reports, made without a browser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from engine.experiments import plots
from engine.experiments.transfers.alignment import Alignment
from engine.experiments.transfers.transferred import Cell, Matrix, Relation
from engine.experiments.transfers.words import attack_title, short

_FRAMES = {Relation.ITSELF: "solid", Relation.MEMBER: "dotted"}


def heat(found: Sequence[Matrix]) -> Figure:
    """A matrix an attack, side by side; frames mark what was made on the target itself, dotted ones what on it, too."""
    first = found[0]
    width, height = 1.5 + 1.1 * len(first.targets), 1.6 + 0.7 * len(first.sources)
    figure, axes = plots.panels(len(found), size=(width * len(found), height))
    attacks = [matrix.attack for matrix in found]
    for place, (where, matrix) in enumerate(zip(axes[0], found, strict=True)):
        _matrix(where, matrix)
        where.set_title(attack_title(matrix.attack, attacks))
        if place:
            where.set_yticklabels([])
            where.set_ylabel("")
    return figure


def _matrix(axes: Axes, matrix: Matrix) -> None:
    names = short((*matrix.sources, *matrix.targets))
    rates = np.array([[np.nan if cell.fooled.rate is None else cell.fooled.rate for cell in row]
                      for row in matrix.cells])
    plots.grid(axes, rates, [[_said(cell) for cell in row] for row in matrix.cells],
               [names[name] for name in matrix.sources], [names[name] for name in matrix.targets], plots.AMOUNTS, 0, 1)
    for row, cells in enumerate(matrix.cells):
        for column, cell in enumerate(cells):
            if cell.relation in _FRAMES:
                axes.add_patch(Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, fill=False, linewidth=2,
                                         edgecolor=plots.FRAME, linestyle=_FRAMES[cell.relation]))
    axes.set_xlabel("shown to")
    axes.set_ylabel("made on")


def _said(cell: Cell) -> str:
    if cell.fooled.rate is None:
        return ""
    low, high = cell.fooled.interval
    return f"{cell.fooled.rate:.0%}\n{low:.0%} to {high:.0%}"


def means(found: Sequence[Matrix]) -> Figure:
    """The mean success on models that the attacker never saw, with its 95 % interval."""
    attacks = [matrix.attack for matrix in found]
    known = [matrix for matrix in found if matrix.elsewhere.rate is not None]
    figure, ((axes,),) = plots.panels(size=(6, 1.0 + 0.4 * len(known)))
    rates = [matrix.elsewhere.rate or 0.0 for matrix in known]
    spread = [[rate - matrix.elsewhere.low for rate, matrix in zip(rates, known, strict=True)],
              [matrix.elsewhere.high - rate for rate, matrix in zip(rates, known, strict=True)]]
    axes.barh(range(len(known)), rates, xerr=np.maximum(spread, 0), color=plots.BEFORE, ecolor="#555555", capsize=3)
    plots.named_rows(axes, [attack_title(matrix.attack, attacks) for matrix in known])
    plots.shares(axes, across=True)
    axes.set_xlabel("success on models never seen, mean of all pairs (95 % interval)")
    return figure


def alignment(found: Alignment) -> Figure:
    """The mean cosine between the input gradients of every two models."""
    cosines, names = found.matrix(), short(found.models)
    labels, size = [names[name] for name in found.models], len(found.models)
    figure, ((axes,),) = plots.panels(size=(1.8 + 1.1 * size, 1.4 + 0.6 * size))
    means_ = np.array([[np.nan if one.mean is None else one.mean for one in row] for row in cosines])
    plots.grid(axes, means_, [["" if one.mean is None else f"{one.mean:.2f}" for one in row] for row in cosines],
               labels, labels, plots.AGREEMENT, -1, 1)
    axes.set_title("mean cosine of the gradients")
    return figure
