"""What defenses that refuse catch, and whom they refuse wrongly. Pure functions of runs; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.attacks.norms import NORMS
from engine.attacks.spec import ADAPTIVE, AttackSpec
from engine.defenses.words import short, titled
from engine.experiments.defending.judged import Judged, title
from engine.experiments.defending.watching import Crowd, Scores
from engine.metrics.detection import Detection, detection
from engine.metrics.rates import Share
from engine.wording import percent
from engine.zoo.registry import in_words

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class Watch:
    """One detector in front of a model, and one attack: the `scores` of all untouched images, and of those that the
    attack `changed` (bool [N]), whether or not it fooled the model with them."""

    model: str
    defenses: str
    spec: AttackSpec
    scores: Scores
    changed: np.ndarray

    @property
    def attacked(self) -> np.ndarray:
        return self.scores.attacked[self.changed]

    @cached_property
    def detection(self) -> Detection | None:
        """The ROC curve; None where the attack changed nothing, or a score is no number."""
        finite = np.isfinite(self.scores.clean).all() and np.isfinite(self.attacked).all()
        return detection(self.scores.clean, self.attacked) if len(self.attacked) and finite else None

    @property
    def alarms(self) -> Share:
        """Untouched images above the threshold."""
        return _above(self.scores.clean, self.scores.threshold)

    @property
    def caught(self) -> Share:
        """Attacked images above it."""
        return _above(self.attacked, self.scores.threshold)

    @property
    def attack(self) -> str:
        """For people."""
        within = "" if self.spec.eps is None else f" within {NORMS[self.spec.norm].text(self.spec.eps, '.3g')}"
        return f"{title(self.spec)}{within}{' (attacker knows of it)' if self.spec.attacker == ADAPTIVE else ''}"


def _above(scores: np.ndarray, threshold: float) -> Share:
    return Share(int((scores > threshold).sum()), len(scores))


def watches(found: Judged, eps: float | None) -> list[Watch]:
    """Every detector before every attack of that budget, or of none."""
    return [Watch(run.provenance.model, run.spec.defenses, run.spec, scores, run.linf > 0)
            for run in found.defended.known for scores in run.scores if run.spec.eps is None or run.spec.eps == eps]


def by_detector(found: Sequence[Watch]) -> dict[str, list[Watch]]:
    """The same by what stands where: the detector, and its stack and model where there are several."""
    places = list(dict.fromkeys((one.model, one.defenses, one.scores.detector) for one in found))
    return {_named(place, places): [one for one in found if (one.model, one.defenses, one.scores.detector) == place]
            for place in places}


def _named(place: tuple[str, str, str], places: Sequence[tuple[str, str, str]]) -> str:
    model, stack, detector = place
    models = in_words(one[0] for one in places)
    alike = [place for place in places if place[0] == model and short(place[2]) == short(detector)]
    name = titled(stack) if len(alike) > 1 else short(detector)
    return f"{name} on {models[model]}" if len(models) > 1 else name


# ---- in words and tables


def sentences(found: Sequence[Watch]) -> list[str]:
    """What each detector is worth, a line each: the least that it catches, and what that costs."""
    return [_sentence(name, own) for name, own in by_detector(found).items() if any(len(one.attacked) for one in own)]


def _sentence(name: str, own: Sequence[Watch]) -> str:
    some = [one for one in own if len(one.attacked)]
    worst, best = (pick(some, key=lambda one: one.caught.rate or 0.0) for pick in (min, max))
    alarms = worst.alarms
    least = f", but {_of(worst.caught)} by {worst.attack}" if worst is not best else ""
    return (f"{name} refuses {_of(best.caught)} pictures attacked by {best.attack}{least}; and {_of(alarms)} untouched "
            f"ones: {_as_chosen(alarms, worst.scores.allowed)}")


def _of(share: Share) -> str:
    return f"{share.counted:,} of {share.of:,}"


def _as_chosen(alarms: Share, allowed: float) -> str:
    low, high = alarms.interval
    agrees = "agrees" if low <= allowed <= high else "does not agree"
    return (f"its threshold was set to refuse {percent(allowed)} of these, which {agrees} with what was measured (95 % "
            f"interval {_bound(low)} to {_bound(high)} %)")


def crowd_sentences(found: Judged) -> list[str]:
    """What becomes of honest pictures where a defense remembers who asked what."""
    models = in_words(one.model for one in found.defended.crowds)
    return [_crowd_sentence(one, f" on {models[one.model]}" if len(models) > 1 else "")
            for one in found.defended.crowds]


def _crowd_sentence(one: Crowd, where: str) -> str:
    return (f"{short(one.defenses)}{where} refuses {_of(_crowd(one))} untouched pictures of the split that one client "
            f"sends one after the other ({_spread(_crowd(one))})")


def _crowd(one: Crowd) -> Share:
    return Share(int(one.refused.sum()), len(one.refused))


def _spread(share: Share) -> str:
    if share.rate is None:
        return "–"
    low, high = share.interval
    return f"{percent(share.rate)}, {_bound(low)} – {_bound(high)}"


def _bound(value: float) -> str:
    """An interval's end in percent: two digits, or all before the point."""
    return f"{100 * value:.0f}" if value >= 0.1 else f"{100 * value:.2g}"


def readable(found: Sequence[Watch]) -> pandas.DataFrame:
    """As people read it, with 95 % intervals."""
    import pandas

    return pandas.DataFrame([{
        "detector": name, "attack": one.attack,
        "ROC area": "–" if one.detection is None else f"{one.detection.area:.3f}",
        "attacked, refused": _spread(one.caught),
        "untouched, refused": _spread(one.alarms), "false alarms chosen": percent(one.scores.allowed),
        "untouched, attacked": f"{one.alarms.of:,}, {one.caught.of:,}"}
        for name, own in by_detector(found).items() for one in own])


def overview(found: Judged) -> pandas.DataFrame:
    """A row a detector and attack, with 95 % intervals."""
    import pandas

    return pandas.DataFrame(summaries(found))


def summaries(found: Judged) -> list[dict[str, Any]]:
    """The same, JSON-able."""
    return [_summary(one) for eps in found.budgets for one in watches(found, eps)
            if eps == found.budgets[-1] or one.spec.eps is not None]


def _summary(one: Watch) -> dict[str, Any]:
    return {"model": one.model, "defense": one.defenses, "detector": one.scores.detector, "attack": one.spec.attack,
            "attacker": one.spec.attacker, "norm": one.spec.norm, "eps": one.spec.eps, "seed": one.spec.seed,
            "n_clean": one.alarms.of, "n_attacked": one.caught.of,
            "auc": None if one.detection is None else one.detection.area, "threshold": one.scores.threshold,
            "false_alarms_chosen": one.scores.allowed, **_share("false_alarms", one.alarms),
            **_share("attacked_refused", one.caught)}


def crowd_summaries(found: Judged) -> list[dict[str, Any]]:
    """Honest pictures that one client sent, JSON-able."""
    return [{"model": one.model, "defense": one.defenses, "n": len(one.refused), "refused": int(one.refused.sum()),
             **_share("false_alarms", _crowd(one))} for one in found.defended.crowds]


def _share(name: str, share: Share) -> dict[str, float | None]:
    low, high = share.interval
    return {name: share.rate, f"{name}_low": low, f"{name}_high": high}
