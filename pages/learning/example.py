"""What is there before anything was trained: how a model that came with the program learned."""

import streamlit as st

from engine.data.shrunk import SEPARATOR
from engine.experiments.trainings import first
from engine.training.sofar import Sofar
from engine.zoo.registry import ModelEntry, models
from pages.learning import figures, outcome
from pages.learning.scope import SCOPE
from pages.ui import figures as shared
from pages.ui.text import plain


def show(dataset: str, defense: str = "") -> None:
    """The model of that data set and with that defense, or else any, with its curves and what came of it."""
    known = [entry for entry in models() if entry.bundled and entry.card.training.get("history")]
    if not known:
        return
    whole = dataset.split(SEPARATOR)[0]
    entry = min(known, key=lambda one: (_defense(one) != defense.partition(":")[0], one.card.dataset != whole,
                                        one.card.arch != first.ARCH))
    st.caption(plain(f"A finished example that came with Perturbscope: how {entry.name} learned from "
                     f"{entry.card.dataset}.") + " **Run** trains your own.")
    _curves(entry)
    outcome.card(entry.card, "example")


def _defense(entry: ModelEntry) -> str:
    return str(entry.card.training.get("defense", {}).get("name", ""))


def _curves(entry: ModelEntry) -> None:
    said = entry.card.training
    history = tuple(said["history"])
    shared.figure(SCOPE, figures.curves(Sofar(len(history), history),
                                        figures.best_epoch(history, said.get("settings", {}))),
                  "example", outcome.history_table(history))
