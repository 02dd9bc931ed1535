"""Sample pictures along the curve: each as it is within the epsilon that a slider says, from what was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine.attacks.rows import Rows
from engine.data import Dataset
from engine.experiments.epsilon.curve import eps_of
from engine.experiments.epsilon.ladder import (
    INDEPENDENT,
    TRIED,
    WORST,
    Curves,
    Ladder,
    first_ladder,
    pictures_of,
    pictures_task,
)
from engine.experiments.epsilon.lines import Line, size
from engine.work.jobs import State, jobs
from pages.epsilons.scope import SCOPE
from pages.ui import pictures, progress, shell
from pages.ui.charts import percent
from pages.ui.pictures import Figure
from pages.ui.text import in_archive, plain
from pages.ui.viewer import amplified, auto_gain, strongest_channel

SHOWN = 3
SIGNS = "fgsm"  # whose picture at a smaller eps is that at a larger one, every pixel moved by less


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture [C, H, W] within some eps, and where it comes from in words."""

    image: np.ndarray
    words: str


def scaled(clean: np.ndarray, largest: np.ndarray, eps: float) -> np.ndarray:
    """What FGSM makes of a picture at `eps`, from what it makes of it at a larger one: exactly the same, as every pixel
    moves as far as it may, in the same direction (or not at all, where it is black or white already)."""
    change = np.float32(eps) * np.sign(largest - clean)
    return np.clip(clean + change, np.clip(clean - np.float32(eps), 0, 1), np.clip(clean + np.float32(eps), 0, 1))


def within(clean: np.ndarray, first: np.ndarray, runs: Sequence[Rows], row: int, place: int) -> Sample:
    """The picture number `row` in the worst case within the eps of run `place`: `first` is what fooled the model at the
    smallest eps."""
    fooled = next((rows for rows in runs[:place + 1] if rows.success[row]), None)
    if fooled is None:
        return Sample(clean, "not flipped by anything tried so far: as it is")
    at = size(Line("", tuple(runs), 0).norm, eps_of(fooled))
    exact = fooled is runs[place]
    return Sample(first, f"as computed at {at}" if exact else f"the nearest computed: it flips already at {at}")


def show(curves: Curves, line: Line, climb: Sequence[int], reading: str, device: str, by_itself: bool) -> None:
    """The slider and the pictures; those that are not kept are made when asked for, or `by_itself`."""
    ladder = first_ladder(curves, climb, reading)
    task = pictures_task(ladder, device)
    job = jobs().find(task)
    if job is None and by_itself:
        job = jobs().submit(task, shell.owner())
    if job is None or job.state in (State.CANCELLED, State.FAILED):
        st.caption("The sample pictures are not kept any more.")
        if not st.button("Make them again", key=SCOPE.key(f"samples {line.name}")):
            return
        job = jobs().submit(task, shell.owner())
    if not progress.finished(job) or job.payload is None:
        return
    _slider(ladder, line, pictures_of(job.payload), task.key)


@st.fragment
def _slider(ladder: Ladder, line: Line, kept: np.ndarray, key: str) -> None:
    data, runs = ladder.unit.seen, line.runs
    right = [row for row in range(len(kept)) if runs[0].attacked[row]] or [0]
    left, other = st.columns([3, 2], gap="medium")
    texts = [line.norm.text(eps_of(rows), ".4g") for rows in runs]
    first = next((place for place, rows in enumerate(runs) if 2 * rows.success[right].sum() >= len(right)), 0)
    chosen = left.select_slider("Along the curve", texts, texts[first], key=SCOPE.key(f"along {key[:12]}"),
                                help="The pictures below are those within this epsilon.")
    names = {row: data.item_name(ladder.unit.indices[row]) for row in right}
    rows = other.multiselect("Sample pictures", list(names), right[:SHOWN], key=SCOPE.key(f"samples {key[:12]}"),
                             format_func=lambda row: names[row], max_selections=2 * SHOWN,
                             help=in_archive(names[right[0]], ladder.unit.split))
    place = texts.index(chosen)
    if rows:
        pictures.row([figure for row in rows for figure in [_figure(ladder, line, kept, key, row, place)]], SHOWN)
        pictures.row([_difference(ladder, line, kept, key, row, place) for row in rows], SHOWN)


def _sample(ladder: Ladder, line: Line, kept: np.ndarray, row: int, place: int) -> tuple[np.ndarray, Sample]:
    clean = ladder.unit.seen.image(ladder.unit.indices[row])
    if ladder.reading == INDEPENDENT:
        eps = eps_of(line.runs[place])
        return clean, Sample(scaled(clean, kept[row], eps), f"exact, scaled to {size(line.norm, eps)}")
    return clean, within(clean, kept[row], line.runs, row, place)


def _figure(ladder: Ladder, line: Line, kept: np.ndarray, key: str, row: int, place: int) -> Figure:
    _, sample = _sample(ladder, line, kept, row, place)
    data = ladder.unit.seen
    return Figure(_says(line.runs[place], row), sample.words,
                  pictures.image_png(sample.image, f"{key} {row} {place}"),
                  "SYNTHETIC" if data.info.synthetic else "")


def _difference(ladder: Ladder, line: Line, kept: np.ndarray, key: str, row: int, place: int) -> Figure:
    clean, sample = _sample(ladder, line, kept, row, place)
    change = sample.image - clean
    gain = auto_gain(strongest_channel(change))
    words = amplified(strongest_channel(change), gain) if np.any(change) else "no difference"
    return Figure(f"true class {_truth(data := ladder.unit.seen, ladder.unit.indices[row])}",
                  f"{data.item_name(ladder.unit.indices[row])}, {words}",
                  pictures.difference_png(change, gain, f"{key} {row} {place}"))


def _truth(data: Dataset, index: int) -> str:
    return data.classes[int(data.labels[index])]


def _says(rows: Rows, row: int) -> str:
    """What the model says of it, and how sure it is."""
    values = rows.logits_adversarial[row].astype(np.float64)
    if np.isnan(values).any():
        return "refused"
    odds = np.exp(values - values.max())
    return f"{rows.classes[int(values.argmax())]} {percent(float(odds.max() / odds.sum()))}"


def reading_of(curves: Curves, line: Line) -> str:
    """From which ladder of the curves a line's pictures are taken."""
    if INDEPENDENT in curves.readings and line.runs[0].spec.attack == SIGNS:
        return INDEPENDENT
    return TRIED if INDEPENDENT in curves.readings else WORST


def explained(reading: str) -> str:
    """Where the pictures come from, in words."""
    return plain("Every pixel of FGSM moves as far as epsilon allows: the pictures are exact at every epsilon, scaled "
                 "from one." if reading == INDEPENDENT else
                 "Each picture is that which fooled the model at the smallest epsilon; below it, as it is. The model's "
                 "words are those that were counted.")
