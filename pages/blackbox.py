"""Black box: attackers who can only ask; how near, and how often, they come with how many questions."""

import streamlit as st

from engine.attacks.base import Attack
from engine.attacks.spec import has_gradients
from engine.errors import EngineError
from engine.experiments.openings import BLACKBOX, QUERIES
from engine.experiments.queries.walks import Estimate, estimate, query_curve_task, walking, walks_of
from engine.experiments.sweeps import Sweep, sweep_of
from pages.querying import asking, outcome, words
from pages.querying.asking import Asked
from pages.querying.scope import SCOPE
from pages.ui import choosing, shell, sources, sweeping
from pages.ui.address import Address
from pages.ui.choosing import Chosen, Wants
from pages.ui.text import capital

INTRODUCTION = ("Whoever has no access to a model can still ask it, again and again. How many questions does it take "
                "until a picture that looks the same is read wrongly?")
FIRST_QUERIES = ", ".join(map(str, QUERIES))
BY_ITSELF = 640  # queries in all, up to which a freshly opened page walks by itself


def asks(attack: type[Attack]) -> bool:
    """Whether it is an attack without a model of its own."""
    return not has_gradients(attack.info.knowledge)


WANTS = Wants(BLACKBOX, offers=asks, without=("queries",))


def sweep(chosen: Chosen, asked: Asked) -> Sweep:
    """The walks that are chosen; raises EngineError."""
    specs = [walking(spec, asked.queries) for spec in chosen.specs()]
    return sweep_of(chosen.name, chosen.split, chosen.indices, chosen.models, specs)


def cost_of(planned: Sweep, device: str) -> Estimate:
    return estimate(len(planned.indices), planned.models, planned.attacks, device)


def page() -> None:
    """The sidebar with every control, and what they lead to."""
    address = Address(SCOPE, "dataset")
    task, asked, wrong, line, small = None, None, "", "", False
    with st.sidebar:
        try:
            chosen = choosing.choose(address, WANTS)
            asked = asking.choose(address, FIRST_QUERIES, chosen.attackers[0].norm)
            planned = sweep(chosen, asked)
            task, cost = query_curve_task(planned, chosen.device), cost_of(planned, chosen.device)
            line, small = words.price(cost), cost.queries <= BY_ITSELF
        except EngineError as error:
            wrong = capital(error)
    address.check_names()
    st.markdown(INTRODUCTION)
    sources.say(address, (wrong, *address.problems))
    sweeping.show(SCOPE, task, lambda known: outcome.show(known, asked), price=line, by_itself=small, read=walks_of)
    address.write(complete=task is not None)


shell.run(page)
