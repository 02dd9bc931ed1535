"""What defenses are worth as tables, for spreadsheets and papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.experiments.defending.judged import Faced, Judged, Standing, signs
from engine.metrics.pairs import Paired
from engine.metrics.rates import Share

if TYPE_CHECKING:
    import pandas


def overview(found: Judged) -> pandas.DataFrame:
    """A row a model, stack of defenses and budget, with 95 % intervals; each is compared with the first of its budget
    on the same images (McNemar)."""
    import pandas

    return pandas.DataFrame(summaries(found))


def summaries(found: Judged) -> list[dict[str, Any]]:
    """The same, JSON-able."""
    return [_summary(one, found.at(eps)[0]) for eps in found.budgets for one in found.at(eps)]


def _summary(one: Standing, base: Standing) -> dict[str, Any]:
    face = one.face
    return {
        "model": one.model, "defense": one.defenses, "norm": one.norm, "eps": one.eps, "n": len(one.right),
        **_share("accuracy_clean_defended", one.clean), "refused_clean": one.alarms.counted,
        **_share("false_alarms", one.alarms), **_faced("oblivious", one.oblivious), **_faced("adaptive", one.adaptive),
        "seconds_per_query": None if face is None else face.defended,
        "seconds_per_query_bare": None if face is None else face.bare,
        "p_clean": None if one is base else Paired.of(base.right, one.right).chance,
        "p_robust": None if one is base or one.worth is None or base.worth is None
        else Paired.of(base.worth.held, one.worth.held).chance,
    }


def _faced(who: str, faced: Faced | None) -> dict[str, Any]:
    names = (f"worst_attack_{who}", f"queries_median_{who}", f"distance_median_{who}")
    values = (None, None, None) if faced is None else (faced.worst, faced.queries, faced.distance)
    return {**_share(f"robust_accuracy_{who}", None if faced is None else faced.robust),
            **dict(zip(names, values, strict=True))}


def _share(name: str, share: Share | None) -> dict[str, float | None]:
    if share is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    low, high = share.interval
    return {name: share.rate, f"{name}_low": low, f"{name}_high": high}


def masking(found: Judged) -> list[dict[str, Any]]:
    """Signs of hidden gradients, JSON-able."""
    eps = found.budgets[-1]
    return [{"model": one.model, "defense": one.defenses, "check": sign.name, "says": sign.sentence, "sure": sign.sure}
            for one in found.at(eps) for sign in signs(found, one)]


def again(found: Judged) -> pandas.DataFrame:
    """A row a walk behind a defense and number of queries: over the images read correctly, the mean and median distance
    of the nearest that holds when the defended model is asked again, and of that which fools the bare one; infinite
    where none does."""
    import pandas

    return pandas.DataFrame([
        {"model": run.provenance.model, "defense": run.spec.defenses, "attack": run.spec.attack,
         "attacker": run.spec.attacker, "draws": run.spec.draws, "seed": run.spec.seed, "norm": found.norm,
         "queries": queries, "asked_again": run.verified.times,
         **{f"{what}_{side}": float(read(values[:, run.attacked][place])) if run.attacked.any() else None
            for side, values in (("defended", run.verified.distances(found.norm)),
                                 ("bare", run.verified.distances(found.norm, bare=True)))
            for what, read in (("median", np.median), ("mean", np.mean))}}
        for run in found.defended.known if run.verified is not None and found.norm in ("linf", "l2")
        for place, queries in enumerate(run.verified.queries)])
