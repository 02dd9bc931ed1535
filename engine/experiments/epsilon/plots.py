"""A curve's figure for papers, made without a browser."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows
from engine.experiments.epsilon.curve import lines_of, point_of

# Okabe and Ito's colours, and marks that tell lines apart without them.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000", "#999999")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
FINE = 2.0  # up to here the axis is linear, in the unit that is shown


def accuracies(runs: Sequence[Rows], title: str) -> Figure:
    """Accuracy against eps, a line an attack, model and seed, with the band of its 95 % interval."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    lines = lines_of(runs)
    several = {part: len({_named(line[0])[part] for line in lines}) > 1 for part in (1, 2)}
    for number, line in enumerate(lines):
        norm, points = NORMS[line[0].spec.norm], [point_of(rows) for rows in line]
        x = [point.eps * norm.factor for point in points]
        parts = _named(line[0])
        name = ", ".join([parts[0], *(parts[part] for part in (1, 2) if several[part])])
        colour = COLOURS[number % len(COLOURS)]
        axes.fill_between(x, [point.low for point in points], [point.high for point in points], color=colour,
                          alpha=0.15, linewidth=0)
        axes.plot(x, [point.accuracy for point in points], marker=MARKS[number % len(MARKS)], color=colour, label=name)
    norm = NORMS[runs[0].spec.norm]
    axes.set_xscale("symlog", linthresh=FINE, base=2)
    values = sorted({(rows.spec.eps or 0) * norm.factor for rows in runs})
    axes.set_xticks(values, [f"{value:g}" for value in values], rotation=45 if len(values) > 8 else 0)
    axes.minorticks_off()
    axes.set_xlabel(f"epsilon, in n{norm.unit}" if norm.unit else "epsilon (L2)")
    axes.set_ylabel(f"accuracy on {len(runs[0].labels)} images (95 % interval)")
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    return figure


def _named(rows: Rows) -> tuple[str, str, str]:
    """Attack, model and seed."""
    return ATTACKS[rows.spec.attack].info.title, rows.provenance.model, f"seed {rows.spec.seed}"
