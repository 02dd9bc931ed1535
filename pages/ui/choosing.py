"""What the pages about whole data sets let choose in the sidebar: data set, images, models, attacks, budgets, seeds.

All of it is in the address.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import streamlit as st

from engine.attacks import ATTACKS
from engine.attacks.base import Attack, Knowledge
from engine.attacks.norms import NORMS
from engine.attacks.spec import AttackSpec, cost_of, make_spec
from engine.data import Dataset
from engine.errors import EngineError, UnknownName
from engine.experiments.onepicture import pace
from engine.experiments.openings import Opening
from engine.experiments.selection import Selection
from engine.experiments.sweeps import Sweep, sweep_of
from engine.params import Value, params_of
from pages.ui import controls, defending, sources
from pages.ui.address import Address, force
from pages.ui.charts import CAMERA, counted, duration
from pages.ui.controls import KNOWN_AS, SCALES, Scale
from pages.ui.defending import Facing

MOST_SEEDS = 20
IMAGES = ("12", "24", "48", "96", "200", "500", "all", "each 10", "each 50")
_EACH, _ALL, _NUMBERED = "each ", "all", "#"
# What images are called on the page, and what that is the title of, whatever the split.
_TITLES = {r"([\d,]+) of every class": f"{_EACH}{{}}", r"all [\d,]+ of the split": _ALL, r"([\d,]+) of [\d,]+": "{}"}


@dataclass(frozen=True)
class Wants:
    """What a page lets choose. `first` is what its controls say at first (without budgets the page has no control for
    them), `offers` which attacks it is about; `without` names settings of attacks that the page has a control of its
    own for."""

    first: Opening
    offers: Callable[[type[Attack]], bool] = lambda attack: True
    models_help: str = ""
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attacker:
    """An attack with its own settings."""

    name: str
    norm: str
    params: Mapping[str, Value]

    @property
    def bounded(self) -> bool:
        return ATTACKS[self.name].info.bounded


@dataclass(frozen=True)
class Chosen:
    """What the sidebar says; `budgets` are eps in [0,1], smallest first."""

    data: Dataset
    split: str
    images: str
    indices: tuple[int, ...]
    models: tuple[str, ...]
    attackers: tuple[Attacker, ...]
    budgets: tuple[float, ...]
    seeds: tuple[int, ...]
    numerics: str
    device: str
    facing: Facing = field(default_factory=Facing)

    @property
    def name(self) -> str:
        """The data set's."""
        return self.data.info.name

    def specs(self, budgets: Sequence[float] | None = None, **options: Any) -> tuple[AttackSpec, ...]:
        """Every attack at every budget (default: the chosen ones) with every seed behind all that is chosen; once where
        it takes no budget. `options` are further ones of `make_spec`. Raises EngineError."""
        at = self.budgets if budgets is None else budgets
        return tuple(make_spec(one.name, eps=eps, norm=one.norm, seed=seed, numerics=self.numerics,
                               params=dict(one.params), **asdict(front), **options)
                     for one in self.attackers for eps in (at if one.bounded else (None,)) for seed in self.seeds
                     for front in self.facing.fronts(one.name))

    def sweep(self, budgets: Sequence[float] | None = None, **options: Any) -> Sweep:
        """Those attacks on the chosen images with the chosen models; raises EngineError."""
        return sweep_of(self.name, self.split, self.indices, self.models, self.specs(budgets, **options))

    def price(self, specs: Sequence[AttackSpec] | None = None) -> str:
        """What the attacks will cost at most, on all models, in one line."""
        seconds: float | None = 0.0
        gradients = queries = 0
        for spec in self.specs() if specs is None else specs:
            cost = cost_of(spec)
            gradients += cost.gradients * len(self.indices) * len(self.models)
            queries += cost.queries * len(self.indices) * len(self.models)
            for model in self.models:
                at = pace.known(model, self.device)
                seconds = None if at is None or seconds is None else seconds + at.estimate(cost) * len(self.indices)
        spent = [counted(gradients, "gradient")] if gradients else []
        spent += [counted(queries, "query", "queries")] if queries != gradients else []
        time = "" if seconds is None else f", about {duration(seconds)} here"
        draws = self.facing.draws or 1
        drawn = f", with {draws} draws wherever a random defense is averaged" if draws > 1 else ""
        return f"Costs at most {' and '.join(spent) or 'nothing'}{drawn}{time}."


