"""The controls of an attack, generated from what the engine declares.

What is turned all the time is in a bar above the pictures, the rest in the sidebar.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine import device as devices
from engine.attacks import ATTACKS
from engine.attacks.base import PRESETS, Attack, AttackInfo, Knowledge
from engine.attacks.norms import IN_NORM, NORMS
from engine.attacks.spec import MASKS, AttackSpec, make_spec
from engine.data.masks import DRAWN
from engine.errors import EngineError, UnknownName
from engine.experiments.defended import Front
from engine.experiments.openings import EXPLORE
from engine.experiments.sources import Picture, unmarked
from engine.params import Param, Value, params_of, parse_number
from engine.zoo.numerics import NUMERICS
from pages.ui.address import Address, force, forced
from pages.ui.drawing import drawing
from pages.ui.scope import Scope

T = TypeVar("T")


@dataclass(frozen=True)
class Scale:
    """How a budget is shown: `shown` = eps * `factor`, with the values the slider offers."""

    norm: str
    setting: str
    label: str
    offered: tuple[float, ...]
    default: float
    highest: float
    help: str

    @property
    def unit(self) -> str:
        return NORMS[self.norm].unit

    @property
    def factor(self) -> float:
        return NORMS[self.norm].factor

    def eps(self, shown: float) -> float:
        return shown / self.factor

    def text(self, shown: float) -> str:
        """As the address and the command line write it."""
        return f"{shown:.6g}{self.unit}"

    def read(self, text: str) -> float:
        """What the slider shows for an eps written as text; raises EngineError."""
        try:
            shown = parse_number(text) * self.factor
        except (ValueError, ZeroDivisionError):
            raise EngineError(f"it must be a number such as {self.text(self.default)}") from None
        if not 0 <= shown <= self.highest:
            raise EngineError(f"it must lie between 0 and {self.text(self.highest)}")
        return float(f"{shown:.6g}")


LINF = Scale(
    "linf", "eps", "Epsilon, in n/255",
    (0, 0.1, 0.2, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32), float(EXPLORE.budgets[0]), 255.0,
    "How far every single pixel may move. 1/255 is one step of an 8-bit picture, far below what the eye sees.")
L2 = Scale(
    "l2", "radius", "L2 radius", (0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12), 0.5, 100.0,
    "How far the picture may move as a whole: the root of the summed squares of all pixel changes, pixels in [0, 1].")
SCALES = {scale.norm: scale for scale in (LINF, L2)}


NOTHING = "none"  # how the address may write the empty choice


def whole(low: int, high: int, wrong: str) -> Callable[[str], int]:
    """What reads a whole number from `low` to `high`; `wrong` is said of anything else."""
    def read(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise EngineError(wrong)
        return int(text)

    return read


def one_of(kind: str, names: Sequence[str]) -> Callable[[str], str]:
    """A reader of the address that takes one of `names`."""
    def read(text: str) -> str:
        name = "" if text == NOTHING and "" in names else text
        if name not in names:
            raise UnknownName(kind, name, [known or NOTHING for known in names])
        return name

    return read


def place(options: Sequence[Any], seed: object) -> int:
    """Where the seed of a control stands among its options; the first where it has none."""
    return list(options).index(seed) if seed in options else 0


def kept(options: Sequence[T], seed: Sequence[T] | None) -> list[T] | None:
    """What of the seed of a control for several is among its options: they may have changed since it was drawn first.
    """
    return None if seed is None else [one for one in seed if one in options]


def choice(address: Address, name: str, label: str, options: Sequence[str], default: str, *,
           format_func: Callable[[str], str] = str, help: str | None = None, kind: str | None = None,
           read: Callable[[str], str] | None = None, always: bool = False) -> str:
    """A box to choose one of `options` in, kept in the address as `name` where it is not the default, or `always`.

    `read` takes an option from the address (default: one of `options`, or else an unknown `kind`).
    """
    key = address.scope.control(name)
    seed = address.seed(name, key, read or one_of(kind or name, options), default, lambda value: value in options)
    chosen: str = st.selectbox(label, options, place(options, seed), format_func=format_func, key=key, help=help)
    address.note(name, chosen if always or chosen != default else None)
    return chosen


@dataclass(frozen=True)
class Bar:
    """The places in the bar above the pictures."""

    attack: DeltaGenerator
    budget: DeltaGenerator
    exact: DeltaGenerator
    run: DeltaGenerator
    cancel: DeltaGenerator


def bar() -> Bar:
    """The bar, empty yet."""
    with st.container(key="bar"):
        return Bar(*st.columns([2.7, 3.2, 1.25, 1.75, 1.1], vertical_alignment="bottom", gap="small"))


KNOWN_AS = {Knowledge.WHITE_BOX: "white-box", Knowledge.TRANSFER: "transfer", Knowledge.SCORE: "score-based",
            Knowledge.DECISION: "decision-based"}


def attack_class(address: Address, default: str) -> type[Attack]:
    """Which attack, in one list that can be searched by typing, grouped by what the attacker knows."""
    names = [name for k in Knowledge for name in ATTACKS if ATTACKS[name].info.knowledge is k]
    key = address.scope.control("attack")
    seed = address.seed("attack", key, one_of("attack", names), default, lambda name: name in names)
    name = st.selectbox(
        "Attack", names, place(names, seed), key=key,
        format_func=lambda n: f"{KNOWN_AS[ATTACKS[n].info.knowledge]} · {ATTACKS[n].info.title}",
        help="Type to search. " + "  \n".join(f"**{KNOWN_AS[k]}**: {k.value.lower()}." for k in Knowledge))
    address.note("attack", name)
    return ATTACKS[name]


def budget(address: Address, info: AttackInfo, places: Bar) -> tuple[str, float | None]:
    """Norm and eps, as a slider with the exact number beside it; no eps where the attack has none."""
    norm = info.norms[0]
    if len(info.norms) > 1:
        norm = choice(address, "norm", "What is limited" if info.bounded else "What is kept small", info.norms, norm,
                      format_func=lambda n: NORMS[n].title)
    if not info.bounded:
        # A link keeps its eps for the next attack that takes one.
        address.carry(*(scale.setting for scale in SCALES.values()))
        places.budget.caption("No epsilon: what limits this attack is among the advanced settings on the left.")
        return norm, None
    scale = SCALES[norm]
    key, exact = (address.scope.control(name) for name in (scale.setting, f"{scale.setting} exact"))
    seed = address.seed(scale.setting, key, scale.read, scale.default)
    if seed is None:
        force(exact, address.current(key))
    options = sorted({*map(float, scale.offered), float(address.current(key))})
    shown = places.budget.select_slider(scale.label, options, seed, key=key, format_func=scale.text, help=scale.help,
                                        on_change=_follow, args=(exact, key))
    places.exact.number_input("exact value", 0.0, scale.highest, None if forced(exact) else seed, step=0.05,
                              format="%.6g", key=exact, on_change=_follow, args=(key, exact))
    address.note(scale.setting, scale.text(shown))
    return norm, scale.eps(shown)


def _follow(key: str, leader: str) -> None:
    """The slider and its exact number show the same."""
    if (value := st.session_state[leader]) is not None:
        force(key, float(value))


def goal(address: Address, classes: Sequence[str], truth: int | None) -> int | None:
    """Untargeted, or the class to reach."""
    away = "any"
    options = [away, *(name for index, name in enumerate(classes) if index != truth)]
    label = {away: "Any other diagnosis"}

    def read(text: str) -> str:
        if truth is not None and text == classes[truth]:
            raise EngineError(f"this picture is {text}: nothing would have to change")
        return one_of("class", options)(text)

    chosen = choice(address, "target", "Goal", options, away, read=read,
                    format_func=lambda name: label.get(name, f"Make it say: {name}"),
                    help="Untargeted: leave the true class. Targeted: reach the class named here.")
    return None if chosen == away else list(classes).index(chosen)


def settings(address: Address, attack: type[Attack], norm: str, prefix: str = "set",
             without: Sequence[str] = ()) -> dict[str, object]:
    """One control for every parameter the attack declares, but for those `without` one, and a button for each of its
    presets. In the address they are called `prefix`.NAME."""
    declared = {_key(address.scope, attack.info, p, norm): NORMS[norm].resolved(p) for p in params_of(attack)
                if p.name not in without}
    _presets(address.scope, attack.info, declared)
    return {p.name: param(address, p, key, f"{prefix}.{p.name}") for key, p in declared.items()}


def _key(scope: Scope, info: AttackInfo, p: Param, norm: str) -> str:
    """A control's key: what is shown in the unit of the norm has a control a norm."""
    own = f".{norm}" if p.unit == IN_NORM and norm != info.norms[0] else ""
    return scope.control(f"set.{info.name}.{p.name}{own}")


