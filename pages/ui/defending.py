"""What stands in front of the model, as pages let choose it: defenses at inference time, who faces them, and draws."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import streamlit as st

from engine.attacks import ATTACKS
from engine.attacks.spec import ADAPTIVE, ATTACKERS, MOST_DRAWS, OBLIVIOUS, AttackSpec, adapts, is_random
from engine.defenses import DEFENSES
from engine.defenses.base import cautions, defenses_from, written
from engine.defenses.detectors import Detector
from engine.defenses.words import titled
from engine.errors import EngineError, UnknownName
from engine.experiments.defended import BOTH, DRAWS, Front, attackers_of, draws_of, fronts, read_stack, stacks_of
from engine.params import params_of, values_of
from engine.serving.defense import Defense
from pages.ui import controls
from pages.ui.address import Address
from pages.ui.text import plain

NAME, ROW, BARE, ATTACKER, DRAWN = "defense", "defense.as", "defense.bare", "attacker", "draws"  # in the address
ONE_STACK, EACH, ALL = "row", "each", "all"
YES, NO = "yes", "no"
_ATTACKERS = {OBLIVIOUS: "does not know of it", ADAPTIVE: "knows it, and looks through it",
              BOTH: "both, side by side"}
MOST = 8  # defenses at a time
_AGAIN = "#"  # between a defense's name and a number from 2 on, where it is chosen more than once
_MEANS = ("**Does not know of it** (oblivious): attacks the bare model, and is judged by the defended one.  \n"
          "**Knows it** (adaptive): takes gradients through the defense and aims below a detector's threshold, or asks "
          "everything several times where it is random. A defense is worth what it keeps from this one.")


@dataclass(frozen=True)
class Facing:
    """What the controls say: stacks of defenses side by side ("": the bare model), who faces them, and over how many
    draws an adaptive attacker averages (None: there is nothing to average)."""

    stacks: tuple[str, ...] = ("",)
    attackers: tuple[str, ...] = (OBLIVIOUS,)
    draws: int | None = None

    def fronts(self, attack: str) -> list[Front]:
        """Every front that makes a difference to the attack."""
        return fronts(attack, self.stacks, self.attackers, self.draws)


def front(address: Address, attack: str) -> Front:
    """The controls of one front for one attack; raises EngineError."""
    stack = written(_chosen(address))
    address.carry(ROW, BARE)
    found, = _faced(address, (stack,), [attack], [OBLIVIOUS, ADAPTIVE]).fronts(attack)
    return found


def several(address: Address, attacks: Sequence[str], first: Sequence[str] = ()) -> Facing:
    """The controls of several fronts side by side, for these attacks; at first these defenses, each on its own. Raises
    EngineError."""
    chosen = _chosen(address, first)
    stacks, beside = [written(chosen)], False
    if len(chosen) > 1:
        how = controls.choice(address, ROW, "Several defenses stand", (ONE_STACK, EACH, ALL),
                              EACH if first else ONE_STACK,
                              format_func={ONE_STACK: "in a row, one behind the other",
                                           EACH: "each on its own, side by side",
                                           ALL: "each on its own, and all in a row"}.__getitem__,
                              help="In a row the first sees a picture first.")
        stacks = [*(written([one]) for one in chosen if how != ONE_STACK), *(stacks if how != EACH else ())]
    else:
        address.carry(ROW)
    if chosen:
        key = address.scope.control(BARE)
        seed = address.seed(BARE, key, lambda text: controls.one_of(BARE, (YES, NO))(text) == YES, True)
        beside = st.toggle("Compare with no defense", bool(seed), key=key,
                           help="Also attacks the model without a defense: what a defense is worth is the difference.")
        address.note(BARE, None if beside else NO)
    else:
        address.carry(BARE)
    return _faced(address, (*([""] if beside else []), *stacks), attacks, [BOTH, OBLIVIOUS, ADAPTIVE])


def _chosen(address: Address, first: Sequence[str] = ()) -> list[Defense]:
    """The defenses in their order; those of `first` where nobody chose yet. Raises EngineError."""
    places = _places(address, first)
    return [_set(address, place, named) for place, named in zip(places, _numbered(map(_name, places)), strict=True)]


def _places(address: Address, first: Sequence[str]) -> list[str]:
    """Which defenses, in their order, each by what tells it from others of its name: "jpeg", "jpeg#2"."""
    key = address.scope.control(NAME)

    def read(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        if len(names) > MOST:
            raise EngineError(f"at most {MOST} defenses can stand there")
        for name in names:
            if name not in DEFENSES:
                raise UnknownName("defense", name, DEFENSES)
            if DEFENSES[name].info.once and names.count(name) > 1:
                raise EngineError(f"{DEFENSES[name].info.title} can stand before a model once only")
        return _numbered(names)

    seed = address.seed(NAME, key, read, list(first), lambda places: all(_name(one) in DEFENSES for one in places))
    offered = _offered(address.current(key) or ())
    places: list[str] = st.multiselect(
        "Defense in front of the model", offered, controls.kept(offered, seed), key=key, placeholder="none",
        format_func=_title, max_selections=MOST,
        help="It stands between whoever asks and the model, and sees every query. Of several the one chosen first sees "
             "a picture first. A detector refuses pictures that look attacked to it; all others change what they let "
             "through. One that is chosen is offered a second time, at the end of the list.")
    address.note(NAME, ",".join(map(_name, places)) if places or first else None)
    return places


def _offered(chosen: Sequence[str]) -> list[str]:
    """Every defense, and of those that are chosen, and may stand there again, one more than there are."""
    most = {name: max(_number(one) for one in chosen if _name(one) == name) for name in map(_name, chosen)}
    return [*DEFENSES, *(f"{name}{_AGAIN}{number}" for name, last in most.items() if not DEFENSES[name].info.once
                         for number in range(2, last + 2))]


def _numbered(names: Iterable[str]) -> list[str]:
    """Each with how often it has stood there by then, from the second time on."""
    found: list[str] = []
    for name in names:
        times = 1 + sum(_name(one) == name for one in found)
        found.append(name if times == 1 else f"{name}{_AGAIN}{times}")
    return found


def _name(place: str) -> str:
    return place.partition(_AGAIN)[0]


def _number(place: str) -> int:
    return int(place.partition(_AGAIN)[2] or 1)


def _title(place: str) -> str:
    cls = DEFENSES[_name(place)]
    return _numbered_title(place, f"{'Detector: ' if issubclass(cls, Detector) else ''}{cls.info.title}")


def _numbered_title(place: str, title: str) -> str:
    return title if _number(place) == 1 else f"{title} ({_number(place)})"


def _setting(named: str, setting: str) -> str:
    """What the address calls a defense's parameter: "defense.jpeg.quality", "defense.jpeg.2.quality"."""
    return f"{NAME}.{named.replace(_AGAIN, '.')}.{setting}"


