"""What the Epsilon page shows of curves that are known, or of as much as is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import streamlit as st

from engine.attacks.rows import Rows
from engine.experiments.epsilon import lines
from engine.experiments.epsilon.curve import by_halving, eps_of
from engine.experiments.epsilon.eyes import LEVEL, Zone, eyes_of, eyes_task, zone_of
from engine.experiments.epsilon.ladder import INDEPENDENT, WORST, Curves, climbs_of
from engine.experiments.epsilon.lines import Line
from engine.experiments.sweeps import Sweep
from engine.work.jobs import State, jobs
from pages.epsilons import figures, options, samples
from pages.epsilons.scope import SCOPE
from pages.ui import figures as shared
from pages.ui import progress, shell, thumbs
from pages.ui.charts import counted, percent
from pages.ui.sweeping import Known
from pages.ui.text import plain
from pages.ui.thumbs import PATIENCE, Cell, Cells


@dataclass(frozen=True)
class View:
    """How it is looked at."""

    measure: str
    axis: str


def show(known: Known, view: View) -> None:
    """Sentences, curves, the danger zone, sample pictures, the pictures behind a point, and all as files."""
    curves: Curves = known.task.spec
    by_reading = {reading: lines.lines(runs) for reading, runs in split(curves, known.found or ()).items()}
    if not any(by_reading.values()):
        st.caption("The first rows come in a moment.")
        return
    worst = by_reading.get(WORST, [])
    eye = _eye(curves, known.complete) if any(line.norm.name == "linf" for line in worst) else None
    zones = [zone_of(line.runs, eye) if eye is not None and line.norm.name == "linf" else None for line in worst]
    _words(worst or by_reading.get(INDEPENDENT, []), zones, known)
    _curves(by_reading, view)
    for line, zone in zip(worst, zones, strict=True):
        if zone is not None and zone.of:
            _danger(line, zone, view)
    if known.complete:
        _pictures(curves, by_reading, known)
        _behind(curves, by_reading, known.task.device)
        _files(curves, known.runs)


def split(curves: Curves, found: Sequence[Rows | None]) -> dict[str, list[Rows]]:
    """The runs there are by reading."""
    count = len(curves.sweep.models) * len(curves.sweep.attacks)
    return {reading: [rows for rows in found[place * count:(place + 1) * count] if rows is not None]
            for place, reading in enumerate(curves.readings)}


def _eye(curves: Curves, complete: bool) -> np.ndarray | None:
    """The eye's eps of every image, once it and all runs are known; it is asked as soon as the page is."""
    sweep = curves.sweep
    task = eyes_task(sweep.dataset, sweep.split, sweep.indices)
    job = jobs().find(task)
    if job is None or job.state is State.CANCELLED:
        job = jobs().submit(task, shell.owner())
    if not complete or not progress.finished(job, PATIENCE) or job.payload is None:
        return None
    return eyes_of(job.payload)


def _words(shown: Sequence[Line], zones: Sequence[Zone | None], known: Known) -> None:
    """Plain sentences, and how much they are made of."""
    total, images = len(known.task.spec.sweep.indices), len(shown[0].runs[0].labels)
    if not known.complete:
        st.caption(f"So far from {counted(images, 'image')} of {total}, {percent(known.share)} of the work; the bands "
                   "are 95 % intervals.")
    for place, line in enumerate(shown):
        said = plain(lines.sentence(line, zones[place] if place < len(zones) else None))
        st.markdown(f"**{said}**" if not place else said)


def _curves(by_reading: dict[str, list[Line]], view: View) -> None:
    """The readings side by side."""
    st.subheader(f"{plain(view.measure)} against epsilon")
    columns = st.columns(len(by_reading), gap="medium")
    # The worst case first: it is what the sentences speak of.
    for column, (reading, shown) in zip(columns, sorted(by_reading.items(), key=lambda one: one[0] != WORST),
                                        strict=True):
        with column:
            st.caption(f"**{options.titles(reading)}**: {plain(options.described(reading).partition(': ')[2])}.")
            if reading == WORST and view.measure == lines.AUC:
                st.caption("An image that is not flipped yet counts as it is.")
            if not shown:
                st.caption("Comes in a moment.")
                continue
            name = f"{view.measure.lower().replace(' ', '-')}-{reading}"
            shared.figure(SCOPE, figures.curves(shown, view.measure, figures.AXES[view.axis]), name,
                          partial(lines.curves_table, shown, view.measure))
    _remarks(by_reading)


def _remarks(by_reading: dict[str, list[Line]]) -> None:
    """What was saved, what is assumed, and why an accuracy rises."""
    for text in dict.fromkeys(text for shown in by_reading.values() for line in shown
                              for text in lines.explained(line)):
        st.caption(plain(f"▲ {text}"))
    if assumed := lines.assumption(by_reading):
        st.caption(plain(assumed))
    for line in by_reading.get(INDEPENDENT, by_reading.get(WORST, [])):
        text = lines.saved(line)
        if not text and len(by_reading) > 1:
            text = f"{line.name}: the worst case is read from the independent runs, and has cost nothing more."
        if text:
            st.caption(plain(text))


