"""Every picture of a split in a grid, filtered by class, patient and what a model says, and one of them in detail."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine.data import Dataset
from engine.errors import EngineError
from engine.experiments.datasets.predicting import UNREAD, Predicted, labels_seen, predicting_task
from engine.experiments.sources import opened
from engine.zoo.registry import model_card
from pages.browsing import detail
from pages.browsing.grid import Sprite, Tile, grid, sprite
from pages.browsing.scope import SCOPE
from pages.ui import controls, progress, sources
from pages.ui.address import Address, force
from pages.ui.charts import counted, percent
from pages.ui.text import capital, plain

SETTINGS = ("dataset", "split", "class", "patient", "by", "says", "sheet", "index", *detail.SETTINGS)
PAGE, PAGE_COMPUTED = 60, 24  # pictures at a time; fewer of those that have to be computed first
THUMBNAIL = 96
ANY, RIGHT, WRONG, UNREADABLE = "", "right", "wrong", "unreadable"
_VERDICTS = {ANY: "anything", RIGHT: "the true class", WRONG: "another class", UNREADABLE: "nothing: cannot be read"}
_CLASS = "says "  # before the name of a class


@dataclass(frozen=True, eq=False)
class Said:
    """What a model says of every picture of the split, and the true classes in its words (None: it does not know all).
    """

    found: Predicted
    classes: tuple[str, ...]
    labels: np.ndarray | None

    def wrong(self) -> np.ndarray:
        """Of which pictures it says another class."""
        if self.labels is None:
            return np.zeros(len(self.found.predicted), bool)
        return (self.found.predicted != self.labels) & (self.found.predicted != UNREAD)

    def text(self, index: int) -> str:
        number = int(self.found.predicted[index])
        return "" if number == UNREAD else f"{self.classes[number]} {percent(float(self.found.confidence[index]))}"


def show(address: Address) -> None:
    """The filters, the grid, and the chosen picture beside it."""
    with st.sidebar:
        try:
            data, split = sources.dataset(address)
        except EngineError as error:
            address.carry("split")
            data, wrong = None, capital(error)
    if data is None:
        sources.say(address, [wrong])
        return
    sources.say(address, [])
    with st.sidebar:
        said = _asked(address, data, split)
    numbers = _patients(data.info.name, data.split, data.digest)
    chosen = _filtered(address, data, numbers, said)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        if len(chosen):
            index = _grid(address, data, chosen, said)
        else:
            st.info("No picture is like that. Choose another class, patient or prediction.")
            index = _index(address, data, chosen)
    with right:
        if index is not None:
            detail.show(address, data, index, "" if said is None else said.text(index))
            _whose(numbers, index)


def _asked(address: Address, data: Dataset, split: str) -> Said | None:
    """The model whose predictions are wanted, and those once they are there."""
    names = ["", *(entry.name for entry in sources.fitting(data.info))]
    model = controls.choice(address, "by", "Predictions of", names, "", format_func=lambda name: name or "no model",
                            kind="model", help="A model that knows this data set's classes; it looks at every picture "
                                               "of the split once, and what it says is kept.")
    if not model:
        address.carry("says")
        return None
    try:
        task = predicting_task(data.info.name, split, model)
        payload = progress.on_request(SCOPE, task, f"{model} has not looked at {counted(len(data), 'picture')} of "
                                                   f"{split} yet.", "Let it look", name="predict")
        if payload is None:
            address.carry("says")
            return None
        return Said(Predicted.of(payload), model_card(model).classes, labels_seen(data, model))
    except EngineError as error:
        st.error(plain(capital(error)))
        address.carry("says")
        return None


def _whose(numbers: np.ndarray, index: int) -> None:
    """The way to the other pictures of the same patient."""
    others = int((numbers == numbers[index]).sum()) - 1
    if numbers[index] and others:
        st.button(f"{counted(others, 'more picture')} of patient {numbers[index]}", key=SCOPE.key("same patient"),
                  on_click=force, args=(SCOPE.control("patient"), str(numbers[index])))


def _filtered(address: Address, data: Dataset, numbers: np.ndarray, said: Said | None) -> np.ndarray:
    """The numbers of the pictures that the filters leave."""
    classes, patients, says = st.columns(3, gap="small")
    keep = np.ones(len(data), bool)
    counts = np.bincount(data.labels, minlength=len(data.classes))
    totals = dict(zip(data.classes, counts.tolist(), strict=True))
    with classes:
        name = controls.choice(address, "class", "Class", ["", *data.classes], "",
                               format_func=lambda name: f"{name} ({totals[name]:,})" if name else "all")
    if name:
        keep &= data.labels == data.classes.index(name)
    with patients:
        patient = _patient(address, numbers)
    if patient:
        keep &= numbers == int(patient)
    with says:
        keep &= _says(address, said)
    return np.flatnonzero(keep)


def _patient(address: Address, numbers: np.ndarray) -> str:
    known = np.bincount(numbers)[1:]
    if not len(known):
        address.carry("patient")
        st.selectbox("Patient", ["not known here"], disabled=True, key=SCOPE.key("no patients"))
        return ""
    return controls.choice(address, "patient", "Patient", ["", *map(str, range(1, len(known) + 1))], "",
                           format_func=lambda text: f"patient {text} ({counted(int(known[int(text) - 1]), 'picture')})"
                           if text else f"all {len(known):,}",
                           help="Numbered in the order of their first picture: nobody is named.")


def _says(address: Address, said: Said | None) -> np.ndarray | bool:
    if said is None:
        first = "let it look first" if address.current(SCOPE.control("by")) else "choose a model on the left"
        st.selectbox("The model says", [first], disabled=True, key=SCOPE.key("nothing said"))
        return True
    options = [*_VERDICTS, *(f"{_CLASS}{name}" for name in said.classes)]
    if said.labels is None:
        options = [one for one in options if one not in (RIGHT, WRONG)]
    chosen = controls.choice(address, "says", "The model says", options, ANY,
                             format_func=lambda name: _VERDICTS.get(name, name.removeprefix(_CLASS)))
    predicted = said.found.predicted
    if chosen == ANY:
        return True
    if chosen.startswith(_CLASS):
        return predicted == said.classes.index(chosen.removeprefix(_CLASS))
    return {RIGHT: ~said.wrong() & (predicted != UNREAD), WRONG: said.wrong(), UNREADABLE: predicted == UNREAD}[chosen]


@st.cache_data(max_entries=16, show_spinner=False)
def _patients(name: str, split: str, digest: str) -> np.ndarray:
    """For every picture the number of its patient, from 1 in the order of their first pictures; 0: nobody knows."""
    data = opened(name, split)
    numbers: dict[str, int] = {}
    return np.array([0 if (who := data.patient(i)) is None else numbers.setdefault(who, len(numbers) + 1)
                     for i in range(len(data))], np.int64)


def _index(address: Address, data: Dataset, chosen: np.ndarray) -> int | None:
    """The picture that is looked at: the one that was clicked, or the first."""
    def read(text: str) -> int:
        if not text.isdecimal():
            raise EngineError("it must be the number of a picture")
        return data.checked(int(text))

    first = int(chosen[0]) if len(chosen) else -1
    index = address.value("index", SCOPE.control("index"), read, -1, lambda index: index < len(data))
    address.note("index", str(index) if index >= 0 else None)
    return None if index < 0 and first < 0 else index if index >= 0 else first


def _grid(address: Address, data: Dataset, chosen: np.ndarray, said: Said | None) -> int | None:
    size = PAGE_COMPUTED if data.info.synthetic else PAGE
    pages = -(-len(chosen) // size)
    key, read = SCOPE.control("sheet"), controls.whole(1, pages, f"it must be a page from 1 to {pages}")
    page = address.value("sheet", key, read, 1, lambda page: 1 <= page <= pages)
    address.note("sheet", str(page) if page > 1 else None)
    numbers = chosen[(page - 1) * size:page * size].tolist()
    index = _index(address, data, chosen)
    wrong = said.wrong() if said else None
    tiles = [Tile(number, data.classes[data.labels[number]], said.text(number) if said else "",
                  bool(wrong is not None and wrong[number])) for number in numbers]
    last = (page - 1) * size + len(numbers)
    grid(_sprite(data.info.name, data.split, tuple(numbers), data.digest), tiles, chosen=index,
         badge="SYNTHETIC" if data.info.synthetic else "", page=page, pages=pages,
         range=f"{(page - 1) * size + 1:,}–{last:,} of {len(chosen):,} · page {page:,} of {pages:,}",
         on_pick=lambda number: st.session_state.update({SCOPE.control("index"): number}),
         on_page=lambda number: st.session_state.update({key: min(max(number, 1), pages)}), key=SCOPE.key("grid"))
    return index


@st.cache_data(max_entries=64, show_spinner=False)
def _sprite(name: str, split: str, numbers: tuple[int, ...], digest: str) -> Sprite:
    return sprite(opened(name, split).thumbnails(numbers, THUMBNAIL))