def _presets(scope: Scope, info: AttackInfo, declared: Mapping[str, Param]) -> None:
    """Buttons that fill in all settings at once, where there is more to choose from than the defaults."""
    if not any(p.name in values for values in info.presets.values() for p in declared.values()):
        return
    offered = {"Quick": {}, **{PRESETS[name]: values for name, values in info.presets.items()}}
    for column, (title, values) in zip(st.columns(len(offered)), offered.items(), strict=True):
        told = ", ".join(f"{p.title.lower()} {with_unit(p, values.get(p.name, p.default))}" for p in declared.values()
                         if any(p.name in preset for preset in info.presets.values()))
        column.button(title, key=scope.control(f"preset.{info.name}.{title}"),
                      help=f"Sets {told}, and all else as at first.", on_click=_fill, args=(declared, values),
                      width="stretch")


def _fill(declared: Mapping[str, Param], values: Mapping[str, Value]) -> None:
    """In a callback: every control shows its preset, or its default."""
    for key, p in declared.items():
        force(key, shown(p, values.get(p.name, p.default)))


def param(address: Address, p: Param, key: str, name: str) -> Value:
    """The control of one parameter, in the address as `name` where it does not say the default."""
    value = p.check(_widget(p, key, address.seed(name, key, lambda text: shown(p, p.check(text)), shown(p, p.default))))
    address.note(name, None if value == p.default else str(value))
    return value


