"""The pictures behind a number: before, after, the difference, what the model says of each; and the way to Explore."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import streamlit as st

from engine.attacks.rows import Rows
from engine.attacks.spec import AttackSpec
from engine.data.base import eight_bit
from engine.errors import EngineError
from engine.experiments.sources import Source
from engine.experiments.sweeps import Sweep
from engine.experiments.units import Unit, images_of, images_task
from engine.work.jobs import State, jobs
from engine.work.kinds import Task
from engine.work.store import Payload
from pages.ui import pictures, progress, runs, shell
from pages.ui.charts import percent
from pages.ui.pictures import Figure
from pages.ui.scope import Scope
from pages.ui.text import capital, in_archive, plain
from pages.ui.viewer import amplified, auto_gain, difference_colours, strongest_channel

PAGE = 6
PATIENCE = 0.3  # seconds: what stands below the pictures must not wait for them, as it is why a visitor clicked


@dataclass(frozen=True, eq=False)
class Cell:
    """One picture behind a number: image `place` of a unit; row `row` of `rows` says what the model made of it, which
    is `model` (default: as the rows call it) and need not be that on which the unit's pictures were made."""

    unit: Unit
    place: int
    rows: Rows
    row: int
    model: str = ""

    @property
    def source(self) -> Source:
        return Source(self.unit.dataset, self.unit.split, self.unit.indices[self.place])


@dataclass(frozen=True, eq=False)
class Cells(Sequence[Cell]):
    """The pictures of the rows numbered `chosen`, which may be thousands: each is made when it is asked for."""

    chosen: Sequence[int]
    make: Callable[[Sequence[int]], list[Cell]]

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, place: int) -> Cell: ...

    @overload
    def __getitem__(self, place: slice) -> list[Cell]: ...

    def __getitem__(self, place: int | slice) -> Cell | list[Cell]:
        if isinstance(place, slice):
            return self.make(self.chosen[place])
        return self.make([self.chosen[place]])[0]


def cells_of(sweep: Sweep, rows: Rows, chosen: Sequence[int]) -> Cells:
    """The pictures of the rows numbered `chosen` of a run of the sweep, all of whose rows are known."""
    model = sweep.model_of(rows)
    return cells_made(sweep, model, rows.spec, rows, chosen, model)


def cells_made(sweep: Sweep, maker: str, attack: AttackSpec, rows: Rows, chosen: Sequence[int], model: str) -> Cells:
    """The same where the sweep has made them by this attack on the model `maker`, and the rows are of `model`."""
    def make(some: Sequence[int]) -> list[Cell]:
        places = sorted({int(row) // attack.batch for row in some})
        units = dict(zip(places, sweep.units(maker, attack, places), strict=True))
        return [Cell(units[row // attack.batch], row % attack.batch, rows, row, model) for row in map(int, some)]

    return Cells(chosen, make)


def show(scope: Scope, cells: Sequence[Cell], name: str, device: str = "auto") -> None:
    """Some of the pictures, with a way to the others; `name` tells the page's galleries apart. Perturbed pictures that
    were not kept are made again, in the same batch, which gives the same ones."""
    if not cells:
        st.caption("There is no such picture.")
        return
    pages = -(-len(cells) // PAGE)
    page = 0
    if pages > 1:
        page = int(st.number_input(f"Six of {len(cells):,} pictures; page", 1, pages, 1, key=scope.key(f"page {name}"),
                                   width=220)) - 1
    shown = cells[page * PAGE:(page + 1) * PAGE]
    tasks = [images_task(cell.unit, device) for cell in shown]
    for task in {task.key: task for task in tasks}.values():
        if not _there(task):
            return
    for start in range(0, len(shown), 2):
        columns = st.columns(2)
        for column, cell, task in zip(columns, shown[start:start + 2], tasks[start:start + 2], strict=False):
            with column:
                _card(cell, task)


def _there(task: Task) -> bool:
    """Whether the pictures are known; if not they are made, and how far that is stands here."""
    job = jobs().find(task)
    if job is None or job.state is State.CANCELLED:
        job = jobs().submit(task, shell.owner())
    if not progress.finished(job, PATIENCE):
        return False
    if job.state is not State.DONE:
        st.error(plain(job.error or "the pictures could not be made; press Run again"))
        return False
    return True


def _card(cell: Cell, task: Task) -> None:
    job = jobs().find(task)
    if job is None or job.payload is None:  # swept out of memory and off the disk meanwhile
        st.caption("This picture is not kept any more.")
        return
    data, source = cell.unit.seen, cell.source
    badge = "SYNTHETIC" if data.info.synthetic else ""
    before, after = _says(cell, cell.rows.logits_clean), _says(cell, cell.rows.logits_adversarial)
    clean, adversarial, difference, how = _drawn(cell, job.payload, f"{task.key} {cell.place}")
    pictures.row([Figure("Original", before, clean, badge), Figure("Perturbed", after, adversarial, badge),
                  Figure("Difference", how, difference)], columns=3)
    with st.container(horizontal=True, vertical_alignment="center"):
        try:
            st.page_link(shell.file("explore"), label="Open in Explore", query_params=_texts(cell),
                         help="This very picture, with everything that can be seen of it.")
        except EngineError as error:  # it came out behind defenses that the page has no controls for
            st.caption(plain(capital(error)))
        truth = cell.rows.classes[cell.rows.labels[cell.row]]
        name = data.item_name(source.index)
        st.caption(plain(f"{name}, true class {truth}"), help=in_archive(name, source.split))


@st.cache_data(max_entries=256, show_spinner=False)
def _drawn(_cell: Cell, _payload: Payload, key: str) -> tuple[bytes, bytes, bytes, str]:
    """Original, perturbed and difference as PNG, and how the last is amplified; `key` says of which picture."""
    clean, adversarial = _cell.unit.seen.image(_cell.source.index), images_of(_payload)[0][_cell.place]
    change = strongest_channel(adversarial - clean)
    gain = auto_gain(change)
    return (pictures.encode(eight_bit(clean)), pictures.encode(eight_bit(adversarial)),
            pictures.encode(difference_colours(change, gain)), amplified(change, gain))


def _says(cell: Cell, logits: np.ndarray) -> str:
    """What the model says, and how sure it is."""
    values = logits[cell.row].astype(np.float64)
    if np.isnan(values).any():
        return "refused"
    odds = np.exp(values - values.max())
    return f"{cell.rows.classes[int(values.argmax())]} {percent(float(odds.max() / odds.sum()))}"


def _texts(cell: Cell) -> dict[str, str]:
    """Explore's address for the picture as it came out in its batch."""
    shown = runs.of_unit(replace(cell.unit, shown=cell.place), "auto")
    model = cell.model or cell.rows.provenance.model
    return runs.texts(replace(shown, model=model, attack=cell.rows.spec), cell.rows.classes)
