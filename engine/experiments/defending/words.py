"""What defenses are worth, in plain words and as a table to be read. Pure functions of what was judged; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.spec import has_gradients
from engine.defenses.base import defenses_from
from engine.experiments.defending.judged import Faced, Judged, Standing, signs, title
from engine.experiments.defending.watching import remembers
from engine.metrics.masking import Sign
from engine.metrics.pairs import Paired
from engine.metrics.rates import Share
from engine.wording import counted, percent

if TYPE_CHECKING:
    import pandas

LONGER = 1.1  # times as long, below which a difference is that of two measurements
CHANCE = 0.05  # by which an accuracy is above that of saying the most frequent class, below which it is worth nothing


def names_of(standings: Sequence[Standing]) -> list[str]:
    """What tells each from the others: its defense, with what is set of it where there are several alike, and the model
    where there are several."""
    of_model = [(one.model, one.short) for one in standings]
    return _on_models(standings, [one.defense if of_model.count((one.model, one.short)) > 1 else one.short
                                  for one in standings])


def full_names_of(standings: Sequence[Standing]) -> list[str]:
    """The same with all that is set."""
    return _on_models(standings, [one.defense for one in standings])


def _on_models(standings: Sequence[Standing], defenses: Sequence[str]) -> list[str]:
    several = len({one.model for one in standings}) > 1
    return [f"{name} on {one.model}" if several else name for one, name in zip(standings, defenses, strict=True)]


def verdict(found: Judged, eps: float | None) -> list[str]:
    """What to make of it at that budget: first which protection is worth its price, then a line for each."""
    standings = found.at(eps)
    if len(standings) < 2:
        return [_alone(standings[0])]
    names = names_of(standings)
    return [_winner(standings, names), *(_line(standings[0], one, name)
                                         for one, name in zip(standings[1:], names[1:], strict=True))]


def _alone(one: Standing) -> str:
    return f"{_capital(_kept(one))}. There is nothing to compare it with yet."


def _kept(one: Standing) -> str:
    """What is left of a model's accuracy."""
    held = one.worth
    left = "nobody attacked it" if held is None else f"under attack{_within(one)} it keeps {_percent(held.robust)}"
    return f"without an attack {_percent(one.clean)} of the pictures are read correctly; {left}"


def _winner(standings: Sequence[Standing], names: Sequence[str]) -> str:
    """The protection that keeps most against who knows of it, if it can be told from none."""
    base, rest = standings[0], list(zip(standings, names, strict=True))[1:]
    known = [(one, name) for one, name in rest if one.adaptive is not None and base.worth is not None]
    if base.worth is None or not known:
        return "Nobody who knows of these defenses attacked them: what they are worth is not known yet."
    worth = [(one, name) for one, name in known if one.adaptive is not None and _gain(base.worth, one.adaptive).told
             and one.adaptive.robust.counted > base.worth.robust.counted and not _useless(one)]
    if not worth:
        return (f"None of these protections is seen to be worth its price: once the attacker knows of it, it keeps no "
                f"more pictures correct{_within(base)} than {names[0]}, as far as {len(base.right):,} pictures show.")
    best, name = max(worth, key=lambda pair: pair[0].adaptive.robust.counted if pair[0].adaptive else 0)
    assert best.adaptive is not None
    price = Paired.of(base.right, best.right)
    return (f"{_capital(name)} is worth most: against an attacker who knows of it {best.adaptive.robust.counted} of "
            f"{counted(best.adaptive.robust.of, 'picture')} stay correct{_within(best)}, {base.worth.robust.counted} "
            f"with {names[0]}. Its price: {_price(price, best)}.")


def _useless(one: Standing) -> bool:
    return bool(one.refused.all()) or not one.right.any()


def _line(base: Standing, one: Standing, name: str) -> str:
    """One protection: its price, and what it stops."""
    if one.refused.all():
        return f"{_capital(name)} refuses every image, sick or healthy: nobody is served."
    return f"{_capital(name)}: {_price(Paired.of(base.right, one.right), one)}; {_stops(base, one)}."


def _price(paired: Paired, one: Standing) -> str:
    before, after = paired.counts
    points = 100 * (before - after) / paired.n
    accuracy = ("it costs no accuracy on untouched pictures" if before == after else
                f"it {'costs' if points > 0 else 'gains'} {abs(points):.1f} points of accuracy on untouched pictures "
                f"({after} of {paired.n} right instead of {before}{'' if paired.told else ', which chance explains'})")
    alarms = f", refuses {_percent(one.alarms)} of them" if one.alarms.counted else ""
    return f"{accuracy}{alarms}{_time(one)}"


def _time(one: Standing) -> str:
    """How much longer an answer takes, as far as that can be told."""
    if one.face is None:
        return ""
    if one.face.ratio < LONGER:
        return ", and an answer takes no longer"
    return f", and an answer takes {one.face.ratio:.2g} times as long"


