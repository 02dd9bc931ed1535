"""Transfer: what is made on one model, shown to others: who fools whom, and why."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from engine.attacks.spec import cost_of
from engine.errors import EngineError
from engine.experiments.config import config_text
from engine.experiments.transfers.alignment import Alignment, alignment_task
from engine.experiments.transfers.transfer import Transfer, transfer_task
from engine.experiments.transfers.transferred import Cell, Matrix, Relation, long, matrices
from engine.experiments.transfers.words import attack_title, explained, readable, remarks, sentences, short
from engine.work.jobs import State, jobs
from engine.work.kinds import Task
from pages.transferring import figures as plots
from pages.transferring.choosing import WANTS, transfer
from pages.transferring.options import settings_of_transfer
from pages.transferring.scope import SCOPE
from pages.ui import choosing, figures, progress, shell, sources, sweeping, thumbs
from pages.ui.address import Address
from pages.ui.choosing import Chosen
from pages.ui.sweeping import Known
from pages.ui.text import capital, plain

COSTS_LITTLE = 600  # gradients and queries, up to which a freshly opened page computes by itself
FOOLED, HELD, ALL = "fooled", "not fooled", "fool all models"


def body(known: Known) -> None:
    """What is known, as far as what it is about is still here."""
    try:
        _drawn(known)
    except EngineError as error:  # a model or data set that has gone since
        st.error(plain(error))


def _drawn(known: Known) -> None:
    """From the plain words down to the pictures."""
    asked: Transfer = known.task.spec
    runs = known.found or [None] * (len(asked.attacks) * len(asked.sources) * len(asked.targets))
    found = matrices(asked, runs)
    matrix = _one_of(found)
    names = short((*asked.sources, *asked.targets))
    _words(known, matrix)
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.markdown("##### Who fools whom")
        event = figures.figure(SCOPE, plots.heat(matrix, names), "transfer",
                               partial(readable, found) if known.complete else None, on_select="rerun",
                               selection_mode="points")
        clicked = plots.clicked(matrix, event["selection"]["points"])  # type: ignore[index]
    with right:
        st.markdown("##### How alike their gradients are")
        _alignment(known, matrix)
    if len(found) > 1:
        st.markdown("##### On models that the attacker never saw")
        figures.figure(SCOPE, plots.means(found), "transfer-means",
                       partial(_means, found) if known.complete else None)
    if known.complete:
        _pictures(known, matrix, clicked)
        _numbers(known, found)


def _one_of(found: list[Matrix]) -> Matrix:
    """The matrix that is shown, where there are several."""
    if len(found) == 1:
        return found[0]
    attacks = [matrix.attack for matrix in found]
    place = st.segmented_control("Attack", range(len(found)), default=0, key=SCOPE.key(f"matrix of {len(found)}"),
                                 required=True, label_visibility="collapsed",
                                 format_func=lambda place: attack_title(attacks[place], attacks))
    return found[place]


def _words(known: Known, matrix: Matrix) -> None:
    """What the numbers mean, for who does not want to read them."""
    said = list(sentences(matrix))
    if said:
        st.markdown(f"**{plain(said[0])}** {plain(' '.join(said[1:]))}")
    if not known.complete:
        counted = max((cell.fooled.of for cell in matrix.pairs), default=0)
        st.caption(f"{known.share:.0%} done: true of the {counted} images so far.".replace("%", " %"))


def _alignment(known: Known, matrix: Matrix) -> None:
    """The cosines between the models' gradients on the same images, computed by themselves once the rest is done."""
    asked: Transfer = known.task.spec
    if len(asked.models) < 2:
        return
    task = alignment_task(asked.dataset, asked.split, asked.indices, asked.models, asked.names, known.task.device)
    job = jobs().find(task)
    if job is None or job.state is State.CANCELLED:
        if not known.complete:
            st.caption("Computed when the rest is done.")
            return
        job = jobs().submit(task, shell.owner())
    if known.complete and not progress.finished(job):
        return
    if job.error:
        st.error(plain(job.error))
    elif job.payload is not None:
        found = Alignment.of(job.payload)
        figures.figure(SCOPE, plots.alignment(found, short(found.models)), "alignment", lambda: _cosines(found))
        st.caption(plain(explained(found, matrix)))


def _cosines(found: Alignment) -> pd.DataFrame:
    rows = [{"model": one, "other": found.models[other], "cosine": cosine.mean, "low": cosine.low, "high": cosine.high,
             "images": cosine.of}
            for one, own in zip(found.models, found.matrix(), strict=True) for other, cosine in enumerate(own)]
    return pd.DataFrame(rows)


