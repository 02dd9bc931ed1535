"""The smallest epsilon that flips the picture."""

import streamlit as st

from engine.attacks import ATTACKS
from engine.experiments.explore import SEARCH, minimal_task
from engine.experiments.explored import Searched
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
        _bisection(Searched.of(found), scale)


def _bisection(found: Searched, scale: controls.Scale) -> None:
    if found.eps is None:
        st.markdown(f"The model held at every budget up to **{scale.text(found.high * scale.factor)}**.")
    elif found.eps == 0:
        st.markdown("There was nothing to break: the model is wrong about this picture as it is.")
    else:
        st.markdown(f"The diagnosis flips from **{found.eps * scale.factor:.4g}{scale.unit}**, known to "
                    f"{scale.text(found.tolerance * scale.factor)}, after {len(found.tries)} attacks. It is assumed "
                    "that no larger budget fails where a smaller one works.")
    if found.tries:
        charts.show(charts.bisection([t.eps * scale.factor for t in found.tries], [t.success for t in found.tries],
                                     scale.label), key=SCOPE.key("bisection"))
