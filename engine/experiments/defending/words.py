"""What defenses are worth, in plain words and as a table to be read. Pure functions of what was judged; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from engine.zoo.registry import in_words, trained_to_withstand

if TYPE_CHECKING:
    import pandas

LONGER = 1.1  # times as long, below which a difference is that of two measurements
CHANCE = 0.05  # by which an accuracy is above that of saying the most frequent class, below which it is worth nothing
MANY = 200  # pictures, from which on a tenth of a percent is worth showing
NO_FILTER = "no filter"
FEW = "too few pictures to tell"


@dataclass(frozen=True)
class Line:
    """What is said of one defense, named with its model (`name`) and beside others of that `model` (`defense`); `holds`
    pictures are not fooled, `doubted` says that something speaks against that."""

    name: str
    model: str
    defense: str
    said: str
    holds: int
    doubted: bool

    @property
    def text(self) -> str:
        return _capital(f"{self.name}: {self.said}")


def names_of(standings: Sequence[Standing]) -> list[str]:
    """What tells each from the others: its defense, with what is set of it where there are several alike, and the model
    where there are several."""
    models = models_of(standings)
    return [_on_model(one, name, models) for one, name in zip(standings, defenses_of(standings), strict=True)]


def defenses_of(standings: Sequence[Standing]) -> list[str]:
    """The same without the model."""
    of_model = [(one.model, one.short) for one in standings]
    return [_full(one) if not one.defenses or of_model.count((one.model, one.short)) > 1 else one.short
            for one in standings]


def _full(one: Standing) -> str:
    """A defense with all that is set of it. How a model was trained is one as well: then it has no filter in front."""
    return NO_FILTER if not one.defenses and trained_to_withstand(one.model) else one.defense


def models_of(standings: Sequence[Standing]) -> dict[str, str]:
    """Their models by name, in words."""
    return in_words(one.model for one in standings)


def _on_model(one: Standing, defense: str, models: Mapping[str, str]) -> str:
    if len(models) < 2:
        return defense
    return f"{defense} on {models[one.model]}" if one.defenses else f"{models[one.model]}, {defense}"


def heading(found: Judged, eps: float | None, dataset: str) -> str:
    """Of what the numbers are: "Phantom X-rays (synthetic), ResNet-18, 12 pictures, within 2/255"."""
    standings = found.at(eps)
    pictures = counted(len(standings[0].right), "picture")
    return f"{dataset}, {' and '.join(models_of(standings).values())}, {pictures}{_comma(_within(standings[0]))}"


def _comma(text: str) -> str:
    return f",{text}" if text else ""


def verdict(found: Judged, eps: float | None) -> list[str]:
    """What to make of it at that budget: first which defense is worth its price, then a line for each."""
    return [headline(found, eps), *(line.text for line in lines(found, eps))]


def lines(found: Judged, eps: float | None) -> list[Line]:
    """What each defense is worth at that budget, and what it costs, beside the first."""
    standings = found.at(eps)
    named = zip(standings, names_of(standings), defenses_of(standings), strict=True)
    models, base = models_of(standings), standings[0]
    return [Line(name, models[one.model], defense, _sentences(base, one, doubt := _doubt(found, one)),
                 0 if one.worth is None else one.worth.robust.counted, bool(doubt))
            for one, name, defense in list(named)[1:]]


def headline(found: Judged, eps: float | None) -> str:
    """Which defense is worth its price: the one that keeps most against who knows of it, where it can be told from
    none; and whether it does against larger changes, too."""
    standings = found.at(eps)
    base, n = standings[0], len(standings[0].right)
    if len(standings) < 2:
        return f"{_capital(_kept(base))}. There is nothing to compare it with yet."
    known = [one for one in standings[1:] if one.adaptive is not None]
    if base.worth is None or not known:
        return "Nobody who knows of these defenses attacked them: what they are worth is not known yet."
    best = _best(found, eps)
    if best is None:
        gained = any(_gains(base, one) for one in known)
        none = names_of(standings)[0]
        return ("None of these defenses is seen to be worth its price: once the attacker knows of it, none keeps "
                + (f"so many more of {counted(n, 'picture')} right{_within(base)} than {none} that it could not be "
                   "chance." if gained else f"more of {counted(n, 'picture')} right{_within(base)} than {none}."))
    return " ".join(_praise(found, eps, best))


def _kept(one: Standing) -> str:
    """What is left of a model's accuracy."""
    held = one.worth
    left = "nobody attacked it" if held is None else f"under attack{_within(one)} it keeps {_percent(held.robust)}"
    return f"without an attack {_percent(one.clean)} of the pictures are read correctly; {left}"


