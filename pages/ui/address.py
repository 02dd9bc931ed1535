"""A page's settings in its address, so that a link reopens the same view and a reload changes nothing."""

from collections.abc import Callable
from typing import Any, TypeVar

import streamlit as st

from engine.errors import MOST, EngineError, UnknownName, shortened
from pages.ui.consent import Unopened
from pages.ui.scope import Scope

T = TypeVar("T")


class Address:
    """The address of one run of a page. Make it first, `seed` each control before drawing it, `note` what it says,
    `write` last. What belongs to it has its keys from `scope`; `first_control` is the name of one that is always drawn.

    Within a session the page's memory goes before the address: it survives a visit to another page, and a click that
    overtakes the browser cannot bring back an older address.

    A control's first value is handed to it as its default, the same in every run. Setting it through the session's
    state instead would be lost where a second run follows before the browser has drawn the first. `force` does set it,
    for controls that are on the page already.
    """

    def __init__(self, scope: Scope, first_control: str) -> None:
        self.scope = scope
        asked = st.query_params.to_dict()
        known: dict[str, str] = self._memory("texts", dict)
        # The controls are new: a new session, or a return from another page.
        self.arrived = scope.control(first_control) not in st.session_state
        # Until a run gets as far as `write`: one that is cut short has not shown what the new settings led to.
        travel: dict[str, str] | None = st.session_state.get(scope.key("travel"))
        self._forcing = travel is not None
        self._linked = self._forcing or (self.arrived and bool(asked) and asked != known)
        self._texts = travel or (asked if self._linked else known)
        self._now: dict[str, str] = {}
        self._noted: set[str] = set()
        self._names: set[str] = set()
        if self.arrived or self._forcing:
            self._forget()

    def _memory(self, name: str, make: Callable[[], Any]) -> Any:
        return st.session_state.setdefault(self.scope.key(name), make())

    def seed(self, name: str, key: str, read: Callable[[str], T], default: T,
             valid: Callable[[T], bool] = lambda _: True) -> T | None:
        """The default of the control `key`: what the address says about `name`. None where the control is on the page
        already and was given a value in this run.

        `read` turns the text into a value and raises EngineError, which becomes a line in `problems`. A control whose
        value is not `valid` any more, because another one has changed, is given `default`.
        """
        self._names.add(name)
        seeds = self._memory("seeds", dict)
        if self._linked or key not in st.session_state:
            seeds[key] = self._read(name, read, default, valid)
            if self._forcing:
                force(key, seeds[key])
        elif not valid(st.session_state[key]):
            force(key, default)
        return None if forced(key) else seeds[key]

    def value(self, name: str, key: str, read: Callable[[str], T], default: T,
              valid: Callable[[T], bool] = lambda _: True) -> T:
        """What the address says about `name` where no control of Streamlit's own keeps it, remembered as `key`."""
        self._names.add(name)
        if self._linked or key not in st.session_state or not valid(st.session_state[key]):
            st.session_state[key] = self._read(name, read, default, valid)
        return st.session_state[key]

    def current(self, key: str) -> Any:
        """The value of a seeded control, drawn already or not."""
        return st.session_state.get(key, self._memory("seeds", dict).get(key))

    def noted(self, name: str) -> str | None:
        """What a control that was drawn in this run says as `name`."""
        return self._now.get(name)

    def left(self, name: str) -> str:
        """What the page's controls said as `name` before this run; "" where a link says all there is to say."""
        return "" if self._linked else self.said(name)

    def said(self, name: str) -> str:
        """What the address, or the page's memory of it, says about `name`, unread: it may be anything."""
        return self._texts.get(name, "")

    def _read(self, name: str, read: Callable[[str], T], default: T, valid: Callable[[T], bool]) -> T:
        if name not in self._texts:
            return default
        try:
            value = read(self._texts[name])
            if not valid(value):
                raise EngineError(f"'{shortened(self._texts[name])}' is not offered here")
            return value
        except Unopened as unopened:
            if self._linked:
                self._memory("questions", dict)[unopened.path] = dict(self._texts)
            return default
        except EngineError as error:
            if self._linked:
                reason = str(error) if str(error).endswith("?") else f"{error}."
                self._complain(f"The address asks for {name} = {shortened(self._texts[name])}, but {reason} "
                               "The default is used.")
            return default

    def _complain(self, line: str) -> None:
        line = shortened(line, MOST)
        problems = self._memory("problems", list)
        if line not in problems:
            problems.append(line)

    @property
    def problems(self) -> list[str]:
        """One line for each setting in the address that could not be used; gone once a control is changed. Until every
        question is answered there are none: what does not fit the default may fit what the link means."""
        return [] if self.questions or self._overtaken() else list(self._memory("problems", list))

    @property
    def questions(self) -> dict[str, dict[str, str]]:
        """The paths that the address asks for and that this visitor must allow first, each with all that it asks."""
        return {} if self._overtaken() else dict(self._memory("questions", dict))

    def _overtaken(self) -> bool:
        """Whether a control that was drawn in this run says something else than the address did."""
        return not self._linked and any(self._texts.get(name) != text for name, text in self._now.items())

    def _forget(self) -> None:
        st.session_state[self.scope.key("problems")], st.session_state[self.scope.key("questions")] = [], {}

    def note(self, name: str, text: str | None) -> None:
        """What the address shall say about `name`; None: nothing."""
        self._noted.add(name)
        self._now.pop(name, None)
        if text is not None:
            self._now[name] = text

    def carry(self, *names: str) -> None:
        """These settings belong to controls that are perhaps not drawn this time; they stay as they are."""
        for name in names:
            self._names.add(name)
            if name in self._texts and name not in self._noted:
                self._now[name] = self._texts[name]

    def give_up(self, *names: str) -> None:
        """What the page's controls said as these is not meant any more: those that are new begin with their default."""
        self._texts = {name: text for name, text in self._texts.items() if name not in names}

    def check_names(self) -> None:
        """Complain about settings in the address that no control has asked for."""
        if self._linked:
            for name in self._texts.keys() - self._names:
                self._complain(f"The address asks for something else: {UnknownName('setting', name, self._names)}")

    def write(self, complete: bool = True) -> None:
        """Show the settings in the browser's address and remember them; where the controls are not `complete`, as one
        of them made the rest impossible, the rest stays as it is."""
        if not complete:
            self._now = {name: text for name, text in self._texts.items() if name not in self._noted} | self._now
        if not self._linked and self._now != self._texts:
            self._forget()
        st.session_state[self.scope.key("texts")] = self._now
        st.session_state.pop(self.scope.key("travel"), None)
        if st.query_params.to_dict() != self._now:
            st.query_params.from_dict(self._now)


def forget(scope: Scope, *names: str) -> None:
    """In a callback: what the page remembers under these names is not meant any more."""
    for name in names:
        st.session_state.get(scope.key("texts"), {}).pop(name, None)


def force(key: str, value: object) -> None:
    """Give a control that is on the page a value; before it is drawn in this run, or in a callback."""
    st.session_state[key] = value
    st.session_state.setdefault("forced", set()).add(key)


def forced(key: str) -> bool:
    """Whether the control was given a value in this run; then it must not have a default besides."""
    keys: set[str] = st.session_state.get("forced", set())
    if key in keys:
        keys.remove(key)
        return True
    return False


def travel(scope: Scope, texts: dict[str, str]) -> None:
    """In a callback: let the page go on with these settings, as if its address had been opened."""
    st.session_state[scope.key("travel")] = texts
