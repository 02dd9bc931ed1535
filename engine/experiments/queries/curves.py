"""What is read from walks: norm and success against queries. Pure functions of walks; no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.attacks import ATTACKS
from engine.errors import EngineError
from engine.experiments import spreadsheets
from engine.experiments.defended import facts, front_title
from engine.experiments.queries.walks import Walks, to_verify
from engine.metrics.rates import interval

if TYPE_CHECKING:
    import pandas

ROUNDING = 1e-6  # sizes of float32 images, of which one that is to be within 1/255 may be more by so much
POINTS = 48  # of a curve that is drawn, spread evenly on a logarithmic axis
# Sizes of a change at which success is told where nobody says otherwise.
WITHIN = {"l2": (1.0, 3.0, 10.0), "linf": (2 / 255, 8 / 255, 16 / 255), "l0": (10.0, 100.0, 1000.0)}


@dataclass(frozen=True)
class Success:
    """How many of the images were fooled by a change no larger than `within` (but for a rounding error), as a share
    with its 95 % interval (Wilson)."""

    within: float
    count: int
    share: float
    low: float
    high: float

    def summary(self) -> dict[str, Any]:
        """JSON-able: without a limit, `within` is None."""
        return {"norm": _finite(self.within), "count": self.count, "success": self.share, "low": self.low,
                "high": self.high}


@dataclass(frozen=True)
class Point:
    """Where an attack stands after `queries` an image. The median and the quartiles are of all images that count, those
    not fooled yet as infinite; the mean is only of those that are `found` (and so may rise where more are found); None:
    infinite, or of nothing. `found` is the success whatever the size of the change, `success` that at chosen sizes."""

    queries: int
    mean: float | None
    median: float | None
    q25: float | None
    q75: float | None
    found: Success
    success: tuple[Success, ...]

    def summary(self) -> dict[str, Any]:
        """JSON-able."""
        return {"queries": self.queries, "mean": self.mean, "median": self.median, "q25": self.q25, "q75": self.q75,
                "found": self.found.count, "found_share": self.found.share, "found_low": self.found.low,
                "found_high": self.found.high, "success": [success.summary() for success in self.success]}


@dataclass(frozen=True)
class Verified:
    """Where an attack stands by images that hold: the nearest so far, asked about `times` more. `served` counts what
    fools most of these answers of the defended model, `bare` what fools the model without the defense; with more
    queries neither is ever further off."""

    times: int
    served: tuple[Point, ...]
    bare: tuple[Point, ...]

    def summary(self) -> dict[str, Any]:
        """JSON-able."""
        return {"asked_again": self.times, **{side: [point.summary() for point in getattr(self, side)]
                                              for side in ("served", "bare")}}


@dataclass(frozen=True)
class QueryCurve:
    """One run as a curve in `norm`, whatever that of the run was: of `n` images, the `attacked` count, those classified
    correctly before. `doubtful`: the attacker asked a random defense, and what he found may have been luck; what holds
    is `verified`, where it is known."""

    model: str
    attack: str
    seed: int
    eps: float | None
    run_norm: str
    norm: str
    limit: int
    n: int
    attacked: int
    points: tuple[Point, ...]
    warnings: tuple[str, ...]
    front: str = ""
    defended: Mapping[str, Any] = field(default_factory=dict)
    doubtful: bool = False
    verified: Verified | None = None

    def at(self, queries: int) -> Point:
        """The point at that number of queries, which is among those asked for."""
        return next(point for point in self.points if point.queries == queries)

    def summary(self) -> dict[str, Any]:
        """JSON-able."""
        return {"model": self.model, "attack": self.attack, "seed": self.seed, "eps": self.eps,
                "run_norm": self.run_norm, "norm": self.norm, "limit": self.limit, "n": self.n,
                "attacked": self.attacked, "points": [point.summary() for point in self.points],
                "warnings": list(self.warnings), **self.defended,
                **({"verified": None if self.verified is None else self.verified.summary()} if self.doubtful else {})}


def query_curve(walks: Walks, counts: Sequence[int], within: Sequence[float] | None = None,
                norm: str = "") -> QueryCurve:
    """The curve at `counts` queries, in `norm` (default: that of the run), with the success at changes no larger than
    `within`; raises EngineError where a count is none that was walked to."""
    spec = walks.spec
    norm = norm or spec.norm
    if not counts or min(counts) < 1 or max(counts) > walks.limit:
        raise EngineError(f"these walks go to {walks.limit:,} queries; ask for counts from 1 to that")
    counts = sorted(set(counts))
    distances = walks.distances(norm, counts)[:, walks.attacked]
    sizes = WITHIN[norm] if within is None else tuple(within)
    points = tuple(_point(queries, values, sizes) for queries, values in zip(counts, distances, strict=True))
    return QueryCurve(walks.provenance.model, spec.attack, spec.seed, spec.eps, spec.norm, norm, walks.limit,
                      len(walks.labels), int(walks.attacked.sum()), points, tuple(_warnings(walks)),
                      front_title(spec) if spec.defenses else "", facts(walks), to_verify(spec),
                      _verified(walks, norm, sizes))


def _verified(walks: Walks, norm: str, sizes: Sequence[float]) -> Verified | None:
    again = walks.verified
    if again is None or norm not in ("linf", "l2"):
        return None
    sides = [tuple(_point(queries, values, sizes) for queries, values in zip(
        again.queries, again.distances(norm, bare)[:, walks.attacked], strict=True)) for bare in (False, True)]
    return Verified(again.times, *sides)


def _point(queries: int, distances: np.ndarray, sizes: Sequence[float]) -> Point:
    found = distances[np.isfinite(distances)]
    low, middle, high = (_finite(quantile(distances, share)) for share in (0.25, 0.5, 0.75))
    return Point(queries, float(found.mean()) if len(found) else None, middle, low, high,
                 _success(distances, math.inf), tuple(_success(distances, size) for size in sizes))


def _success(distances: np.ndarray, within: float) -> Success:
    count, of = int((np.isfinite(distances) & (distances <= within + ROUNDING)).sum()), len(distances)
    return Success(within, count, count / of if of else 0.0, *interval(count, of))


def quantile(values: np.ndarray, share: float) -> float:
    """As NumPy's, linear between two values, but of values that may be infinite; infinite where there is none."""
    if not len(values):
        return math.inf
    order = np.sort(values)
    place = share * (len(order) - 1)
    below, part = int(place), place - int(place)
    if not part:
        return float(order[below])
    return float(order[below] + part * (order[below + 1] - order[below])) if np.isfinite(order[below + 1]) else math.inf


