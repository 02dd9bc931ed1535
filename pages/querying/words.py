"""What query curves cost, and of how many images they are, in plain words."""

from collections.abc import Sequence

from engine.experiments.queries.curves import QueryCurve
from engine.experiments.queries.walks import Estimate
from pages.ui.charts import counted, duration

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


def so_far(curves: Sequence[QueryCurve], images: int, share: float) -> str:
    """How much of the whole a figure is about, while it grows."""
    if share >= 1:
        return ""
    least = min(curve.n for curve in curves)
    return f"So far {least} of {counted(images, 'image')}: what you see is true of these."


def doubts(curves: Sequence[QueryCurve]) -> str:
    """What the lines of those who asked a random defense are worth."""
    said = ("Whoever asks a random defense once may have been lucky: the solid lines behind one are what the attacker "
            "believed, and are not verified.")
    known = [curve.verified.times for curve in curves if curve.verified is not None]
    if known:
        said += (" Diamonds are (large: the median; small: the mean of those that hold): the nearest picture so far "
                 f"was shown to the defended model {known[0]} times more, and only what fools most of these answers "
                 "counts; with more queries it can only come nearer.")
    if len(known) < sum(curve.doubtful for curve in curves):
        said += " Some were computed before there was a second look, or are measured in a norm without one."
    return said