def _best(found: Judged, eps: float | None) -> Standing | None:
    """Of those that help at that budget the one that keeps most, and otherwise of those that help at the largest
    smaller one."""
    upto = [other for other in reversed(found.budgets) if other == eps or (other or 0.0) < (eps or 0.0)]
    for at in upto:
        base = found.at(at)[0]
        if helping := [one for one in found.at(at)[1:] if _helps(base, one)]:
            return max(helping, key=lambda one: (not _doubt(found, one), _held(one), -one.alarms.counted))
    return None


def _held(one: Standing) -> int:
    return 0 if one.adaptive is None else one.adaptive.robust.counted


def _helps(base: Standing, one: Standing) -> bool:
    """Whether more holds against who knows of it than chance would explain."""
    return not _useless(one) and base.worth is not None and one.adaptive is not None and _better(
        _gain(base.worth, one.adaptive))


def _gains(base: Standing, one: Standing) -> bool:
    return base.worth is not None and one.adaptive is not None and (
        one.adaptive.robust.counted > base.worth.robust.counted)


def _useless(one: Standing) -> bool:
    return bool(one.refused.all()) or not one.right.any()


def _praise(found: Judged, eps: float | None, best: Standing) -> Iterator[str]:
    """Of the best defense: what it keeps, from which budget on it is not seen to, and what it costs."""
    place = found.at(best.eps).index(best)
    base, name = found.at(best.eps)[0], _capital(names_of(found.at(best.eps))[place])
    assert best.adaptive is not None and base.worth is not None
    against = "against an attacker who knows of it" if best.defenses else "under attack"
    figures, doubt = _figures(base.worth, best.adaptive, " pictures"), _doubt(found, best)
    beyond = {at: text for at in found.budgets if (at or 0.0) > (best.eps or 0.0)
              if (text := _fails(found.at(at)[0], found.at(at)[place]))}
    if beyond:
        where = beyond[eps] if eps in beyond else next(iter(beyond.values()))
        yield (f"{name} {'seems to help' if doubt else 'helps'} {against}{_within(best)} ({figures}){doubt}, but is "
               f"not seen to {where}.")
    else:
        yield f"{name} {'seems to be' if doubt else 'is'} worth most: {against}{_within(best)}, {figures}{doubt}."
    yield f"Its price: {_price(base, best)}."


def _fails(base: Standing, one: Standing) -> str:
    """Where it does not surely help; "" where it does, or nobody tried."""
    if base.worth is None or one.adaptive is None or _helps(base, one):
        return ""
    counts = f"{one.adaptive.robust.counted} instead of {base.worth.robust.counted}"
    return f"{_within(one).strip()} ({counts}{f', {FEW}' if _unsure(base.worth, one.adaptive) else ''})"


def _sentences(base: Standing, one: Standing, doubt: str) -> str:
    """One defense: what it stops, what speaks against that, and its price."""
    if one.refused.all():
        return "it refuses every picture, sick or healthy: nobody is served."
    return f"{_stops(base, one)}{doubt}. Its price: {_price(base, one)}."


def _price(base: Standing, one: Standing) -> str:
    paired = Paired.of(base.right, one.right)
    before, after = paired.counts
    figures = f"{after} of {paired.n} untouched pictures right instead of {before}"
    if before == after:
        accuracy = f"none in accuracy ({after} of {paired.n} untouched pictures right, as many as without it)"
    elif paired.told:
        points = 100 * (before - after) / paired.n
        accuracy = f"{points:.1f} points of accuracy ({figures})" if points > 0 else f"none in accuracy ({figures})"
    else:
        accuracy = f"{figures}, which may be chance with so few"
    alarms = f"it turns away {one.alarms.counted} of {one.alarms.of} untouched ones" if one.alarms.counted else ""
    return "; ".join(filter(None, (accuracy, alarms, _time(one))))


