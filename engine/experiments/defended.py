"""What stands in front of an attacked model, as runs ask for it and results tell it. Does not import torch."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.attacks import ATTACKS
from engine.attacks.rows import Rows
from engine.attacks.spec import ADAPTIVE, ATTACKERS, OBLIVIOUS, AttackSpec, adapts, has_gradients, is_random
from engine.defenses.base import defenses_from, written
from engine.defenses.words import NONE, spelled, titled
from engine.errors import EngineError, UnknownName
from engine.serving.defense import Defense

BOTH = "both"  # the attacker who does not know of the defenses and the one who does, side by side
BARE = "on the bare model"  # of a model among others that have one
DRAWS = 10  # over which an adaptive attacker of a random defense averages, where nobody says otherwise


@dataclass(frozen=True)
class Front:
    """The defenses that a model is served behind, and how the attacker faces them: as AttackSpec has them."""

    defenses: str = ""
    attacker: str = OBLIVIOUS
    draws: int = 1


def read_stack(text: str) -> str:
    """The one way to write the defenses of `text`, "" for NONE; raises EngineError."""
    return "" if text.strip() in ("", NONE) else written(defenses_from(text))


def fronts(attack: str, stacks: Sequence[str], attackers: Sequence[str], draws: int | None = None) -> list[Front]:
    """Every attacker at every stack of defenses, as far as it makes a difference to that attack: the bare model has
    one attacker, and where both are asked for, an attack that cannot adapt is made once. `draws` (default: DRAWS) are
    for the adaptive one at random defenses. Raises EngineError."""
    found: list[Front] = []
    for stack in stacks:
        chosen = defenses_from(stack)
        for attacker in (attackers if chosen else (OBLIVIOUS,)):
            times = (DRAWS if draws is None else draws) if attacker == ADAPTIVE and is_random(chosen) else 1
            if attacker == ADAPTIVE and OBLIVIOUS in attackers and not _adapts(attack, chosen, times):
                continue
            found.append(Front(stack, attacker, times))
    return list(dict.fromkeys(found))


def _adapts(attack: str, chosen: Sequence[Defense], draws: int) -> bool:
    """Whether knowing the defenses makes a difference to the attack; asking once is what everybody does."""
    info = ATTACKS[attack].info
    return adapts(info, chosen) and (has_gradients(info.knowledge) or draws > 1)


def check(stacks: Sequence[str], attackers: Sequence[str], draws: int | None) -> None:
    """Raises EngineError where an attacker, or draws, are asked for that no stack of defenses is for."""
    for attacker in attackers:
        if attacker not in ATTACKERS:
            raise UnknownName("attacker", attacker, (*ATTACKERS, BOTH))
    if ADAPTIVE in attackers and not any(stacks):
        raise EngineError("there is no defense to adapt to; name defenses, or leave the attacker out")
    averages = ADAPTIVE in attackers and any(is_random(defenses_from(stack)) for stack in stacks)
    if draws is not None and draws > 1 and not averages:
        raise EngineError("several draws are for an adaptive attacker of a random defense; leave draws out")


# ---- in words


def stands(spec: AttackSpec) -> str:
    """What stands in front of the model: "behind RND (sigma 0.02)"."""
    return f"behind {titled(spec.defenses)}" if spec.defenses else BARE


def behind(spec: AttackSpec) -> str:
    """The same with how the attacker faces it, for the end of a title: " behind RND (sigma 0.02), adaptive"; "" of the
    bare model."""
    return f" {front_title(spec)}" if spec.defenses else ""


def front_title(spec: AttackSpec) -> str:
    """The same as what tells one line from others."""
    return f"{stands(spec)}{_facing(spec)}"


def _facing(spec: AttackSpec) -> str:
    """How the attacker faces the defenses, where there are two ways."""
    asks = not has_gradients(ATTACKS[spec.attack].info.knowledge)
    if not spec.defenses or (spec.attacker == OBLIVIOUS and asks):
        return ""
    return f", {spec.attacker}{f', {spec.draws} draws' if spec.draws > 1 else ''}"


def told(spec: AttackSpec) -> str:
    """What stands in front of the model and what the attacker knows of it, for whoever does not know the terms: "behind
    RND (sigma 0.02), attacker does not know it"."""
    return f"{stands(spec)}, attacker {_knows(spec)}"


def _knows(spec: AttackSpec) -> str:
    if spec.attacker == ADAPTIVE:
        return f"knows it{f' and averages {spec.draws} draws' if spec.draws > 1 else ''}"
    return "does not know it" if has_gradients(ATTACKS[spec.attack].info.knowledge) else "asks it as it is"


# ---- as options of the command line


def options(specs: Sequence[AttackSpec]) -> dict[str, list[str] | int]:
    """--defense, --attacker and --draws of a command that makes these runs; none of them on the bare model."""
    stacks, attackers = stacks_of(specs), attackers_of(specs)
    if not any(stacks):
        return {}
    draws = draws_of(specs)
    return {"defense": list(map(spelled, stacks)), **({"attacker": attackers} if ADAPTIVE in attackers else {}),
            **({} if draws is None else {"draws": draws})}


def words(specs: Sequence[AttackSpec]) -> list[str]:
    """The same as words of a shell."""
    return [" ".join([f"--{name}", *(shlex.quote(str(one)) for one in (value if isinstance(value, list) else [value]))])
            for name, value in options(specs).items()]


def stacks_of(specs: Sequence[AttackSpec]) -> list[str]:
    """The stacks of defenses, each once; "" is the bare model."""
    return list(dict.fromkeys(spec.defenses for spec in specs))


def draws_of(specs: Sequence[AttackSpec]) -> int | None:
    """Over how many draws those average who know of a random defense; None where there is nothing to average."""
    return max((spec.draws for spec in specs
                if spec.attacker == ADAPTIVE and is_random(defenses_from(spec.defenses))), default=None)


def attackers_of(specs: Sequence[AttackSpec]) -> list[str]:
    """Those who face defenses, each once."""
    return list(dict.fromkeys(spec.attacker for spec in specs if spec.defenses))


# ---- in results


def named(spec: AttackSpec) -> dict[str, Any]:
    """What results say of the front; nothing of the bare model."""
    return {"defense": spec.defenses, "attacker": spec.attacker, "draws": spec.draws} if spec.defenses else {}


def facts(rows: Rows) -> dict[str, Any]:
    """What results say of a run behind defenses besides, JSON-able; nothing of one on the bare model. `refused` counts
    the attack's queries that got no answer, and `seconds_per_query` is the time of the run for each query, gradients
    and verdicts included."""
    if not rows.spec.defenses:
        return {}
    return {**named(rows.spec), "refused": int(rows.refusals.sum()),
            **priced(rows.spec, float((rows.predicted_clean == rows.labels).mean()), rows.seconds,
                     int(rows.queries.sum()))}


def priced(spec: AttackSpec, right: float | None, seconds: float, queries: int) -> dict[str, Any]:
    """The same of what has no rows: the share of images that were read correctly, and what so many queries took."""
    return {**named(spec), "accuracy_clean_defended": right,
            "seconds_per_query": seconds / queries if queries else None} if spec.defenses else {}


def columns(spec: AttackSpec, others: Sequence[AttackSpec]) -> Mapping[str, str]:
    """What tables say of the front, where any of the runs has one."""
    if not any(other.defenses for other in others):
        return {}
    return {"defense": spec.defenses, "attacker": spec.attacker if spec.defenses else ""}
