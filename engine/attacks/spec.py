"""The full description of an attack run, checked before anything is computed. Does not import torch."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from engine.attacks.base import ATTACKS, Attack, AttackInfo, Budget, Cost, Knowledge
from engine.attacks.norms import NORMS
from engine.data.masks import DRAWN, cells_of, drawn, is_drawn
from engine.defenses.base import defenses_from, written
from engine.errors import EngineError, UnknownName
from engine.params import Value, build, params_of, values_of
from engine.serving.defense import Defense, is_random
from engine.zoo.numerics import NUMERICS

# What a run may be confined to. The name of a mask drawn by hand goes on with the drawing itself: "drawn:...".
MASKS = {"lesion": "the true lesion", "lung": "the lungs", "nuclei": "the nuclei",
         "cam": "the hottest fifth of the heatmap", DRAWN: "drawn by hand"}
OBLIVIOUS, ADAPTIVE = "oblivious", "adaptive"
ATTACKERS = (OBLIVIOUS, ADAPTIVE)
MOST_DRAWS = 1000


@dataclass(frozen=True)
class AttackSpec:
    """Everything that decides the outcome, apart from model, images and device.

    `target` is the class to reach (None: untargeted), `batch` the number of images computed together: convolutions
    round differently for other batch sizes, so it belongs to the spec. `eps` is None for an attack that is not
    bounded. `surrogate` names the models (with commas) whose gradients are used instead of the target
    model's; `mask` names the part of the image that may change; `defenses` names, with their parameters, those that
    the target model is served behind (engine.defenses.base), outermost first. Empty: none.

    Who sees only answers sees those of the defended model, and so does the verdict. Who has a whole model is an
    `attacker` that is oblivious, and takes the classifier for all there is, or adaptive, and looks through the defenses
    (put before the surrogate where there is one), at each image `draws` times where one of them is random, and aims
    below the thresholds of detectors. Who sees
    only answers is adaptive where he asks every question `draws` times of a random defense, and takes the answers
    together; each is one of the queries that he has.
    """

    attack: str
    params: dict[str, Value]
    norm: str
    eps: float | None
    target: int | None
    seed: int
    batch: int
    numerics: str
    max_queries: int | None = None
    surrogate: str = ""
    mask: str = ""
    defenses: str = ""
    attacker: str = OBLIVIOUS
    draws: int = 1

    def canonical(self) -> dict[str, Any]:
        """What decides the outcome, JSON-able: settings that have their default are left out, so that a new one does
        not orphan what was computed before; so is the surrogate's name, whose weights count."""
        own = {p.name: p.default for p in params_of(ATTACKS[self.attack])}
        chosen = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("params", "surrogate")}
        known = _known_by(self)
        ways = {"evaded": {one.info.name: one.info.evasion for one in known if one.info.evasion},
                "gradients": {one.info.name: one.info.gradient for one in known if one.info.gradient > 1}}
        return {name: value for name, value in chosen.items() if value != _DEFAULTS.get(name, _NEVER)} | {
            "version": ATTACKS[self.attack].info.version,
            "params": {name: value for name, value in self.params.items() if value != own[name]},
            **{name: value for name, value in ways.items() if value}}


def attack_of(spec: AttackSpec) -> Attack:
    """The attack with its settings; raises EngineError."""
    return build(ATTACKS[spec.attack], spec.params)


def cost_of(spec: AttackSpec) -> Cost:
    """What the attack spends on an image at most: who looks through a random defense looks once a draw, and who evades
    a detector pays for its passes as well; who has only his queries has no more of them."""
    cost, evaded = attack_of(spec).cost(), evaded_by(spec)
    if not has_gradients(ATTACKS[spec.attack].info.knowledge):
        return cost
    forwards = spec.draws * (1 + sum(defense.looks for defense in evaded))
    return Cost(cost.gradients * (forwards + (spec.draws if evaded else 0)), cost.queries * forwards)


def evaded_by(spec: AttackSpec) -> list[Defense]:
    """The detectors whose thresholds the attacker stays below: those he knows of who has the model."""
    return [defense for defense in _known_by(spec) if defense.info.evasion]


def _known_by(spec: AttackSpec) -> Sequence[Defense]:
    """The defenses that an attacker looks through."""
    knows = spec.attacker == ADAPTIVE and has_gradients(ATTACKS[spec.attack].info.knowledge)
    return defenses_from(spec.defenses) if knows else ()


