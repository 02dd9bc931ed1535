"""The files that a finished run gives away."""

import io
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from engine.attacks import ATTACKS
from engine.data.stored import MARK, Coloured, Stored
from engine.experiments.onepicture.explored import Explained
from pages.exploring.run import Run
from pages.exploring.scope import SCOPE
from pages.ui import figures, pictures, runs
from pages.ui.text import plain
from pages.ui.viewer import amplified, auto_gain, strongest_channel


def show(run: Run, heatmaps: Explained | None) -> None:
    explored, settings = run.explored, run.settings
    stem = run.stem
    change = strongest_channel(explored.adversarial - explored.clean)
    gain = auto_gain(change)
    st.markdown("**Take it away**")
    with st.container(horizontal=True):
        download("Original", f"{stem}-original.png", lambda: pictures.encode(pictures.eight_bit(explored.clean)),
                  "The picture as the model saw it, 8-bit PNG.")
        download("Perturbed", f"{stem}-perturbed.png",
                  lambda: pictures.encode(pictures.eight_bit(explored.adversarial_8bit)),
                  "The attacked picture rounded to 8 bits.")
        download("Difference", f"{stem}-difference-x{gain:g}.png",
                  lambda: pictures.encode(pictures.difference_colours(change, gain)),
                  f"What was added, {amplified(change, gain)}: blue darker, orange brighter.")
        download("All arrays (.npz)", f"{stem}.npz", lambda: _npz(run, heatmaps),
                  "Original, perturbed, every kept step and the heatmaps in full precision, for NumPy.")
        download("Numbers (.csv)", f"{stem}.csv", lambda: _csv(run),
                  "Loss and class probabilities at every step; of black-box attacks, the distance after queries.")
        download("Run (.json)", f"{stem}.json", lambda: runs.to_json(settings, explored),
                  "Settings, numbers, versions and digests. Give it to 'Use your own picture' to open the run again.")
    _dicom(run)
    if settings.source.upload:
        st.caption("An upload lies on this machine only: open the run's file to repeat it.")
    else:
        st.caption("The same run from the command line:")
        st.code(runs.command(settings, run.classes), language="bash", wrap_lines=True)


_WHERE = {type(None): "as models see it", Stored: "in the file's own pixels and values",
          Coloured: "in the file's own pixels, in RGB colours of which all three move alike"}


def _dicom(run: Run) -> None:
    """The attacked picture as a DICOM file, which is written when it is asked for."""
    stored = run.picture.stored
    with st.container(horizontal=True, vertical_alignment="center"):
        mark = st.toggle("Mark it in the corner", key=SCOPE.control("mark"),
                         help=f"Writes {MARK} into the picture of the DICOM file. A model sees that, too: the verdict "
                              "is of the picture without it. The file's header says it in any case.")

        def written() -> bytes:
            from engine.data.dicom_export import adversarial_dicom  # pydicom takes a while to import

            made_by = ATTACKS[run.settings.attack.attack].info.title
            return adversarial_dicom(run.explored.adversarial, stored, made_by, mark)

        where = _WHERE[type(stored)]
        download("Perturbed (.dcm)", f"{run.stem}-adversarial.dcm", written,
                 f"As DICOM, {where}: derived, with new identifiers, and nothing that tells who it is.")
    if stored is not None and stored.header.before_sharing:
        st.caption(plain(stored.header.before_sharing))


def download(label: str, name: str, data: Any, help: str) -> None:
    st.download_button(label, data, file_name=name, help=help, on_click="ignore", key=SCOPE.key(f"file {label}"))


def _npz(run: Run, heatmaps: Explained | None) -> bytes:
    file = io.BytesIO()
    heat = {} if heatmaps is None else {f"heat_{name}": values for name, values in heatmaps.arrays().items()}
    steps = run.explored.steps
    np.savez(file, **run.explored.arrays(), **heat, probabilities=np.array(steps.probabilities),
             loss=np.array(steps.loss))
    return file.getvalue()


def _csv(run: Run) -> str:
    if (walk := run.explored.walk) is not None:
        return figures.as_csv(pd.DataFrame({"queries": walk.queries, "distance": walk.distances}))
    steps = run.explored.steps
    losses = pd.DataFrame({"step": range(len(steps.loss)), "loss": steps.loss})
    return figures.as_csv(pd.concat([losses, pd.DataFrame(steps.probabilities, columns=run.classes)], axis=1))
