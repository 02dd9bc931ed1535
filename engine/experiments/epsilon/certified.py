"""Certified accuracy against the radius that is proven, as a figure made without a browser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from engine.experiments import plots
from engine.experiments.certifying import Certified


def steps(certified: Certified) -> tuple[np.ndarray, np.ndarray]:
    """Radii, from 0 on, and the share of images that are right for certain up to each: it falls only there."""
    right = np.sort(certified.found.radii[certified.found.classes == certified.labels])
    radii = np.unique(np.concatenate([[0.0], right]))
    return radii, np.array([(right >= radius).sum() for radius in radii]) / max(1, len(certified.labels))


def curves(certified: Sequence[Certified], title: str) -> Figure:
    """A line a model and sigma, which ends where nothing more is proven."""
    figure, ((axes,),) = plots.panels()
    for number, one in enumerate(certified):
        radii, shares = steps(one)
        axes.step(np.append(radii, radii[-1]), np.append(shares, 0.0), where="pre",
                  color=plots.COLOURS[number % len(plots.COLOURS)], linestyle=plots.DASHES[number % len(plots.DASHES)],
                  label=plots.shown(f"{one.model}, sigma {one.sigma:g}"))
    plots.shares(axes)
    axes.set_xlabel("radius (L2)")
    axes.set_ylabel("right for certain")
    axes.set_title(plots.shown(title))
    plots.legend(axes)
    return figure
