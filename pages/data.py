"""Data: what is there and what is missing, every picture, phantoms made to order, and the models side by side."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from pages.browsing import models, pictures, sets, workshop
from pages.browsing.scope import SCOPE
from pages.ui import shell
from pages.ui.address import Address
from pages.ui.controls import one_of
from pages.ui.text import plain


@dataclass(frozen=True)
class View:
    """A part of the page: its title, what draws it, and the settings in the address that are its own."""

    title: str
    show: Callable[[Address], None]
    settings: tuple[str, ...] = ()


VIEWS = {
    "sets": View("Data sets", sets.show, sets.SETTINGS),
    "pictures": View("Pictures", pictures.show, pictures.SETTINGS),
    "workshop": View("Phantom workshop", workshop.show, workshop.SETTINGS),
    "models": View("Models", models.show, models.SETTINGS),
}


def page() -> None:
    """One of the views; the others' settings stay in the address."""
    address = Address(SCOPE, "view")
    key, names = SCOPE.control("view"), list(VIEWS)
    seed = address.seed("view", key, one_of("view", names), names[0], lambda name: name in names)
    name = st.segmented_control("View", names, default=seed, key=key, required=True, label_visibility="collapsed",
                                format_func=lambda name: VIEWS[name].title)
    address.note("view", name)
    problems = st.container()
    VIEWS[name].show(address)
    address.carry(*(setting for view in VIEWS.values() for setting in view.settings))
    address.check_names()
    with problems:
        for line in address.problems:
            st.error(plain(line))
    address.write()


shell.run(page)
