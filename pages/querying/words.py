"""Query curves in plain words."""

import math
from collections.abc import Iterator, Sequence

from engine.attacks import ATTACKS
from engine.attacks.base import Knowledge
from engine.attacks.norms import NORMS
from engine.experiments.queries.curves import Point, QueryCurve
from engine.experiments.queries.walks import Estimate
from pages.querying.plots import names_of
from pages.ui.charts import counted, duration, percent

SEES = {Knowledge.SCORE: "It saw the model's probabilities and nothing else.",
        Knowledge.DECISION: "It saw the diagnosis and nothing else."}

PATIENCE = 60  # seconds from which the page says what else one could do
MANY = 5_000  # queries from which it does so where it does not know how long they take


def price(cost: Estimate) -> str:
    """What it costs at most, in a line that warns where it takes long."""
    line = f"Costs at most {counted(cost.queries, 'query', 'queries')}"
    time = "" if cost.seconds is None else f", about {duration(cost.seconds)} here"
    long = cost.queries > MANY if cost.seconds is None else cost.seconds > PATIENCE
    advice = (" That takes minutes or more: what there is grows below meanwhile; fewer images or queries are quicker, "
              "and Cancel keeps what is done.")
    return f"{line}{time}.{advice if long else ''}"


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
        return f"{asked} had changed the model's mind on none of the {curve.attacked} images it read correctly."
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


def so_far(curves: Sequence[QueryCurve], images: int, share: float) -> str:
    """How much of the whole a figure is about, while it grows."""
    if share >= 1:
        return ""
    least = min(curve.n for curve in curves)
    return f"So far {least} of {counted(images, 'image')}: what you see is true of these."