def _time(one: Standing) -> str:
    """How much longer an answer takes than without the defense, as far as that can be told."""
    if one.face is None or not one.defenses:
        return ""
    return ("an answer takes no longer" if one.face.ratio < LONGER else
            f"an answer takes {one.face.ratio:.2g} times as long")


def _stops(base: Standing, one: Standing) -> str:
    """Whom it stops: compared, image by image, with the first."""
    if base.worth is None:
        return "nobody attacked the model without it"
    if one.worth is None:
        return "nobody attacked it"
    if one.adaptive is None:
        return f"{_against_blind(base.worth, one.worth)}; nobody who knows of it attacked"
    told = _figures(base.worth, one.adaptive)
    gain = _gain(base.worth, one.adaptive)
    if gain.told and not _better(gain):
        return f"it makes things worse ({told})"
    if _better(gain):
        how = " by refusing" if one.adaptive.refused.sum() > one.adaptive.read else ""
        return (f"it holds{how} even against an attacker who knows of it ({told})" if one.defenses else
                f"it holds under attack ({told})")
    if one.oblivious is None or one.oblivious is one.adaptive:
        whom = "anybody" if one.oblivious is one.adaptive else "an attacker who knows of it"
        return _alone(whom, base.worth, one.adaptive)
    if _as_many(base.worth, one.oblivious) and _as_many(base.worth, one.adaptive):
        return _alone("anybody", base.worth, one.adaptive)
    aware = f"against one who knows of it {_figures(base.worth, one.adaptive)}{_unsure(base.worth, one.adaptive)}"
    return f"{_against_blind(base.worth, one.oblivious)}; {aware}"


def _against_blind(base: Faced, blind: Faced) -> str:
    if _better(_gain(base, blind)):
        return f"it stops an attacker who does not know of it ({_figures(base, blind)})"
    return f"against an attacker who does not know of it {_figures(base, blind)}{_unsure(base, blind)}"


def _alone(whom: str, base: Faced, one: Faced) -> str:
    """Of a single kind of attacker, whom it does not surely stop."""
    if unsure := _unsure(base, one):
        return f"{_figures(base, one)}{unsure}"
    return f"it is not seen to stop {whom} ({_figures(base, one)})"


def _unsure(base: Faced, one: Faced) -> str:
    """Said of a gain that chance would explain."""
    pair = _gain(base, one)
    return f" ({FEW})" if not pair.told and pair.counts[1] > pair.counts[0] else ""


def _as_many(base: Faced, one: Faced) -> bool:
    before, after = _gain(base, one).counts
    return before == after


def _gain(base: Faced, one: Faced) -> Paired:
    return Paired.of(base.held, one.held)


def _better(pair: Paired) -> bool:
    return pair.told and pair.counts[1] > pair.counts[0]


def _figures(base: Faced, one: Faced, things: str = "") -> str:
    """What holds, beside what holds without the defense; of one that refuses also how."""
    before, after, n = base.robust.counted, one.robust.counted, len(one.held)
    if refused := one.silent.counted:
        return (f"of {n} attacked pictures {one.read} {_are(one.read)} read right, {refused} refused and "
                f"{n - one.read - refused} read wrongly; without it {before} {_are(before)} read right")
    return f"{after} of {n}{things} {'stays' if after == 1 else 'stay'} right instead of {before}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _doubt(found: Judged, one: Standing) -> str:
    """What speaks against what it seems to keep, to be said beside it."""
    base = found.at(one.eps)[0].worth
    kept = [faced.robust.counted for faced in (one.oblivious, one.adaptive) if faced is not None]
    if base is None or max(kept, default=0) <= base.robust.counted:
        return ""
    said = []
    if _says_one_class(one) and one.most < len(one.right):
        nearly = "" if one.most >= max(kept) else "nearly "
        said.append(f"always answering the most frequent class would do {nearly}as well: {one.most} of "
                    f"{len(one.right)}")
    if names := dict.fromkeys(sign.name for sign in signs(found, one)):
        said.append(f"that may only look so ({', '.join(names)}; see what the checks found)")
    return f", but {' and '.join(said)}" if said else ""