def _stops(base: Standing, one: Standing) -> str:
    """Whom it stops: compared, image by image, with the first."""
    if base.worth is None:
        return "nobody attacked the other"
    blind = None if one.oblivious is None else _gain(base.worth, one.oblivious)
    aware = None if one.adaptive is None else _gain(base.worth, one.adaptive)
    if aware is not None and _better(aware):
        return f"it holds even against who knows of it{_within(one)} ({_figures(aware)})"
    if blind is not None and _better(blind):
        fails = "who knows of it was not tried" if aware is None else (
            f"not one who knows of it ({_worst(one.adaptive)}: {_figures(aware)})")
        return f"it stops an attacker who does not know of it ({_figures(blind)}), {fails}"
    shown = aware or blind
    if shown is None:
        return "nobody attacked it"
    if shown.told:
        return f"it makes things worse{_within(one)} ({_figures(shown)})"
    return f"it is not seen to stop anybody{_within(one)} ({_figures(shown)})"


def _gain(base: Faced, one: Faced) -> Paired:
    return Paired.of(base.held, one.held)


def _better(pair: Paired) -> bool:
    return pair.told and pair.counts[1] > pair.counts[0]


def _figures(pair: Paired) -> str:
    before, after = pair.counts
    return f"{after} of {pair.n} stay correct instead of {before}"


def _worst(faced: Faced | None) -> str:
    return "" if faced is None else faced.worst


def _within(one: Standing) -> str:
    return "" if one.eps is None else f" within {NORMS[one.norm].text(one.eps, '.3g')}"


def budget_words(norm: str, eps: float | None) -> str:
    """What a budget allows, for people; "" for one that limits nothing."""
    if eps is None or norm not in _ALLOWS:
        return ""
    return f"Within {NORMS[norm].text(eps, '.3g')}: {_ALLOWS[norm].format(NORMS[norm].text(eps, '.3g').split('/')[0])}."


_ALLOWS = {"linf": "no pixel becomes brighter or darker by more than {} of 255 grey steps",
           "l2": "the root of the sum of all pixels' squared changes, where black is 0 and white 1, is {} at most"}


def warnings(found: Judged, eps: float | None) -> Iterator[tuple[str, Sign]]:
    """Signs of hidden gradients, whatever the budget, and of which defense, by name."""
    standings = found.at(eps)
    for one, name in zip(standings, names_of(standings), strict=True):
        for sign in signs(found, one):
            yield name, sign


def doubts(found: Judged, eps: float | None) -> Iterator[str]:
    """What else a reader must know: accuracies that are worth nothing, and images that held only once."""
    for one, name in zip(found.at(eps), names_of(found.at(eps)), strict=True):
        asked = any(not has_gradients(ATTACKS[run.spec.attack].info.knowledge) for run in found.runs_of(one))
        if not asked and any(map(remembers, defenses_from(one.defenses))):
            yield f"{_capital(name)} watches who asks what, and none of these attackers asks: try HopSkipJump"
        most = _majority(found, one)
        if one.clean.rate is not None and not one.refused.all() and one.clean.rate <= most + CHANCE:
            yield (f"{_capital(name)}: unattacked it is right on {_percent(one.clean)}, and who always says the most "
                   f"frequent class on {percent(most)}: nothing is left to protect")
        for run in found.runs_of(one):
            if run.verified is None:
                continue
            fooled, lost = int(run.success.sum()), int((run.success & ~run.verified.holds()[-1]).sum())
            if lost:
                yield (f"{_capital(name)}: of {counted(fooled, 'image')} that {title(run.spec)} fooled once, {lost} "
                       f"{'does' if lost == 1 else 'do'} not when it is asked {run.verified.times} times more; what it "
                       "answers is a matter of luck there")


def _majority(found: Judged, one: Standing) -> float:
    labels = found.runs_of(one)[0].labels
    return max(int((labels == label).sum()) for label in set(labels.tolist())) / len(labels)


def readable(standings: Sequence[Standing]) -> pandas.DataFrame:
    """As people read it, with 95 % intervals."""
    import pandas

    asking = any(faced is not None and faced.asking for one in standings for faced in (one.oblivious, one.adaptive))
    return pandas.DataFrame([_readable(one, name, asking)
                             for one, name in zip(standings, full_names_of(standings), strict=True)])


def _readable(one: Standing, name: str, asking: bool) -> dict[str, str]:
    norm = NORMS[one.norm]
    both = (("does not know of it", one.oblivious), ("knows of it", one.adaptive))
    walked = {f"{what}, who {who}": "–" if faced is None or value(faced) is None else text(value(faced))
              for what, value, text in (("queries to fool half", lambda it: it.queries, lambda n: f"{n:,.0f}"),
                                        ("distance to fool half", lambda it: it.distance,
                                         lambda size: norm.text(size, ".3g")))
              for who, faced in both} if asking else {}
    return {
        "defense": name, "correct, no attack": _spread(one.clean),
        **{f"correct, attacker {who}": "not tried" if faced is None else _spread(faced.robust) for who, faced in both},
        "untouched, refused": _percent(one.alarms),
        "time an answer": "–" if one.face is None else f"{1000 * one.face.defended:.3g} ms ({one.face.ratio:.2g} ×)",
        **walked}


def _spread(share: Share) -> str:
    low, high = share.interval
    return f"{_percent(share)} ({100 * low:.0f} – {100 * high:.0f})"


def _percent(share: Share) -> str:
    return "–" if share.rate is None else percent(share.rate)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