def choose(address: Address, wants: Wants) -> Chosen:
    """Every control; raises EngineError where one makes the rest impossible. The address is not written yet."""
    data, split = sources.dataset(address)
    images, indices = _images(address, data, wants)
    models = sources.several_models(address, data.info, "models", "Models", wants.first.models, wants.models_help)
    norm, attackers = _attackers(address, wants)
    has_budgets = wants.first.budgets and any(attacker.bounded for attacker in attackers)
    budgets = _budgets(address, SCALES[norm], wants) if has_budgets else ()
    facing = defending.several(address, [attacker.name for attacker in attackers], wants.first.defenses)
    with st.expander("Advanced settings"):
        seeds = _seeds(address)
        numerics = controls.numerics(address)
        device = controls.device(address)
        st.segmented_control("Cameras save figures as", ("svg", "png"), default="svg", key=CAMERA,
                             format_func=str.upper, help="SVG stays sharp at any size; PNG opens everywhere.")
    return Chosen(data, split, images, indices, models, attackers, budgets, seeds, numerics, device,
                  facing)


def selection_of(text: str) -> Selection:
    """Which images "48", "each 10", "all" or "#3 #17" are, or their titles, "48 of 450"; raises EngineError."""
    words = _meant(text)
    try:
        if words == _ALL:
            return Selection()
        if words.startswith(_NUMBERED):
            return Selection(indices=tuple(int(word.lstrip(_NUMBERED)) for word in words.replace(",", " ").split()))
        if words.startswith(_EACH):
            return Selection(per_class=int(words.removeprefix(_EACH)))
        return Selection(limit=int(words))
    except ValueError as error:
        if isinstance(error, EngineError):
            raise
        raise EngineError("it must be a number of images such as 48, 'each 10' (of every class), 'all', or the "
                          "numbers of images such as '#3 #17'") from None


def _images(address: Address, data: Dataset, wants: Wants) -> tuple[str, tuple[int, ...]]:
    key, total = address.scope.control_of("images", len(data)), len(data)

    def read(text: str) -> str:
        selection_of(text).of(data)
        return text

    first = str(wants.first.images)
    seed = address.seed("images", key, read, first, lambda text: isinstance(text, str))
    # By what they are called: in a small split several numbers are all there are.
    options = list({_images_title(text, total): text for text in (first, *IMAGES, address.current(key))}.values())
    text: str = st.selectbox("Images (or type a number)", options, controls.place(options, seed), key=key,
                             accept_new_options=True, on_change=_typed, args=(key,),
                             format_func=lambda text: _images_title(text, total),
                             help="How many images of the split, spread evenly over it. Any number can be typed, such "
                                  "as 8, or 'each 10' for ten of every class, or the numbers of images: #3 #17.")
    address.note("images", text)
    return text, selection_of(text).of(data)


def _typed(key: str) -> None:
    """In a callback: a title that was typed, "12 of 450", may be one of another split, and means 12 of this one."""
    force(key, _meant(st.session_state[key]))


def _meant(text: str) -> str:
    """What a title stands for; any other text as it is."""
    for title, meant in _TITLES.items():
        if found := re.fullmatch(title, text.strip()):
            return meant.format(*(number.replace(",", "") for number in found.groups()))
    return text.strip()


def _images_title(text: str, total: int) -> str:
    if text == _ALL:
        return f"all {total:,} of the split"
    if text.startswith(_EACH):
        return f"{text.removeprefix(_EACH)} of every class"
    return f"{min(int(text), total):,} of {total:,}" if text.isdecimal() else text