def shown(p: Param, value: Any) -> Any:
    """A parameter's value as its control shows it: what has the unit /255 is shown times 255."""
    return float(f"{value * 255:.6g}") if p.unit == "/255" else value


def with_unit(p: Param, value: Any) -> str:
    """A parameter's value as people read it."""
    if p.unit == IN_NORM:
        return f"{value:g}"
    return f"{shown(p, value)}{p.unit}" if p.unit.startswith("/") else f"{value} {p.unit}".strip()


def _widget(p: Param, key: str, seed: Any) -> Any:
    """The parameter's control; returns its value, times 255 undone."""
    label = f"{p.title}, in {p.unit.replace('/255', 'n/255')}" if p.unit else p.title
    if p.choices:
        return st.selectbox(label, p.choices, place(p.choices, seed), key=key, help=p.help)
    if p.kind is bool:
        return st.toggle(label, bool(seed), key=key, help=p.help)
    if p.kind is str:
        return st.text_input(label, seed or "", key=key, help=p.help)
    kind, grey = p.kind, p.unit == "/255"
    low, high, first = (None if number is None else kind(number)
                        for number in (*(None if b is None else shown(p, b) for b in (p.low, p.high)), seed))
    step = kind(shown(p, p.step)) if p.step is not None else (1 if kind is int else 0.1)
    number = st.number_input(label, low, high, first, step=step, key=key, help=p.help,
                             format="%d" if kind is int else "%.4g")
    return number / 255 if grey else number


