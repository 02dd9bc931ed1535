"""Query curves in plain words, and as a table to be read. Pure functions of curves; no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from engine.attacks import ATTACKS
from engine.attacks.base import Knowledge
from engine.attacks.norms import NORMS
from engine.experiments.defended import BARE
from engine.experiments.queries.curves import Point, QueryCurve
from engine.wording import counted, percent

if TYPE_CHECKING:
    import pandas

SEES = {Knowledge.SCORE: "It saw the model's probabilities and nothing else.",
        Knowledge.DECISION: "It saw the diagnosis and nothing else."}


def names_of(curves: Sequence[QueryCurve]) -> list[str]:
    """What tells each curve from the others: the attack and its front, and of budget, model and seed those that
    differ."""
    several = {what: len({getattr(curve, what) for curve in curves} - {None}) > 1 for what in ("model", "seed", "eps")}
    defended = any(curve.front for curve in curves)

    def name(curve: QueryCurve) -> Iterator[str]:
        yield ATTACKS[curve.attack].info.title
        if curve.eps is not None and several["eps"]:
            yield f"eps {NORMS[curve.run_norm].text(curve.eps)}"
        if defended:
            yield curve.front or BARE
        if several["model"]:
            yield f"on {curve.model}"
        if several["seed"]:
            yield f"seed {curve.seed}"

    return [" ".join(name(curve)) for curve in curves]


def name_of(curve: QueryCurve) -> str:
    """What tells a curve from all others."""
    limit = "" if curve.eps is None else f" {NORMS[curve.run_norm].text(curve.eps)}"
    front = f" {curve.front}" if curve.front else ""
    return f"{ATTACKS[curve.attack].info.title}{limit}, {curve.model}{front}, seed {curve.seed}"


def sentences(curves: Sequence[QueryCurve], entries: int) -> Iterator[str]:
    """One for each curve, about its last point; `entries` are the values that an image is made of."""
    for curve, name in zip(curves, names_of(curves), strict=True):
        yield sentence(curve, name, entries)


def sentence(curve: QueryCurve, name: str, entries: int) -> str:
    """What came of it, for whoever does not know what a norm is."""
    point = curve.points[-1]
    asked = f"After at most {counted(point.queries, 'question')} an image, {name}"
    if not curve.attacked:
        return f"{asked} had nothing to do: no image was classified correctly before."
    if not point.found.count:
        return (f"{asked} had changed the model's mind on none of the {counted(curve.attacked, 'image')} it read "
                "correctly.")
    had = (f"{asked} had changed the model's mind on {point.found.count} of the "
           f"{counted(curve.attacked, 'image')} it read correctly ({percent(point.found.share)})")
    return f"{had}{_half(curve, point, entries)}. {SEES[ATTACKS[curve.attack].info.knowledge]}"


def _half(curve: QueryCurve, point: Point, entries: int) -> str:
    if point.median is None:
        return ", too few to say what change half of the images needed"
    size = NORMS[curve.norm].text(point.median, ".3g")
    if curve.norm == "l2":
        levels = point.median / math.sqrt(entries) * 255
        return f", half of them by an L2 of at most {size}: {levels:.2g} of 255 grey levels a pixel, on average"
    if curve.norm == "linf":
        return f", half of them without moving any pixel by more than {size}"
    return f", half of them by changing no more than {size}"


def readable(curves: Sequence[QueryCurve]) -> pandas.DataFrame:
    """The points as people read them."""
    import pandas

    lines = []
    for name, curve in zip(names_of(curves), curves, strict=True):
        norm = NORMS[curve.norm]
        for point in curve.points:
            sizes = {"median": point.median, "25 %": point.q25, "75 %": point.q75, "mean of the fooled": point.mean}
            lines.append({
                "attack": name, "queries": point.queries,
                **{title: "-" if size is None else norm.text(size, ".3g") for title, size in sizes.items()},
                "fooled": f"{point.found.count} of {curve.attacked}",
                **{f"at most {norm.text(one.within, '.4g')}": f"{one.share:.0%} ({one.low:.0%} to {one.high:.0%})"
                   for one in point.success}})
    return pandas.DataFrame(lines)


def verified_readable(curves: Sequence[QueryCurve]) -> pandas.DataFrame:
    """What holds at each look, of curves that are verified, as people read it."""
    import pandas

    lines = []
    for name, curve in zip(names_of(curves), curves, strict=True):
        norm, held = NORMS[curve.norm], curve.verified
        for served, bare in () if held is None else zip(held.served, held.bare, strict=True):
            line: dict[str, object] = {"attack": name, "queries": served.queries}
            for side, point in (("as served", served), ("without the defense", bare)):
                line[f"median, {side}"] = "-" if point.median is None else norm.text(point.median, ".3g")
                line[f"holds, {side}"] = f"{point.found.count} of {curve.attacked}"
            lines.append(line)
    return pandas.DataFrame(lines)
