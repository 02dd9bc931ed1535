"""The picture before there is a result: as it is, or as a running attack has left it so far.

Everything stands where the result will stand (outcome.py), so that nothing moves when it comes.
"""

import numpy as np
import streamlit as st

from engine.experiments.sources import Picture, Source, opened, picture, seen_by
from engine.progress import Preview
from engine.work.jobs import BETWEEN_PREVIEWS
from pages.exploring import remarks, verdict
from pages.exploring.run import Run
from pages.exploring.scope import SCOPE
from pages.ui.runs import Settings
from pages.ui.text import plain
from pages.ui.viewer import viewer


def show_chosen(source: Source, settings: Settings | None) -> None:
    """The chosen picture while nothing is known of it but what the controls say."""
    with st.container():
        chosen = picture(source)
        notes = remarks.about(chosen) if settings is None else remarks.foreseen(settings, chosen)
        _stage(chosen, opened(source.dataset, source.split).classes, None, "After the attack it says",
               "Press Run to see what the attack makes of it.", [], notes)


def show(run: Run) -> None:
    """What the running attack has made of its picture; looked at again and again once there is something to see.

    Not before: while PyTorch is imported, every run of a page slows that down.
    """
    if run.job.preview is None:
        with st.container():
            _show(run)
    else:
        st.fragment(_show, run_every=BETWEEN_PREVIEWS)(run)


def _show(run: Run) -> None:
    source, surrogate = run.settings.source, run.settings.attack.surrogate
    preview = run.job.preview
    who = "Now the surrogate says" if surrogate else "Now the model says"
    said = "It appears here as the attack changes it." if preview is None else f"The picture now, at {preview.text}."
    sizes = [] if preview is None else _sizes(run.picture.image, preview.image)
    chosen, dataset = seen_by(run.settings.model, source)  # what is said is said in the model's words
    _stage(chosen, dataset.classes, preview, who, said, sizes, remarks.foreseen(run.settings, run.picture))


def _stage(chosen: Picture, classes: tuple[str, ...], preview: Preview | None, who: str, sentence: str,
           checks: list[str], notes: list[str]) -> None:
    truth = "unknown" if chosen.label is None else classes[chosen.label]
    now = None if preview is None or preview.probabilities is None else verdict.says(classes, preview.probabilities)
    verdict.unfinished(who, truth, now, "\u2026", sentence, checks)
    with st.container():
        for line in notes:
            st.caption(plain(line))
    viewer(chosen.image, None if preview is None else preview.image, original_caption=f"true class {truth}",
           perturbed_caption="what the attack makes of it" if preview is None else str(now or preview.text),
           waiting="after the attack", badge="SYNTHETIC" if chosen.synthetic else None,
           stored_units=chosen.stored_units, key=SCOPE.key("viewer"))


def _sizes(clean: np.ndarray, image: np.ndarray) -> list[str]:
    change = image - clean
    return [f"Largest pixel change so far {verdict.levels(float(np.abs(change).max()))}",
            f"L2 distance so far {float(np.linalg.norm(change)):.3g}"]