def _means(found: list[Matrix]) -> pd.DataFrame:
    attacks = [matrix.attack for matrix in found]
    return pd.DataFrame([{"attack": attack_title(matrix.attack, attacks), "mean": matrix.elsewhere.rate,
                          "low": matrix.elsewhere.low, "high": matrix.elsewhere.high, "pairs": matrix.elsewhere.pairs}
                         for matrix in found])


def _pictures(known: Known, matrix: Matrix, clicked: Cell | None) -> None:
    """The images of a pair of models: of the cell that was clicked, or of one chosen here."""
    asked: Transfer = known.task.spec
    names = short((*asked.sources, *asked.targets))
    cells = matrix.pairs
    chosen = SCOPE.key("pair")
    if clicked is not None and st.session_state.get(SCOPE.key("clicked")) != clicked:
        st.session_state[chosen] = cells.index(clicked)
    st.session_state[SCOPE.key("clicked")] = clicked
    if st.session_state.get(chosen, 0) >= len(cells) or chosen not in st.session_state:
        st.session_state[chosen] = next((place for place, cell in enumerate(cells)
                                         if cell.relation is Relation.OTHER), 0)
    st.markdown("##### The images behind a number")
    first, second = st.columns([2, 3], vertical_alignment="bottom")
    place = first.selectbox("Pair (or click a cell above)", range(len(cells)), key=chosen,
                            format_func=lambda at: f"made on {names[cells[at].source]}, shown to "
                                                   f"{names[cells[at].target]}")
    which = second.segmented_control("Which", [FOOLED, HELD, ALL], default=FOOLED, required=True,
                                     key=SCOPE.key("which"), label_visibility="collapsed")
    thumbs.show(SCOPE, cells_of(known, matrix, cells[place], which), "pair", known.task.device)


def cells_of(known: Known, matrix: Matrix, cell: Cell, which: str) -> thumbs.Cells:
    """The pictures of a pair that fool the target, or do not though they count, or fool every target."""
    asked: Transfer = known.task.spec
    attack, source = asked.attacks.index(matrix.attack), asked.sources.index(cell.source)
    run = asked.run(attack, source, asked.targets.index(cell.target))
    rows = known.found[run]
    numbers = {FOOLED: np.flatnonzero(rows.success), HELD: np.flatnonzero(rows.attacked & ~rows.success),
               ALL: np.array(matrix.everyone[source].rows, int)}[which]
    making, spec = asked.making(run)
    return thumbs.cells_made(making, making.models[0], spec, rows, numbers.tolist(), cell.target)


def _numbers(known: Known, found: list[Matrix]) -> None:
    """Every pair as a line, and the rows of every image."""
    asked: Transfer = known.task.spec
    st.markdown("##### Every pair")
    figures.table(SCOPE, long(found), "pairs", column_config=dict.fromkeys(
        ("success", "low", "high", "success_both_right"), st.column_config.NumberColumn(format="percent")))
    figures.rows_downloads(SCOPE, known.runs, lambda: asked.images, "transfer")
    st.download_button("sweep.toml", lambda: config_text("transfer", settings_of_transfer(asked)),
                       file_name="sweep.toml", on_click="ignore", type="tertiary", key=SCOPE.key("sweep file"),
                       help="Repeats this: python -m engine transfer --config sweep.toml --out transfer")
    if lines := list(remarks(asked, known.runs)):
        with st.expander(f"To be known besides ({len(lines)})"):
            for line in lines:
                st.caption(plain(line))


def page() -> None:
    """The sidebar chooses, the main area shows; on opening, a small example."""
    address = Address(SCOPE, "dataset")
    task: Task | None = None
    wrong = price = ""
    with st.sidebar:
        try:
            chosen = choosing.choose(address, WANTS)
            asked = transfer(address, chosen)
            task, price = transfer_task(asked, chosen.device), _price(chosen, asked)
        except EngineError as error:
            wrong = capital(error)
    address.check_names()
    sources.say(address, (wrong, *address.problems))
    st.caption("An attacker seldom has the very model. Images that were made to fool one model are shown to others "
               "here: each is made once, and success is counted over those that the model it is shown to had right.")
    # What a link asks for in vain, or not yet, is not what stands in the controls.
    as_asked = not address.problems and not address.questions
    sweeping.show(SCOPE, task, body, price=price, by_itself=task is not None and as_asked and _little(task.spec))
    address.write(complete=task is not None)


def _price(chosen: Chosen, asked: Transfer) -> str:
    """Of the making, which is what costs."""
    return replace(chosen, models=asked.sources).price()


def _little(asked: Transfer) -> bool:
    """Whether it costs so little that a freshly opened page need not wait for a click."""
    costs = [cost_of(spec) for spec in asked.attacks]
    spent = sum(cost.gradients + cost.queries for cost in costs) * len(asked.indices) * len(asked.sources)
    return spent <= COSTS_LITTLE


shell.run(page)