def numerics(address: Address) -> str:
    return choice(address, "numerics", "Arithmetic", tuple(NUMERICS), "fast",
                  format_func=lambda n: NUMERICS[n].title,
                  help="How the attacked copy of the model computes. The verdict is that of the network as trained.")


def device(address: Address) -> str:
    return choice(address, "device", "Device", devices.NAMES, "auto",
                  help="auto: a graphics processor where there is one.")


def seed(address: Address) -> int:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise EngineError("it must be a whole number") from None
        if not 0 <= value < 2**31:
            raise EngineError("it must lie between 0 and 2147483647")
        return value

    key = address.scope.control("seed")
    first = address.seed("seed", key, read, 0)
    value = int(st.number_input("Seed", 0, 2**31 - 1, first, step=1, key=key,
                                help="Where the attack uses chance: the same seed gives the same picture again."))
    address.note("seed", str(value))
    return value


def surrogate(address: Address, models: Mapping[str, str]) -> str:
    """Whose gradients are used: the model's own, another's of `models` (name to title), or those of an ensemble that a
    link asks for, in which the attacked model may be, too."""
    own, one = "", one_of("model", ["", *models])
    known = {*models, address.noted("model")}

    def read(text: str) -> str:
        return text if _together(text, known) else one(text)

    key = address.scope.control("surrogate")
    seed = address.seed("surrogate", key, read, own, lambda name: name in (own, *models) or _together(name, known))
    options = list(dict.fromkeys([own, *models, address.current(key)]))
    chosen: str = st.selectbox(
        "The attacker has", options, place(options, seed), key=key,
        format_func=lambda name: models.get(name, name.replace(",", " + ") or "the attacked model itself"),
        help="The attack is made on this model, then shown to the one above. Real attackers seldom have the very model "
             "they attack.")
    address.note("surrogate", chosen or None)
    return chosen


def _together(text: str, known: Collection[str]) -> bool:
    """Whether the text names several of these models."""
    return "," in text and all(name in known for name in text.split(","))


def mask(address: Address, chosen: Picture) -> str:
    """Which part of the chosen picture may change; drawn by hand where that is wanted."""
    def title(name: str) -> str:
        words = MASKS.get(name, "everywhere")
        return words if unmarked(name, chosen) is None else f"{words} (not known here)"

    name = choice(address, "mask", "Where the picture may change", ["", *MASKS], "", format_func=title,
                  help="Confine the attack to a part of the picture.")
    if name == DRAWN:
        return drawing(address, chosen)
    address.carry("drawing")
    return name


def attack_spec(address: Address, classes: Sequence[str], chosen: Picture, default: str,
                models: Mapping[str, str], places: Bar, facing: Callable[[str], Front]) -> tuple[AttackSpec, str]:
    """Every control of an attack on the chosen picture, as a checked spec, and the device; raises EngineError.

    `models` are the other models that know these classes, name to title; `facing` draws the controls of what stands
    before the model that the attack of that name is to fool.
    """
    with places.attack:
        attack = attack_class(address, default)
    st.markdown(f"###### {attack.info.title}")
    st.caption(attack.info.sentence)
    used = surrogate(address, models) if attack.info.knowledge is Knowledge.TRANSFER else ""
    norm, eps = budget(address, attack.info, places)
    target = goal(address, classes, chosen.label) if attack.info.targeted else None
    front = facing(attack.info.name)
    with st.expander("Advanced settings"):
        values = settings(address, attack, norm)
        if attack.info.knowledge is Knowledge.WHITE_BOX:
            used = surrogate(address, models)
        elif attack.info.knowledge is not Knowledge.TRANSFER:
            address.carry("surrogate")
        part = ""
        if attack.info.bounded and not attack.info.patched:
            part = mask(address, chosen)
        else:
            address.carry("mask", "drawing")
        arithmetic = numerics(address)
        processor = device(address)
    number = seed(address)
    return make_spec(attack.info.name, eps=eps, norm=norm, target=target, seed=number, numerics=arithmetic,
                     surrogate=used, mask=part, params=values, **asdict(front)), processor
