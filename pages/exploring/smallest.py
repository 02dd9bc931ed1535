"""The smallest epsilon that flips the picture."""

import streamlit as st

from engine.attacks import ATTACKS
from engine.experiments.epsilon.minimal import SEARCH, Minimal, minimal_of, minimal_task
from pages.exploring.run import Run
from pages.exploring.scope import SCOPE
from pages.ui import charts, controls, progress


def show(run: Run) -> None:
    """The search for the smallest budget that flips this picture, started by a button."""
    settings, info = run.settings, ATTACKS[run.settings.attack.attack].info
    if not info.bounded:
        st.caption(f"{info.title} has no epsilon: what it finds is already limited by its own settings.")
        return
    task = minimal_task(settings.source, settings.model, settings.attack, settings.device)
    scale = controls.SCALES[settings.attack.norm]
    high, tolerance = (scale.text(value * scale.factor) for value in SEARCH[settings.attack.norm])
    found = progress.on_request(
        SCOPE, task, "The same attack again and again, halving the interval in which the diagnosis flips: from "
        f"{high} down to {tolerance}.", "Search the smallest epsilon", name="smallest")
    if found is not None:
        _bisection(minimal_of(found), scale)


def _bisection(searched: Minimal, scale: controls.Scale) -> None:
    found, = searched.found
    eps, tries = found.eps, found.tries
    if eps is None:
        st.markdown(f"The model held at every budget up to **{scale.text(searched.high * scale.factor)}**.")
    elif eps == 0:
        st.markdown("There was nothing to break: the model is wrong about this picture as it is"
                    f"{', or refuses it' if searched.spec.defenses else ''}.")
    else:
        st.markdown(f"The diagnosis flips from **{eps * scale.factor:.4g}{scale.unit}**, known to "
                    f"{scale.text(searched.tolerance * scale.factor)}, after {len(tries)} attacks. It is assumed "
                    "that no larger budget fails where a smaller one works.")
    if refused := int(searched.refusals.sum()):
        st.caption(f"The defense refused {refused:,} of the {int(searched.queries.sum()):,} queries.")
    if tries:
        charts.show(charts.bisection([t.eps * scale.factor for t in tries], [t.success for t in tries],
                                     scale.label), key=SCOPE.key("bisection"))
