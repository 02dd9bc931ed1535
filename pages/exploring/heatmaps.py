"""Where the model looks, before and after."""

import numpy as np
import streamlit as st

from engine.experiments.onepicture.explore import heatmap_task
from engine.experiments.onepicture.explored import Explained
from engine.explain.methods import CAMS, NO_HEATMAPS, methods_for
from engine.explain.shift import CamShift
from engine.work.jobs import State, jobs
from engine.zoo.registry import model_card
from pages.exploring.run import Run
from pages.exploring.scope import SCOPE
from pages.ui import controls, pictures, progress
from pages.ui.address import Address
from pages.ui.pictures import Figure
from pages.ui.shell import owner
from pages.ui.text import capital, plain


def show(run: Run, address: Address) -> Explained | None:
    known = methods_for(model_card(run.settings.model).arch)
    if not known:
        st.info(f"{capital(NO_HEATMAPS)}. Everything else here works as with other models.")
        return None
    layers = run.explored.layers
    left, middle, right = st.columns([1, 1, 1], vertical_alignment="bottom")
    with left:
        method = controls.choice(address, "cam", "Method", known, known[0], format_func=lambda name: CAMS[name].title,
                                 help="  \n".join(f"**{CAMS[name].title}**: {CAMS[name].sentence}" for name in known))
    layer = None
    if not CAMS[method].rolls_out:
        with middle:
            layer = controls.choice(address, "layer", "Layer", layers, layers[0],
                                    help="Late layers see meaning and coarse places, early ones edges and fine places.")
    lesion = run.picture.lesion
    outlined = False
    if lesion is not None:
        outlined = right.toggle("Outline the true lesion", key=SCOPE.control("outline"),
                                help="Phantoms are computed, so where the disease lies is known.")
    job = jobs().submit(heatmap_task(run.job.task, method, layer), owner())
    if not progress.finished(job):
        return None
    if job.state is not State.DONE or job.payload is None:
        st.error(plain(job.error or "The heatmaps were cancelled; choose another method to compute them again."))
        return None
    explained = Explained.of(job.payload)
    _row(run, explained, job.key, lesion, outlined)
    return explained


def _row(run: Run, heat: Explained, key: str, lesion: np.ndarray | None, outlined: bool) -> None:
    clean, names = run.explored.clean, [run.classes[index] for index in heat.classes]
    on_lesion = heat.on_lesion or (None, None)
    pictures.row([
        Figure("Before", _caption(names[0], on_lesion[0]),
               pictures.heat_png(clean, heat.before, lesion, outlined, f"{key} before"), run.badge,
               scale=(pictures.INFERNO_CSS, "ignored", "what counts most")),
        Figure("After the attack", _caption(names[1], on_lesion[1]),
               pictures.heat_png(run.explored.adversarial, heat.after, lesion, outlined, f"{key} after"), run.badge,
               scale=(pictures.INFERNO_CSS, "ignored", "what counts most")),
        Figure("Change", _shift_caption(heat.shift),
               pictures.heat_change_png(clean, heat.after - heat.before, lesion, outlined, f"{key} change"), run.badge,
               scale=(pictures.CHANGE_CSS, "attention went", "attention came")),
    ])


def _caption(name: str, on_lesion: float | None) -> str:
    share = "" if on_lesion is None else f" · {on_lesion:.0%} of the heat on the lesion".replace("%", " %")
    return f"for {name}{share}"


def _shift_caption(shift: CamShift) -> str:
    if shift.correlation is None or shift.overlap is None:
        return "one of the maps is empty: nothing to compare"
    return f"correlation {shift.correlation:.2f} · hottest fifth overlaps {shift.overlap:.0%}".replace("%", " %")
