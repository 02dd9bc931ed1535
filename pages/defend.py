"""Defend: which defense is worth its price, against attackers who know of it and who do not."""

import streamlit as st

from engine.errors import EngineError
from engine.experiments.defending.judging import defend_task, defended_of
from engine.experiments.openings import DEFEND
from pages.defending import asking, outcome
from pages.defending.scope import SCOPE
from pages.ui import choosing, shell, sources, sweeping
from pages.ui.address import Address
from pages.ui.choosing import Wants
from pages.ui.text import capital

INTRODUCTION = ("A defense protects a model from pictures that were changed to fool it. It costs something: pictures "
                "read wrongly, time, honest pictures refused. What is it worth, against an attacker who does not know "
                "of it, and against one who does?")
WANTS = Wants(DEFEND, models_help="Several are compared. To be trained on attacked pictures (AT), on noisy ones, or on "
                                  "both (ANT) is a defense, too: add such a model. The first, without a defense, is "
                                  "what all others are compared with.", without=("queries",))
COSTS_LITTLE = 400  # passes up to which a freshly opened page computes by itself


def page() -> None:
    """The sidebar says what is judged; the bar starts it, and all that is known of it stands below."""
    address = Address(SCOPE, "dataset")
    task, wrong, price, small = None, "", "", False
    with st.sidebar:
        try:
            chosen = choosing.choose(address, WANTS)
            asked = asking.choose(address, chosen)
            sweep = asked.sweep(chosen)
            asking.checked(sweep)
            task, price = defend_task(sweep, chosen.device), asking.price(sweep, chosen.device)
            small = asking.passes(sweep) <= COSTS_LITTLE and not asked.doubtful
        except EngineError as error:
            wrong = capital(error)
    address.check_names()
    st.markdown(INTRODUCTION)
    sources.say(address, (wrong, *address.problems))
    sweeping.show(SCOPE, task, outcome.show, price=price, by_itself=small, read=defended_of,
                  so_far=lambda growing: growing.now())
    address.write(complete=task is not None)


shell.run(page)
