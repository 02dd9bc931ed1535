"""A finished run, top to bottom: verdict, viewer, probabilities, heatmaps, steps, numbers and files, explanation."""

import streamlit as st

from pages.exploring import (
    against_eps,
    explanation,
    files,
    heatmaps,
    likeness,
    numbers,
    parts,
    remarks,
    smallest,
    spread,
    steps,
    verdict,
)
from pages.exploring.run import Run
from pages.exploring.scope import SCOPE
from pages.ui import charts
from pages.ui.address import Address
from pages.ui.text import plain
from pages.ui.viewer import viewer


def show(run: Run, address: Address) -> None:
    """Everything about a finished run."""
    show_headline(run)
    _details(run, address)


def show_headline(run: Run) -> None:
    """Verdict, remarks, viewer: each in the place where it stood while the attack ran (live.py). Needs no slow library.
    """
    with st.container():
        _headline(run)


def _headline(run: Run) -> None:
    verdict.show(run.explored, run.picture.stored_units)
    with st.container():
        for line in remarks.of(run):
            st.caption(plain(line))
        likeness.say(run)
        spread.say(run)
    explored, said = run.explored, run.explored.probabilities
    viewer(explored.clean, explored.adversarial, original_caption=str(verdict.says(run.classes, said.clean)),
           perturbed_caption=str(verdict.says(run.classes, said.adversarial)), badge=run.badge or None,
           stored_units=run.picture.stored_units, key=SCOPE.key("viewer"))


def _details(run: Run, address: Address) -> None:
    st.markdown("##### What the model says")
    said = run.explored.probabilities
    charts.show(charts.probabilities(run.classes, said.clean, said.adversarial), key=SCOPE.key("probabilities"))
    with st.container():
        spread.show(run)
    with st.container():
        likeness.offer(run)
    # In a container, so that what follows stays in place while the maps are computed.
    with st.container():
        st.markdown("##### Where the model looks")
        heat = heatmaps.show(run, address)
    by_step, search, against, table, how = st.tabs(["Step by step", "Smallest epsilon", "Against epsilon",
                                                    "Numbers and files", "How this attack works"])
    with by_step:
        parts.show(run)
        if run.explored.walk is not None:
            steps.show_walk(run, run.explored.walk)
        else:
            steps.show(run)
    with search:
        smallest.show(run)
    with against:
        against_eps.show(run)
    with table:
        numbers.show(run)
        files.show(run, heat)
    with how:
        explanation.show(run)