def asking(attack: Attack, draws: int) -> Attack:
    """The attack as it plans where every question is asked `draws` times: one that has only its queries asks so many
    questions fewer. Raises EngineError where they are too few."""
    if draws == 1 or has_gradients(attack.info.knowledge):
        return attack
    queries = attack.cost().queries
    try:
        return build(type(attack), {**values_of(attack), "queries": queries // draws})
    except EngineError as error:
        raise EngineError(f"{queries} queries are {queries // draws} questions asked {draws} times each, too few "
                          f"({error}); allow more queries, or fewer draws") from None


_NEVER = object()
# What settings were before anybody could choose them; never to be changed.
_DEFAULTS: dict[str, object] = {"target": None, "max_queries": None, "mask": "", "defenses": "", "attacker": OBLIVIOUS,
                                "draws": 1}


def make_spec(attack: str, *, eps: float | None = None, norm: str | None = None, target: int | None = None,
              seed: int = 0, batch: int = 16, numerics: str = "fast", max_queries: int | None = None,
              surrogate: str = "", mask: str = "", defenses: str = "", attacker: str = OBLIVIOUS, draws: int = 1,
              params: dict[str, object] | None = None) -> AttackSpec:
    """A checked spec with every default written out (norm: the attack's first); raises EngineError."""
    instance = build(ATTACKS[attack], params or {})
    info = instance.info
    norm = info.norms[0] if norm is None else norm
    if norm not in NORMS:
        raise UnknownName("norm", norm, tuple(NORMS))
    if eps is None and info.bounded:
        raise EngineError(f"{info.title} needs an eps, such as 2/255")
    if eps is not None and not info.bounded:
        raise EngineError(f"{info.title} has no eps: it is limited by its own settings; leave eps out")
    Budget(norm, eps)
    if norm not in info.norms:
        raise EngineError(f"{info.title} works in {' and '.join(info.norms)}, not in {norm}")
    for p in params_of(ATTACKS[attack]):
        NORMS[norm].resolved(p).check(getattr(instance, p.name))
    if target is not None and not info.targeted:
        raise EngineError(f"{info.title} cannot aim at a class; leave the target out")
    defenses = _defended(defenses, attacker, draws, info)
    asking(instance, draws)
    if surrogate and not has_gradients(info.knowledge):
        raise EngineError(f"{info.title} needs no gradients, so it takes no surrogate; leave it out")
    if mask:
        if info.patched or not info.bounded:
            raise EngineError(f"{info.title} chooses by itself where the image changes; leave the mask out")
        mask = _mask(mask)
    if batch < 1:
        raise EngineError(f"batch must be at least 1, not {batch}")
    if not 0 <= seed < 2**63:
        raise EngineError(f"seed must be a whole number from 0, not {seed}")
    if numerics not in NUMERICS:
        raise UnknownName("numerics", numerics, tuple(NUMERICS))
    spec = AttackSpec(attack=attack, params=values_of(instance), norm=norm, eps=None if eps is None else float(eps),
                      target=target, seed=seed, batch=batch, numerics=numerics, max_queries=max_queries,
                      surrogate=surrogate, mask=mask, defenses=defenses, attacker=attacker, draws=draws)
    if max_queries is not None and max_queries < (needed := _queries_needed(spec)):
        raise EngineError(f"{info.title} needs {needed} queries an image, more than the {max_queries} allowed; "
                          "allow more, or take fewer steps")
    return spec


def _mask(name: str) -> str:
    """The one name of a mask; raises EngineError for one that is unknown or empty."""
    if is_drawn(name):
        return drawn(cells_of(name))
    if name not in MASKS:
        raise UnknownName("mask", name, tuple(MASKS))
    return name


def _defended(defenses: str, attacker: str, draws: int, info: AttackInfo) -> str:
    """The one way to write the defenses; raises EngineError where the attacker cannot face them so."""
    chosen = defenses_from(defenses)
    if attacker not in ATTACKERS:
        raise UnknownName("attacker", attacker, ATTACKERS)
    if attacker == ADAPTIVE and not chosen:
        raise EngineError("there is no defense to adapt to; name defenses, or leave the attacker out")
    random = is_random(chosen)
    if attacker == ADAPTIVE and not has_gradients(info.knowledge) and not (random and draws > 1):
        raise EngineError(f"{info.title} always asks the defended model; it adapts to a random defense alone, by "
                          "asking everything several times: give 2 draws or more there, or leave the attacker out")
    if not 1 <= draws <= MOST_DRAWS:
        raise EngineError(f"draws must lie between 1 and {MOST_DRAWS}, not {draws}")
    if draws > 1 and (attacker != ADAPTIVE or not random):
        raise EngineError("several draws are for an adaptive attacker of a random defense; leave draws out")
    return written(chosen)


def adapts(info: AttackInfo, defenses: Sequence[Defense]) -> bool:
    """Whether it makes a difference that such an attacker knows the defenses: one who has no model asks a random one
    several times."""
    return bool(defenses) and (has_gradients(info.knowledge) or is_random(defenses))


def _queries_needed(spec: AttackSpec) -> int:
    """The least a query budget must hold: a black-box attack stops where it ends, the others need all their passes."""
    return cost_of(spec).queries if has_gradients(ATTACKS[spec.attack].info.knowledge) else spec.draws


def has_gradients(knowledge: Knowledge) -> bool:
    """Whether the attacker has a whole model, its gradients included."""
    return knowledge in (Knowledge.WHITE_BOX, Knowledge.TRANSFER)


def spec_from_facts(facts: dict[str, Any]) -> AttackSpec:
    """The spec inside a downloaded run's JSON, checked; raises EngineError."""
    try:
        spec = dict(facts["spec"])
        attack = spec.pop("attack")
        if not ATTACKS[attack].info.bounded:
            spec["eps"] = None  # where there is no limit, older files hold the largest number
        return make_spec(attack, **spec)
    except EngineError:
        raise
    except (KeyError, TypeError, ValueError):
        raise EngineError("this is not a run saved by Perturbscope: it has no complete 'spec'") from None
