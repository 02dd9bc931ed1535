"""A data set's classes said to be a model's, where their names differ. The pairs become part of the data set's name,
and so of every run, link and command."""

from collections.abc import Mapping

import streamlit as st

from engine.data import DatasetInfo, find
from engine.data.classmap import guesses, likeness
from engine.data.renamed import PREFIX, Renaming, read
from engine.errors import EngineError
from engine.zoo.registry import models
from pages.ui.address import Address, travel
from pages.ui.text import plain

MOST = 60  # classes with a box each; more are given on the command line
_UNKNOWN = "choose"


def ask(address: Address, info: DatasetInfo, control: str) -> None:
    """Boxes in which every class of the data set is given its name among a model's, and a button that uses them.

    `control` names the page's control for models in the address.
    """
    known = sorted(models(), key=lambda entry: -likeness(info.classes, entry.card.classes))
    if not known or len(info.classes) > MOST:
        return
    scope = address.scope
    with st.expander("Say which class is which", expanded=True):
        classes = {entry.name: entry.card.classes for entry in known}
        model = st.selectbox("The model", list(classes), key=scope.key("renaming model"),
                             help="The one whose names are the most alike comes first.")
        guessed, chosen = guesses(info.classes, classes[model]), {}
        for number, name in enumerate(info.classes):
            options = [_UNKNOWN, *classes[model]]
            chosen[name] = st.selectbox(plain(name), options, options.index(guessed.get(name, _UNKNOWN)),
                                        key=scope.key(f"renaming {info.name} {model} {number}"))
        st.caption("Several may be one class of the model's; none may be left open.")
        st.button("Use these names", key=scope.key("rename"), disabled=_UNKNOWN in chosen.values(), on_click=_use,
                  args=(address, Renaming(*_whole(info.name, chosen)), control, model))


def offer_back(address: Address, name: str) -> None:
    """Where classes were renamed, which, and the way back."""
    if not name.startswith(PREFIX):
        return
    try:
        renaming = read(name)
    except EngineError:
        return  # said where the data set is opened
    st.caption(plain("; ".join(f"{old} is taken for {new}" for old, new in renaming.names.items())))
    st.button("Their own names again", key=address.scope.key("own names"), on_click=_go,
              args=(address, {"dataset": renaming.inner}))


def _whole(name: str, chosen: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The data set as it is without a renaming, and what its own classes are called with both."""
    if not name.startswith(PREFIX):
        return name, dict(chosen)
    before = read(name)
    called = {old: before.names.get(old, old) for old in find(before.inner).info.classes}
    return before.inner, {old: chosen[now] for old, now in called.items()}


def _use(address: Address, renaming: Renaming, control: str, model: str) -> None:
    _go(address, {"dataset": renaming.name, control: model})


def _go(address: Address, texts: dict[str, str]) -> None:
    """In a callback: the same page with these settings instead."""
    travel(address.scope, {**st.query_params.to_dict(), **texts})
