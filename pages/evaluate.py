"""Evaluate: what attacks do to models on a data set, in every number and the pictures behind it."""

import streamlit as st

from engine.attacks.spec import attack_of, cost_of
from engine.errors import EngineError
from engine.experiments.openings import EVALUATE
from engine.experiments.sweeps import evaluation_task
from engine.work.kinds import Task
from pages.evaluating import parts
from pages.evaluating.details import Details
from pages.evaluating.scope import SCOPE
from pages.ui import choosing, shell, sources, sweeping
from pages.ui.address import Address
from pages.ui.choosing import Chosen, Wants
from pages.ui.text import capital

WANTS = Wants(EVALUATE, models_help="Several are compared on the same images.")
COSTS_LITTLE = 600  # gradients and queries up to which a freshly opened page computes by itself


def runs_by_itself(chosen: Chosen) -> bool:
    """Whether it costs so little that opening the page is reason enough."""
    each = chosen.specs()
    if any(attack_of(spec).learning_cost(1).queries for spec in each):
        return False
    images = len(chosen.indices) * len(chosen.models)
    return images * sum(cost_of(spec).passes for spec in each) <= COSTS_LITTLE


def page() -> None:
    """The sidebar says what is evaluated; the bar starts it, and all that is known of it stands below."""
    address = Address(SCOPE, "dataset")
    task: Task | None = None
    price, wrong, by_itself = "", "", False
    with st.sidebar:
        try:
            chosen = choosing.choose(address, WANTS)
            task, price = evaluation_task(chosen.sweep(), chosen.device), chosen.price()
            by_itself = runs_by_itself(chosen)
        except EngineError as error:
            wrong = capital(error)
    top, details = st.container(), Details(address)
    sweeping.show(SCOPE, task, lambda known: parts.show(known, details), price=price, by_itself=by_itself)
    details.carry()
    address.check_names()
    with top:
        sources.say(address, (wrong, *address.problems))
    address.write(complete=task is not None)


shell.run(page)
