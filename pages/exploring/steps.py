"""An attack step by step, and a black-box attack's walk."""

import numpy as np
import streamlit as st

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.spec import ADAPTIVE, AttackSpec, has_gradients
from engine.experiments.onepicture.explored import Way
from pages.exploring import verdict
from pages.exploring.run import Run
from pages.exploring.scope import SCOPE
from pages.ui import charts, pictures
from pages.ui.charts import counted
from pages.ui.pictures import Figure
from pages.ui.text import plain
from pages.ui.viewer import amplified, auto_gain, strongest_channel


@st.fragment
def show(run: Run) -> None:
    explored, steps = run.explored, run.explored.steps
    last = len(steps.loss) - 1
    step = last
    if last > 0:
        step = st.slider("Step", 0, last, last, key=SCOPE.key(f"step {run.key[:12]}"),
                         help="0 is the start; with a random start that is not the original picture.")
    nearest = min(range(len(steps.shown)), key=lambda place: abs(steps.shown[place] - step))
    image, clean = explored.snapshots[nearest], explored.clean
    gain = auto_gain(strongest_channel(explored.adversarial - clean))
    says = steps.probabilities[step]
    left, right = st.columns([1.2, 1], gap="medium")
    with left:
        pictures.row([
            Figure(f"After step {steps.shown[nearest]} of {last}", str(verdict.says(run.classes, says)),
                   pictures.image_png(image, f"{run.key} {nearest}"), run.badge, exact=True),
            Figure("Perturbation so far",
                   f"{verdict.levels(float(np.abs(image - clean).max()))}, "
                   f"{amplified(strongest_channel(image - clean), gain)}",
                   pictures.difference_png(image - clean, gain, f"{run.key} {nearest}"), run.badge, exact=True),
        ])
    with right:
        title = "loss" if explored.run.spec.target is None else "loss to goal"
        charts.show(charts.steps(run.classes, steps.probabilities, steps.loss, step, title), key=SCOPE.key("steps"))
        if _takes_for_bare(explored.run.spec):
            st.caption("On the way these are the answers of the model without its defense, which the attacker takes "
                       "for all there is; the last is that of the defended model.")
        if run.settings.attack.surrogate:
            st.caption(plain(f"On the way these are the answers of {run.settings.attack.surrogate}; the last is that "
                             f"of {run.settings.model}."))


def _takes_for_bare(spec: AttackSpec) -> bool:
    """Whether the attacker looks at the model without the defense that it stands behind."""
    knows = spec.attacker == ADAPTIVE or not has_gradients(ATTACKS[spec.attack].info.knowledge)
    return bool(spec.defenses) and not knows


def show_walk(run: Run, walk: Way) -> None:
    """A black-box attack as a film strip, and how near it came with how many queries."""
    explored, norm = run.explored, NORMS[run.explored.run.spec.norm]
    frames = [*zip(walk.milestones, explored.film, strict=True)]
    if not frames or frames[-1][0] < walk.queries[-1]:
        frames.append((walk.queries[-1], explored.adversarial))
    figures = []
    for spent, image in frames:
        change = (image - explored.clean).astype(np.float64)
        size = {"linf": f"{np.abs(change).max() * 255:.3g}/255", "l2": f"L2 {np.linalg.norm(change):.3g}",
                "l0": counted(int((change != 0).any(axis=0).sum()), "pixel")}[norm.name]
        figures.append(Figure(f"{spent:,} queries", size,
                              pictures.image_png(image, f"{run.key} film {spent}"), run.badge))
    pictures.row(figures, columns=max(4, len(figures)))
    distances = [None if d is None else d * norm.factor for d in walk.distances]
    charts.show(charts.walk(walk.queries, distances, norm.noun), key=SCOPE.key("walk"))
