"""The phantom workshop: choose who is shown, what ails them and how they were exposed, see it, and attack it."""

import random
from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine import digest
from engine.data import DATASETS, find
from engine.data.base import Dataset, StoredUnits
from engine.data.marks import MARKS, marked
from engine.data.workshop import KITS, NUMBERS, SPLIT, Kit, Order, order
from engine.params import Param, Value
from pages.browsing.scope import SCOPE
from pages.ui import controls, pictures, shell
from pages.ui.address import Address, force
from pages.ui.text import plain

FIRST = 8  # the phantom that is there first: a pneumonia
_KNOB = "knob."
SETTINGS = ("kind", "shows", *NUMBERS, "outline",
            *dict.fromkeys(f"{_KNOB}{p.name}" for kit in KITS.values() for p in kit.params))


@dataclass(frozen=True, eq=False)
class Shown:
    """A phantom as the page shows it: the PNG, how much of what (lungs or tile) the lesion is, and its units."""

    png: bytes
    share: float | None
    of: str
    units: StoredUnits | None


def show(address: Address) -> None:
    """The controls in the sidebar; the phantom as its numbers give it, and beside it as the knobs have it."""
    with st.sidebar:
        kind = controls.choice(address, "kind", "Kind of phantom", list(KITS), next(iter(KITS)),
                               format_func=lambda name: DATASETS[name].info.title)
        wanted = _order(address, kind)
    drawn = Order(wanted.kind, wanted.shows, wanted.numbers)
    attack, another, reset, outline = st.columns([2.2, 1.3, 1.1, 2.4], vertical_alignment="bottom", gap="small")
    with outline:
        mark = controls.choice(address, "outline", "Outline", ["", *MARKS], "",
                               format_func=lambda name: MARKS[name].words if name else "nothing")
    with attack:
        st.page_link(shell.file("explore"), label="**Attack it in Explore**", query_params={
            "dataset": wanted.name, "split": SPLIT, "index": "0"},
            help="That very phantom: its name holds every setting, so that a run on it can be repeated.")
    another.button("Another case", on_click=_another, args=(kind,), key=SCOPE.key("another"), width="stretch",
                   help="Other random numbers; what was changed stays.")
    reset.button("As drawn", on_click=_reset, args=(kind,), key=SCOPE.key("reset"), disabled=not wanted.knobs,
                 help="Every knob back.", width="stretch")
    now, before = _shown(wanted.name, mark), _shown(drawn.name, mark)
    pictures.row([pictures.Figure("As its numbers give it", _said(before), before.png, "SYNTHETIC"),
                  pictures.Figure("As you made it", _said(now), now.png, "SYNTHETIC")])
    st.caption("On the command line, and wherever a data set can be typed, its name is:")
    st.code(wanted.name, language=None, wrap_lines=True)


def _order(address: Address, kind: str) -> Order:
    kit = KITS[kind]
    classes = kit.series.classes
    shows = controls.choice(address, "shows", "Shows", classes, classes[min(1, len(classes) - 1)])
    numbers = [_number(address, name, title, kit) for name, title in zip(NUMBERS, kit.titles, strict=True)]
    knobs = {p.name: _knob(address, kind, p) for p in kit.params}
    return order(kind, shows, numbers, knobs)


def _number(address: Address, name: str, title: str, kit: Kit) -> int:
    read = controls.whole(0, kit.most, f"it must be a whole number from 0 to {kit.most}")
    key = SCOPE.control(name)
    seed = address.seed(name, key, read, FIRST, lambda number: number <= kit.most)
    number = int(st.slider(title, 0, kit.most, seed, key=key, help="The same number is the same one, each time."))
    address.note(name, None if number == FIRST else str(number))
    return number


def _key(kind: str, p: Param) -> str:
    return SCOPE.control(f"{_KNOB}{kind}.{p.name}")


def _knob(address: Address, kind: str, p: Param) -> Value:
    """A knob's control, in the address where it was turned."""
    key = _key(kind, p)
    seed = address.seed(f"{_KNOB}{p.name}", key, p.check, p.default)
    label = f"{p.title}, in {p.unit}" if p.unit else p.title
    if p.choices:
        value: Value = st.selectbox(label, p.choices, controls.place(p.choices, seed), key=key, help=p.help)
    elif p.kind is bool:
        value = st.toggle(label, bool(seed), key=key, help=p.help)
    else:
        low, high, step = (p.kind(number) for number in (p.low, p.high, p.step))
        value = p.kind(st.slider(label, low, high, seed, step, key=key, help=p.help))
    address.note(f"{_KNOB}{p.name}", None if value == p.default else str(value))
    return value


def _another(kind: str) -> None:
    """In a callback: other random numbers."""
    for name in NUMBERS:
        force(SCOPE.control(name), random.randint(0, KITS[kind].most))


def _reset(kind: str) -> None:
    """In a callback: every knob as drawn."""
    for p in KITS[kind].params:
        force(_key(kind, p), p.default)


@st.cache_data(max_entries=64, show_spinner=False)
def _shown(name: str, mark: str) -> Shown:
    data = find(name).load(SPLIT)
    image = data.image(0)
    known = digest.of_arrays(image)
    mask = marked(mark, data, 0) if mark else None
    png = pictures.image_png(image, known) if mask is None or not mask.any() else pictures.outlined_png(
        image, mask, f"{known} {mark}")
    return Shown(png, _share(data), "tile" if data.lungs(0) is None else "lungs", data.stored_units(0))


def _share(data: Dataset) -> float | None:
    """How much of the lungs, or where there are none of the picture, is lesion."""
    lesion, lungs = data.lesion(0), data.lungs(0)
    if lesion is None:
        return None
    return float(lesion.sum() / max(1, np.ones_like(lesion).sum() if lungs is None else lungs.sum()))


def _said(shown: Shown) -> str:
    share = "no lesion" if shown.share is None else f"lesion: {shown.share:.1%} of the {shown.of}"
    units = f"; {shown.units.offset:,.0f} to {shown.units.offset + shown.units.scale:,.0f} HU" if shown.units else ""
    return plain(share + units)