def _says_one_class(one: Standing) -> bool:
    """Whether its accuracy is no more than that of always saying the most frequent class."""
    return one.clean.rate is not None and not one.refused.all() and one.clean.rate <= one.most / len(
        one.right) + CHANCE


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
    yield from _no_better_than_guessing(found.at(eps))
    for one, name in zip(found.at(eps), names_of(found.at(eps)), strict=True):
        asked = any(not has_gradients(ATTACKS[run.spec.attack].info.knowledge) for run in found.runs_of(one))
        if not asked and any(map(remembers, defenses_from(one.defenses))):
            yield f"{_capital(name)} watches who asks what, and none of these attackers asks: try HopSkipJump"
        for run in found.runs_of(one):
            if run.verified is None:
                continue
            fooled, lost = int(run.success.sum()), int((run.success & ~run.verified.holds()[-1]).sum())
            if lost:
                yield (f"{_capital(name)}: of {counted(fooled, 'image')} that {title(run.spec)} fooled once, {lost} "
                       f"{'does' if lost == 1 else 'do'} not when it is asked {run.verified.times} times more; what it "
                       "answers is a matter of luck there")


def _no_better_than_guessing(standings: Sequence[Standing]) -> Iterator[str]:
    """A line for those of one model that are right equally often."""
    alike: dict[tuple[str, int], list[str]] = {}
    for one, name in zip(standings, names_of(standings), strict=True):
        if _says_one_class(one):
            alike.setdefault((one.model, one.clean.counted), []).append(name)
    first = standings[0]
    for (model, right), names in alike.items():
        whole = len(names) > 1 and len(names) == sum(one.model == model for one in standings)
        who = f"{models_of(standings)[model]}, whatever stands in front of it" if whole else ", ".join(names)
        yield (f"{_capital(who)}: right on {right} of {counted(len(first.right), 'untouched picture')}, and always "
               f"answering the most frequent class would be right on {first.most}: nothing is left to protect")


def readable(standings: Sequence[Standing], settings: bool = True) -> pandas.DataFrame:
    """As people read it, with 95 % intervals; what is set of each defense only where there are several alike, if not
    its `settings` are asked for."""
    import pandas

    asking = any(faced is not None and faced.asking for one in standings for faced in (one.oblivious, one.adaptive))
    refusing = any(one.alarms.counted or any(faced is not None and faced.refused.any() for faced in
                                             (one.oblivious, one.adaptive)) for one in standings)
    models = models_of(standings)
    defenses = [_full(one) for one in standings] if settings else defenses_of(standings)
    return pandas.DataFrame([{**({"model": models[one.model]} if len(models) > 1 else {}),
                              **_readable(one, name, asking, refusing)}
                             for one, name in zip(standings, defenses, strict=True)])


def _readable(one: Standing, name: str, asking: bool, refusing: bool) -> dict[str, str]:
    norm = NORMS[one.norm]
    both = (("unaware", one.oblivious), ("aware", one.adaptive))
    walked = {f"{what}, attacker {who}": "–" if faced is None or value(faced) is None else text(value(faced))
              for what, value, text in (("queries to fool half", lambda it: it.queries, lambda n: f"{n:,.0f}"),
                                        ("distance to fool half", lambda it: it.distance,
                                         lambda size: norm.text(size, ".3g")))
              for who, faced in both} if asking else {}
    refused = {"refused, untouched": _rough(one.alarms), "refused, attacked":
               "not tried" if one.worth is None else _rough(one.worth.silent)} if refusing else {}
    return {
        "defense": name, "right, no attack": _spread(one.clean),
        **{f"holds, attacker {who}": "not tried" if faced is None else _spread(faced.robust) for who, faced in both},
        **refused, "time": _took(one), **walked}


def _took(one: Standing) -> str:
    """Of the bare model in milliseconds, of a defended one in how many times that: both are measured by turns, which
    only their ratio outlives."""
    if one.face is None:
        return "–"
    return f"{one.face.ratio:.2g} ×" if one.defenses else f"{1000 * one.face.defended:.3g} ms"


def _spread(share: Share) -> str:
    low, high = share.interval
    return f"{_rough(share)} ({100 * low:.0f} – {100 * high:.0f})"


def _rough(share: Share) -> str:
    """To no more digits than there are pictures for."""
    return "–" if share.rate is None else f"{100 * share.rate:.0f} %" if share.of < MANY else percent(share.rate)


def _percent(share: Share) -> str:
    return "–" if share.rate is None else percent(share.rate)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