def _set(address: Address, place: str, named: str) -> Defense:
    """A defense with its parameters, each a control; the address has them as those of the one `named` so."""
    cls = DEFENSES[_name(place)]
    st.caption(plain(f"{_numbered_title(place, cls.info.title)}: {cls.info.sentence}"))
    values = {p.name: controls.param(address, p, address.scope.control(_setting(place, p.name)),
                                     _setting(named, p.name)) for p in params_of(cls)}
    chosen = cls(**values)
    for caution in cautions([chosen]):
        st.warning(plain(caution))
    return chosen


def _faced(address: Address, stacks: tuple[str, ...], attacks: Sequence[str], offered: Sequence[str]) -> Facing:
    """Who faces these stacks, and over how many draws, where there is a choice."""
    adapting = [defenses_from(stack) for stack in stacks
                if any(adapts(ATTACKS[name].info, defenses_from(stack)) for name in attacks)]
    if not adapting:
        address.carry(ATTACKER, DRAWN)
        return Facing(stacks)
    who = controls.choice(address, ATTACKER, "The attacker", offered, offered[0], format_func=_ATTACKERS.__getitem__,
                          help=_MEANS)
    attackers = ATTACKERS if who == BOTH else (who,)
    if ADAPTIVE not in attackers or not any(map(is_random, adapting)):
        address.carry(DRAWN)
        return Facing(stacks, attackers)
    key = address.scope.control(DRAWN)
    seed = address.seed(DRAWN, key, controls.whole(1, MOST_DRAWS, f"draws must lie between 1 and {MOST_DRAWS}"), DRAWS)
    draws = int(st.number_input("Draws averaged", 1, MOST_DRAWS, seed, step=1, key=key,
                                help="How often an attacker who knows of a random defense looks at every step: each "
                                     "draw costs a gradient or a query, and one alone is mostly noise."))
    address.note(DRAWN, None if draws == DRAWS else str(draws))
    return Facing(stacks, attackers, draws)


# ---- as an address


def texts(specs: Sequence[AttackSpec], several: bool = True) -> dict[str, str]:
    """The controls that say what stands before these runs, on a page that takes one front or `several`; raises
    EngineError where they cannot."""
    stacks = [stack for stack in stacks_of(specs) if stack]
    if not stacks:
        return {}
    chosen = [list(defenses_from(read_stack(stack))) for stack in stacks]
    together = chosen[0] if len(chosen) == 1 else [one for stack in chosen for one in stack]
    names = [one.info.name for one in together]
    twice = any(one.info.once and names.count(one.info.name) > 1 for one in together)
    if twice or len(names) > MOST or (len(chosen) > 1 and len(names) > len(chosen)):
        told = " and ".join(map(titled, stacks))
        raise EngineError(f"the page cannot set these defenses together ({told}); repeat it from the command line")
    found = {NAME: ",".join(names)}
    for one, named in zip(together, _numbered(names), strict=True):
        declared = {p.name: p.default for p in params_of(type(one))}
        found |= {_setting(named, name): str(value) for name, value in values_of(one).items()
                  if value != declared[name]}
    if several:
        found |= {ROW: EACH} if len(chosen) > 1 else {}
        found |= {} if "" in stacks_of(specs) else {BARE: NO}
    attackers = attackers_of(specs)
    found |= {ATTACKER: attackers[0] if len(attackers) == 1 else BOTH} if several or ADAPTIVE in attackers else {}
    draws = draws_of(specs)
    return found | ({} if draws in (None, DRAWS) else {DRAWN: str(draws)})