def _finite(value: float) -> float | None:
    """JSON knows no infinity."""
    return value if math.isfinite(value) else None


def _warnings(walks: Walks) -> Iterator[str]:
    yield from walks.warnings
    last = np.isin(np.arange(len(walks.labels)), walks.finds.image) & walks.attacked
    if lost := int((last & ~walks.success).sum()):
        yield (f"{lost} of {int(walks.attacked.sum())} images fooled the model on the way, but not in the end, "
               "when it was asked once more; they count as not fooled")
    if plans := ATTACKS[walks.spec.attack].info.plans:
        yield f"read at fewer queries than walked to, this is not quite a run with so few: {plans}"


def drawn(walks: Walks, curve: QueryCurve) -> QueryCurve:
    """That curve of those walks with as many points as a line needs."""
    asked = [point.queries for point in curve.points]
    return query_curve(walks, grid(walks.limit, asked), [success.within for success in curve.points[0].success],
                       curve.norm)


def grid(limit: int, asked: Sequence[int] = (), first: int = 1) -> list[int]:
    """Counts of queries for a curve to be drawn, evenly spread on a logarithmic axis from `first` to `limit`, and all
    that were `asked` for, in order."""
    spread = np.rint(np.geomspace(min(first, limit), limit, POINTS)).astype(int).tolist()
    return sorted({*spread, *(count for count in asked if 1 <= count <= limit), limit})


def table(curves: Sequence[QueryCurve]) -> pandas.DataFrame:
    """One row a point, for spreadsheets; infinite (not that many are fooled yet) as inf."""
    import pandas

    return pandas.DataFrame([_line(curve, point) for curve in curves for point in curve.points])


def verified_table(curves: Sequence[QueryCurve]) -> pandas.DataFrame:
    """One row a look at the nearest image: the size of what holds, on the defended model as it is served and on the
    bare one; infinite (not that many hold) as inf."""
    import pandas

    return pandas.DataFrame([
        {**{name: line[name] for name in ("model", "attack", "eps", "seed", "norm", "queries", "images", "defense",
                                          "attacker") if name in line},
         "asked_again": curve.verified.times,
         **{f"{side}_{name}": line[name] for side, line in (("served", line), ("bare", _line(curve, bare)))
            for name in ("median", "mean", "found")}}
        for curve in curves if curve.verified is not None
        for served, bare in zip(curve.verified.served, curve.verified.bare, strict=True)
        for line in [_line(curve, served)]])


def as_latex(lines: pandas.DataFrame) -> str:
    """A table with booktabs' rules and four significant digits; intervals, and settings that all lines share, are left
    to the spreadsheet."""
    shared = [name for name in ("model", "eps", "seed", "norm", "images") if lines[name].nunique(dropna=False) == 1]
    bounds = [name for name in lines if name.endswith(("_low", "_high"))]
    return spreadsheets.as_latex(lines.drop(columns=[*shared, *bounds]))


def _line(curve: QueryCurve, point: Point) -> dict[str, Any]:
    known = {"model": curve.model, "attack": curve.attack, "eps": curve.eps, "seed": curve.seed, "norm": curve.norm,
             "queries": point.queries, "images": curve.attacked,
             **{name: curve.defended[name] for name in ("defense", "attacker") if name in curve.defended}}
    sizes = {name: math.inf if (value := getattr(point, name)) is None else value
             for name in ("median", "q25", "q75")}
    found = point.found
    shares: dict[str, Any] = {"mean": point.mean, **sizes, "found": found.count, "found_share": found.share,
                              "found_low": found.low, "found_high": found.high}
    for success in point.success:
        name = f"within_{success.within:.6g}"
        shares |= {name: success.share, f"{name}_low": success.low, f"{name}_high": success.high}
    return {**known, **shares}