def _danger(line: Line, zone: Zone, view: View) -> None:
    """Where this line's model gives way and where the eye sees something."""
    st.subheader(f"The danger zone: {plain(line.name)}")
    counts = lines.histogram(zone, line.runs[0].labels[line.runs[0].attacked], [eps_of(rows) for rows in line.runs])
    left, right = st.columns(2, gap="medium")
    with left:
        drawn = figures.zone(line, zone, figures.AXES[view.axis])
        shared.figure(SCOPE, drawn, f"zone-{line.number + 1}", lambda: lines.zone_table(line, zone))
    with right:
        classes = line.runs[0].classes
        shared.figure(SCOPE, figures.smallest(line, counts, classes), f"smallest-{line.number + 1}",
                      lambda: lines.smallest_table(line, counts, classes))
    st.caption(plain(f"The eye's epsilon is where a change of that size in every pixel would become {LEVEL} by the "
                     "estimate that Explore shows (just-noticeable differences after Chou and Li 1995); no "
                     "perturbation within it shows more. An estimate, not a reader study."))


def _pictures(curves: Curves, by_reading: dict[str, list[Line]], known: Known) -> None:
    """Sample pictures of one line along the curve; they did not come with an example."""
    shown = by_reading.get(WORST) or by_reading[INDEPENDENT]
    names = [line.name for line in shown]
    st.subheader("Pictures along the curve")
    place = 0
    if len(names) > 1:
        place = names.index(st.segmented_control("Of", names, default=names[0], key=SCOPE.key("samples of"),
                                                 label_visibility="collapsed") or names[0])
    line = shown[place]
    reading = samples.reading_of(curves, line)
    if reading == INDEPENDENT:
        line = by_reading[INDEPENDENT][place]
    if WORST not in by_reading and reading != INDEPENDENT:
        st.caption("Choose the worst case, too, to have pictures that were kept.")
        return
    samples.show(curves, line, climbs_of(curves.sweep)[place], reading, known.task.device, known.example is not None)
    st.caption(samples.explained(reading))


def _behind(curves: Curves, by_reading: dict[str, list[Line]], device: str) -> None:
    """The pictures behind a number: those that are flipped at one point of a line."""
    reading = WORST if WORST in by_reading else INDEPENDENT
    shown = by_reading[reading]
    with st.expander("The images that are flipped at a point of the curve"):
        left, right = st.columns(2)
        names = [line.name for line in shown]
        line = shown[names.index(left.selectbox("Line", names, key=SCOPE.key("behind line")))]
        texts = [line.norm.text(eps_of(rows), ".4g") for rows in line.runs]
        place = texts.index(right.selectbox("Epsilon", texts, len(texts) // 2, key=SCOPE.key("behind eps")))
        cells = behind(curves, line, place, reading)
        held = int(line.runs[place].attacked.sum()) - len(cells)
        st.caption(f"{counted(len(cells), 'image is', 'images are')} flipped, {held} hold.")
        if st.toggle("Show them", key=SCOPE.key("behind")):
            thumbs.show(SCOPE, cells, "behind", device)


def behind(curves: Curves, line: Line, place: int, reading: str) -> Cells:
    """The flipped images at a point, each with the run that flipped it: in the worst case that of the smallest eps, in
    the company in which it was tried there."""
    sweep, point = curves.sweep, line.runs[place]
    halved = reading == WORST and INDEPENDENT not in curves.readings and by_halving([point])
    model = sweep.models[climbs_of(sweep)[line.number][0] // len(sweep.attacks)]
    flipped = np.array([rows.success for rows in line.runs])

    def make(some: Sequence[int]) -> list[Cell]:
        runs = [point if reading == INDEPENDENT else line.runs[int(flipped[:, row].argmax())] for row in some]
        return [_cell(sweep, model, run, row, halved) for run, row in zip(runs, some, strict=True)]

    return Cells(np.flatnonzero(flipped[place]).tolist(), make)


def _cell(sweep: Sweep, model: str, run: Rows, row: int, halved: bool) -> Cell:
    """An image of a run, in the batch in which it was attacked: where the worst case was found by halving, those of its
    batch that were tried at this eps."""
    start = row // run.spec.batch * run.spec.batch
    company = [other for other in range(start, min(start + run.spec.batch, len(run.labels)))
               if not halved or run.queries[other]]
    unit = sweep.unit(model, run.spec, [sweep.indices[other] for other in company])
    return Cell(unit, company.index(row), run, row, model)


def _files(curves: Curves, runs: Sequence[Rows]) -> None:
    """Everything to be taken away."""
    st.subheader("To take away")
    shared.rows_downloads(SCOPE, runs, lambda: curves.sweep.images, "epsilon")
