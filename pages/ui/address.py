"""A page's settings in its address, so that a link reopens the same view and a reload changes nothing."""

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from engine.errors import EngineError, UnknownName

T = TypeVar("T")


class Address:
    """The address of one run of a page. Make it first, `seed` each control before drawing it, `note` what it says,
    `write` last.

    Within a session the page's memory goes before the address: it survives a visit to another page, and a click that
    overtakes the browser cannot bring back an older address.
    """

    def __init__(self, page: str, first_control: str) -> None:
        self._memory = f"{page} address"
        self._trouble = f"{page} address problems"
        asked = st.query_params.to_dict()
        known: dict[str, str] = st.session_state.get(self._memory, {})
        # The controls are new: a new session, or a return from another page.
        self.arrived = first_control not in st.session_state
        self._linked = self.arrived and bool(asked) and asked != known
        self._texts = asked if self._linked else known
        self._now: dict[str, str] = {}
        self._names: set[str] = set()
        if self.arrived:
            st.session_state[self._trouble] = []

    def seed(self, name: str, key: str, read: Callable[[str], T], default: T,
             valid: Callable[[T], bool] = lambda _: True) -> None:
        """Give the control `key` the address's value for `name`, unless it has a valid one already.

        `read` turns the text into a value and raises EngineError, which becomes a line in `problems`.
        """
        self._names.add(name)
        if not self._linked and key in st.session_state and valid(st.session_state[key]):
            return
        st.session_state[key] = self._read(name, read, default, valid)

    def _read(self, name: str, read: Callable[[str], T], default: T, valid: Callable[[T], bool]) -> T:
        if name not in self._texts:
            return default
        try:
            value = read(self._texts[name])
            if not valid(value):
                raise EngineError(f"'{self._texts[name]}' is not offered here")
            return value
        except EngineError as error:
            if self._linked:
                self._complain(f"The address asks for {name} = {self._texts[name]}, but {error}. The default is used.")
            return default

    def _complain(self, line: str) -> None:
        problems = st.session_state[self._trouble]
        if line not in problems:
            problems.append(line)

    @property
    def problems(self) -> list[str]:
        """One line for each setting in the address that could not be used; gone once a control is changed."""
        return list(st.session_state.get(self._trouble, []))

    def note(self, name: str, text: str | None) -> None:
        """What the address shall say about `name`; None: nothing."""
        if text is not None:
            self._now[name] = text

    def write(self) -> None:
        """Show the settings in the browser's address and remember them."""
        if self._linked:
            for name in self._texts.keys() - self._names:
                self._complain(f"The address asks for something else: {UnknownName('setting', name, self._names)}")
        elif self._now != self._texts:
            st.session_state[self._trouble] = []
        st.session_state[self._memory] = self._now
        if st.query_params.to_dict() != self._now:
            st.query_params.from_dict(self._now)

    def carry(self, *names: str) -> None:
        """These settings belong to controls that are not drawn this time; they stay as they are."""
        for name in names:
            self._names.add(name)
            if name in self._texts and name not in self._now:
                self._now[name] = self._texts[name]

    @staticmethod
    def travel(page: str, texts: dict[str, str]) -> None:
        """In a callback: let the page start anew from these settings, as if its address had been opened."""
        for key in [key for key in st.session_state if str(key).startswith(f"{page}.")]:
            del st.session_state[key]
        st.query_params.from_dict(texts)
