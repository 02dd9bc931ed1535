"""Certified accuracy against the radius that is proven: in words, as a table, as a figure made without a browser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from engine.attacks.norms import NORMS
from engine.experiments import plots
from engine.experiments.certifying import Certified
from engine.wording import counted, percent

if TYPE_CHECKING:
    import pandas


def name_of(one: Certified) -> str:
    """What tells a curve from others."""
    return f"{one.model}, sigma {one.sigma:g}"


def covered(radius: float, entries: int) -> float:
    """The eps of the maximum norm, in [0,1], within which every change of an image of so many values is no larger than
    `radius` in L2: what the certificate is worth against an attacker who may move all of them."""
    return radius / math.sqrt(entries)


def sentence(one: Certified, entries: int) -> str:
    """What is proven, for whoever does not know what a norm is; images have so many `entries`."""
    surely, clean, of = one.within(0.0), one.clean, len(one.labels)
    said = (f"Smoothed with noise of sigma {one.sigma:g}, {one.model} is right for certain about {surely.counted} of "
            f"{counted(of, 'image')} ({percent(surely.rate or 0.0)}); without noise it reads {clean.counted} "
            "correctly")
    if abstained := int(one.found.abstained.sum()):
        said += f"; about {abstained} nothing is proven"
    if not one.median:
        return f"{said}. Not even half of them are certain against the smallest change."
    size = NORMS["linf"].text(covered(one.median, entries), ".2g")
    return (f"{said}. Half of them stay right whatever anybody changes, by any attack, as long as the L2 of the change "
            f"is at most {one.median:.2g}: that is every pixel by {size}, or a single value by "
            f"{min(1.0, one.median) * 255:.0f}/255.")


def table(certified: Sequence[Certified], entries: int) -> pandas.DataFrame:
    """A row for each radius at which a curve falls, with the 95 % interval (Wilson) and the eps that it covers."""
    import pandas

    return pandas.DataFrame([
        {"model": one.model, "sigma": one.sigma, "radius_l2": radius, "covers_linf": covered(radius, entries),
         "certified": share.rate, "low": share.interval[0], "high": share.interval[1], "counted": share.counted,
         "images": share.of, "abstained": int(one.found.abstained.sum()), "clean": one.clean.rate}
        for one in certified for radius in steps(one)[0].tolist() for share in [one.within(radius)]])


def rows(certified: Sequence[Certified], images: Sequence[str], classes: Sequence[str]) -> pandas.DataFrame:
    """A row for each image, in the order of `images`, and curve."""
    import pandas

    return pandas.DataFrame([
        {"model": one.model, "sigma": one.sigma, "image": image, "label": classes[row["label"]],
         "without_noise": classes[row["bare"]], "proven": "" if row["class"] < 0 else classes[row["class"]],
         "radius_l2": row["radius"], "share_at_least": row["share"]}
        for one in certified for image, row in zip(images, one.rows(), strict=True)])


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
                  label=plots.shown(name_of(one)))
    plots.shares(axes)
    axes.set_xlabel("radius (L2)")
    axes.set_ylabel("right for certain")
    axes.set_title(plots.shown(title))
    plots.legend(axes)
    return figure
