"""Which slice of an upload is looked at, and through which window."""

from functools import lru_cache

import streamlit as st

from engine.data.upload import Choices, choices_of
from engine.data.windows import Window
from engine.errors import EngineError
from pages.ui.address import Address, force
from pages.ui.controls import place, whole
from pages.ui.text import capital

NAMES = ("frame", "window")  # in the address
AS_STORED = ""  # as the file itself says


def chosen(address: Address, upload: str) -> tuple[int, str]:
    """The frame (0: the middle one) and the window of the upload of that digest, with controls where there is something
    to choose; raises EngineError where the upload is not here."""
    frame = _frame(address, upload, _choices(upload))
    return frame, window(address, _key(address, upload, "window"), _choices(upload, frame))


_choices = lru_cache(maxsize=8)(choices_of)


def _key(address: Address, upload: str, name: str) -> str:
    """A control's key: each upload has its own."""
    return address.scope.control(f"{name} {upload[:16]}")


def _frame(address: Address, upload: str, choices: Choices) -> int:
    read = whole(1, choices.frames, f"the upload has {choices.frames} {choices.kind}s, counted from 1")
    key = _key(address, upload, "frame")
    seed = address.seed("frame", key, read, choices.middle)
    if choices.frames == 1:
        return 0
    number = st.slider(capital(choices.kind), 1, choices.frames, seed, key=key, format=f"%d of {choices.frames}",
                       help="The arrow keys go one further." + (" Sorted by where they lie." if choices.kind == "slice"
                                                                else ""))
    address.note("frame", None if number == choices.middle else str(number))
    return 0 if number == choices.middle else int(number)


def window(address: Address, key: str, choices: Choices, seen: str = "the model sees what you see") -> str:
    """The window through which a frame is looked at, with the control `key` where there is something to choose; `seen`
    says what that means to models. Raises EngineError for a window that is none."""
    def read(text: str) -> str:
        choices.look(text)
        return text

    seed = address.seed("window", key, read, AS_STORED)
    if not choices.windows:
        return AS_STORED
    names = [AS_STORED, *choices.windows]
    options = list(dict.fromkeys([*names, address.current(key)]))
    words = {AS_STORED: "As the file says", **choices.windows}
    name: str = st.selectbox("Window", options, place(options, seed), key=key, accept_new_options=True,
                             format_func=lambda name: words.get(name, name),
                             help=f"Which values are shown black and which white: {seen}. Or type centre/width, such "
                                  "as 40/400, perhaps with /linear-exact or /sigmoid.")
    by = choices.look(name).by
    if isinstance(by, Window):
        _by_hand(address, key, name, by, choices)
    address.note("window", name or None)
    return name


def _by_hand(address: Address, key: str, name: str, window: Window, choices: Choices) -> None:
    """The window's centre and width, to be turned."""
    centre, width = f"{key} {choices.unit} {name} centre", f"{key} {choices.unit} {name} width"
    step = max(1.0, float(f"{window.width / 50:.1g}"))

    def follow() -> None:
        try:
            turned = Window(st.session_state[centre], st.session_state[width], window.curve)
        except EngineError:  # as while a number is typed: the window stays as it was
            return
        force(key, str(turned))

    left, right = st.columns(2)
    for column, title, value, one in ((left, "Centre", window.centre, centre), (right, "Width", window.width, width)):
        column.number_input(f"{title}, {choices.unit}", value=round(float(value), 6), step=step, format="%.6g", key=one,
                            on_change=follow)
