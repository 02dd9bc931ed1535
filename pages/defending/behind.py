"""The pictures behind a point of the trade-off: what an attack fooled the model with."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import streamlit as st

from engine.experiments.defending.judged import Judged, Standing, fooled_within
from engine.experiments.defending.judging import Checked
from engine.experiments.defending.words import names_of
from engine.experiments.queries.walks import plan
from engine.experiments.sweeps import Sweep
from pages.defending.scope import SCOPE
from pages.defending.words import who
from pages.ui import thumbs
from pages.ui.address import force
from pages.ui.charts import counted
from pages.ui.sweeping import Known
from pages.ui.thumbs import Cell, Cells

LOOKED_AT = "looked at"
Point = tuple[int, bool]  # which standing, and whether its attackers know of its defenses


def clicked() -> None:
    """In a callback: the control below says which point was clicked."""
    points = st.session_state[SCOPE.key("figure trade-off")].selection.points
    if points and (told := points[-1].get("customdata")):
        force(SCOPE.control(LOOKED_AT), (int(told[0]), bool(told[1])))


def show(known: Known, found: Judged, standings: Sequence[Standing]) -> None:
    """One of the points, one of the attacks behind it, and on request the pictures that this fooled."""
    st.markdown("###### The pictures behind a point")
    called = _points(standings)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        point: Point = st.selectbox("Point", list(called), key=SCOPE.control(LOOKED_AT),
                                    format_func=lambda point: called.get(point, ""))
        one = standings[point[0]]
        runs, here = found.runs_at(one, point[1]), f"{point} {one.eps}"
        attacks = _called(runs)
        place = st.selectbox("Attack", range(len(runs)), key=SCOPE.control_of("attack", here),
                             format_func=attacks.__getitem__)
    run = runs[place]
    fooled = np.flatnonzero(fooled_within(run, found.norm, one.eps))
    if not len(fooled):
        st.caption("This attack fooled the model with no picture.")
        return
    asked = st.toggle(f"Show {counted(len(fooled), 'picture')} that {'was' if len(fooled) == 1 else 'were'} fooled",
                      key=SCOPE.control_of("pictures", f"{here} {place}"),
                      help="Those that were not kept are made again.")
    if asked:
        thumbs.show(SCOPE, cells(known, run, fooled.tolist()), f"fooled {here} {place}", known.task.device)


def _points(standings: Sequence[Standing]) -> dict[Point, str]:
    """Every point of the plot, and what it is called."""
    found: dict[Point, str] = {}
    for number, (one, name) in enumerate(zip(standings, names_of(standings), strict=True)):
        for _, knows in one.points:
            aware = f"{name}, attacker knows of it" if len(one.points) > 1 else name
            found[number, knows] = aware if knows else f"{name}, attacker does not know of it"
    return found


def _called(runs: Sequence[Checked]) -> list[str]:
    """What each attack is called: with its seed, where there are several of one name."""
    names = list(map(who, runs))
    return [f"{name}, seed {run.spec.seed}" if names.count(name) > 1 else name
            for run, name in zip(runs, names, strict=True)]


def cells(known: Known, run: Checked, chosen: Sequence[int]) -> Cells:
    """The pictures of those rows of a run, each with those that it was attacked together with."""
    sweep, number = cast(Sweep, known.task.spec), known.found.known.index(run)

    def make(some: Sequence[int]) -> list[Cell]:
        units = plan(sweep, known.task.device)[number]
        places = [(unit, place) for unit in units for place in range(len(unit.indices))]
        return [Cell(*places[row], run, row, sweep.model_of(run)) for row in some]

    return Cells(chosen, make)