def _attackers(address: Address, wants: Wants) -> tuple[str, tuple[Attacker, ...]]:
    """The attacks with their settings, and the norm that they have in common."""
    offered = [name for k in Knowledge for name in ATTACKS
               if ATTACKS[name].info.knowledge is k and wants.offers(ATTACKS[name])]
    norms = [norm for norm in SCALES if any(norm in ATTACKS[name].info.norms for name in offered)]
    norm = norms[0]
    if len(norms) > 1:
        norm = controls.choice(address, "norm", "What is limited", norms, norm,
                               format_func=lambda name: NORMS[name].title)
    fitting = [name for name in offered if norm in ATTACKS[name].info.norms]
    key = address.scope.control("attacks")

    def read(text: str) -> list[str]:
        chosen = [name.strip() for name in text.split(",") if name.strip()]
        for name in chosen:
            if name not in offered:
                raise UnknownName("attack", name, offered)
        return chosen

    first = [name for name in wants.first.attacks if name in fitting] or fitting[:1]
    seed = address.seed("attacks", key, read, first, lambda names: all(name in fitting for name in names))
    names = st.multiselect("Attacks", fitting, controls.kept(fitting, seed), key=key, format_func=_attack_title,
                           help="Type to search.")
    address.note("attacks", ",".join(names))
    if not names:
        raise EngineError("choose at least one attack")
    attackers = []
    for name in names:
        if not {p.name for p in params_of(ATTACKS[name])} - set(wants.without):
            attackers.append(Attacker(name, norm, {}))
            continue
        with st.expander(f"{ATTACKS[name].info.title}: settings"):
            values = controls.settings(address, ATTACKS[name], norm, f"set.{name}", wants.without)
            attackers.append(Attacker(name, norm, values))
    return norm, tuple(attackers)


def _attack_title(name: str) -> str:
    info = ATTACKS[name].info
    return f"{info.title} ({KNOWN_AS[info.knowledge]})"


def _budgets(address: Address, scale: Scale, wants: Wants) -> tuple[float, ...]:
    """The budgets, as many as wished."""
    name = scale.setting
    key = address.scope.control(name)

    def read(text: str) -> list[str]:
        return [scale.text(scale.read(one)) for one in text.split(",") if one.strip()]

    default = [scale.text(shown) for shown in (wants.first.budgets if scale.norm == "linf" else (scale.default,))]
    seed = address.seed(name, key, read, default, lambda texts: isinstance(texts, list))
    shown = list(dict.fromkeys([*map(scale.text, scale.offered), *address.current(key)]))
    texts = st.multiselect(scale.label, shown, controls.kept(shown, seed), key=key, accept_new_options=True,
                           help=f"{scale.help} Several may be chosen; or type another, such as "
                                f"{scale.text(scale.default)}.")
    address.note(name, ",".join(texts))
    try:
        values = sorted({scale.eps(scale.read(text)) for text in texts})
    except EngineError as error:
        raise EngineError(f"{scale.label}: {error}") from None
    if not values:
        raise EngineError(f"choose at least one value of {scale.label}")
    return tuple(values)


def _seeds(address: Address) -> tuple[int, ...]:
    key = address.scope.control("seeds")

    def read(text: str) -> str:
        _seeds_in(text)
        return text

    seed = address.seed("seeds", key, read, "0")
    text = st.text_input("Seeds", seed, key=key,
                         help="Where an attack uses chance: the same seed gives the same images again. Several, with "
                              "commas, say how much chance matters.")
    address.note("seeds", text)
    return _seeds_in(text)


def _seeds_in(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(dict.fromkeys(int(one) for one in text.split(",")))
    except ValueError:
        raise EngineError("seeds must be whole numbers with commas, such as 0, 1, 2") from None
    if len(seeds) > MOST_SEEDS or not all(0 <= seed < 2**31 for seed in seeds):
        raise EngineError(f"seeds must lie between 0 and 2147483647, and be at most {MOST_SEEDS}")
    return seeds
