"""Epsilon: how well models hold against the size of a change, and where that is still below what the eye sees."""

import streamlit as st

from engine.attacks.spec import attack_of, cost_of
from engine.errors import EngineError
from engine.experiments.epsilon.ladder import Curves, curves_of, curves_task, paid_for
from engine.experiments.epsilon.lines import ACCURACY
from engine.experiments.openings import EPSILON
from engine.work.kinds import Task
from pages.epsilons import certified, options, parts
from pages.epsilons.parts import View
from pages.epsilons.scope import SCOPE
from pages.ui import choosing, shell, sources, sweeping
from pages.ui.address import Address
from pages.ui.choosing import Chosen, Wants
from pages.ui.text import capital

WANTS = Wants(EPSILON, offers=lambda attack: attack.info.bounded,
              models_help="Several are compared on the same images.")
COSTS_LITTLE = 1500  # gradients and queries up to which a freshly opened page computes by itself


def runs_by_itself(chosen: Chosen, curves: Curves) -> bool:
    """Whether it costs so little that opening the page is reason enough."""
    each = paid_for(curves)
    if any(attack_of(spec).learning_cost(1).queries for spec in each):
        return False
    images = len(chosen.indices) * len(chosen.models)
    return images * sum(cost_of(spec).passes for spec in each) <= COSTS_LITTLE


def page() -> None:
    """The sidebar says what is drawn; the bar starts it, and all that is known of it stands below."""
    address = Address(SCOPE, "dataset")
    task: Task | None = None
    chosen = drawn = None
    view = View(ACCURACY, "symlog")
    price, wrong, by_itself = "", "", False
    with st.sidebar:
        try:
            chosen = choosing.choose(address, WANTS)
            curves = curves_of(chosen.sweep(), options.readings(address), pictures=True)
            view = View(options.measure(address, chosen.data.classes), options.axis(address))
            task = curves_task(curves, chosen.device)
            price, by_itself = chosen.price(paid_for(curves)), runs_by_itself(chosen, curves)
            drawn = certified.wanted(address, chosen)
        except EngineError as error:
            wrong = capital(error)
    top = st.container()
    sweeping.show(SCOPE, task, lambda known: parts.show(known, view), price=price, by_itself=by_itself)
    if chosen is not None and drawn is not None:
        certified.show(chosen, drawn)
    if task is not None:
        address.check_names()
    with top:
        sources.say(address, (wrong, *address.problems))
    address.write(complete=task is not None)


shell.run(page)
