"""A model that somebody brings along: what its tensors tell, what is assumed of it, a trial, and it is kept."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from engine.data import DATASETS, find
from engine.errors import EngineError
from engine.experiments.arrivals import (
    MOST_MIB,
    PICTURES,
    Arrival,
    Recognised,
    Tried,
    Trying,
    assumed_classes,
    found,
    keep,
    name_for,
    recognising_task,
    trying,
    trying_task,
    uploaded,
)
from engine.explain.methods import NO_HEATMAPS
from engine.work.jobs import State, jobs
from engine.work.kinds import Task
from engine.work.results import Result
from engine.work.room import size_text
from engine.zoo.adopting import NORMALISATIONS, NOTHING_SAID, Named, mean_of, named_of
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.cards import Card
from engine.zoo.registry import SUFFIXES
from engine.zoo.variants import EXPORTED
from engine.zoo.xrayvision import FINDINGS, MEAN, SIZE, STD, is_xrayvision
from pages.browsing.scope import SCOPE
from pages.ui import consent, own, progress, sources
from pages.ui.address import Address
from pages.ui.shell import owner
from pages.ui.text import capital, plain

# What the session remembers: what was brought along, what was wrong with it, and how often the controls were new.
ARRIVAL, TROUBLE, TURN = map(SCOPE.key, ("arrival", "arrival trouble", "arrival turn"))
OPEN = SCOPE.control("bring")
OTHER = "otherwise"
_NO_DATA = ""


def show(address: Address) -> str | None:
    """Everything about the model that is brought along; its name once it was kept."""
    if not own.keeps():
        return None
    arrival: Arrival | None = st.session_state.get(ARRIVAL)
    with st.expander("Bring your own model", key=OPEN, on_change="rerun"):
        _bring()
        if trouble := st.session_state.get(TROUBLE):
            st.error(plain(trouble))
        return None if arrival is None else _about(arrival, address)


def _bring() -> None:
    turn = st.session_state.setdefault(TURN, 0)
    upload, path = SCOPE.key(f"arrival file {turn}"), SCOPE.key(f"arrival path {turn}")
    left, right = st.columns(2, gap="medium", vertical_alignment="bottom")
    with left:
        st.file_uploader(f"A checkpoint ({', '.join(SUFFIXES)}), up to {size_text(MOST_MIB * 2**20)}", key=upload,
                         max_upload_size=MOST_MIB, on_change=_take, args=(upload, True),
                         help="The state_dict() of a network as torchvision builds it, also from DataParallel or "
                              "Lightning, or any network as an exported program (torch.export.save, .pt2). It stays on "
                              "this machine; only tensors and steps are read, and no code in it is run.")
    with right:
        st.text_input("Or the path of one on this machine", key=path, on_change=_take, args=(path, False),
                      placeholder="~/nets/resnet18.pth")


def _take(key: str, is_file: bool) -> None:
    """In a callback: look at what was brought; what is wrong with it becomes a line."""
    session = st.session_state
    given = session[key]
    session.pop(TROUBLE, None)
    session.pop(ARRIVAL, None)
    if not given:
        return
    try:
        if is_file:
            arrival = uploaded(given, given.name)
        else:
            consent.give(given)
            arrival = found(given.strip())
        _forget(recognising_task(arrival))
        session[ARRIVAL] = arrival
    except EngineError as error:
        session[TROUBLE] = capital(error)
    session[OPEN] = True
    session[TURN] += 1  # new controls: these would go on showing what was taken, and keep its bytes


def _forget(task: Task) -> None:
    """What it gave before may be there no more."""
    if (job := jobs().find(task)) is not None:
        jobs().renew(job)


def _done(task: Task) -> Result | None:
    """What a task gives, drawn as it goes on; None until it is there, or where it fails, which is said."""
    job = jobs().find(task)  # one that has failed is not done again: what was uploaded is gone by then
    if job is None or job.state is State.CANCELLED:
        job = jobs().submit(task, owner())
    if not progress.finished(job):
        return None
    if job.state is State.DONE and job.payload is not None:
        kind = Recognised if task.kind == "arrival" else Tried
        return kind.of(job.payload)
    st.error(plain(job.error or "It was stopped; choose the file again."))
    return None


def _about(arrival: Arrival, address: Address) -> str | None:
    known = _done(recognising_task(arrival))
    if not isinstance(known, Recognised):
        return None
    st.markdown(_recognised(arrival, known))
    try:
        asked = _form(arrival, known, address)
    except EngineError as error:
        st.warning(plain(capital(error)))
        return None
    tried = _done(trying_task(asked))
    if not isinstance(tried, Tried):
        return None
    _say(asked, tried)
    return _keep(arrival, asked, tried)


def _recognised(arrival: Arrival, known: Recognised) -> str:
    outputs = f"{known.outputs} output{'s' * (known.outputs > 1)}"
    if known.arch == EXPORTED:
        return (f"**{plain(arrival.named)}** is an **exported program** with {outputs}, for pictures of "
                f"{known.size} x {known.size}: others are brought to that. {capital(NO_HEATMAPS)}; attacks work as on "
                "any other network.")
    return (f"**{plain(arrival.named)}** was recognised as **{ARCHITECTURES[known.arch].title}** "
            f"({plain(known.network.text)}) with {outputs}.")


def _form(arrival: Arrival, known: Recognised, address: Address) -> Trying:
    """What is asked, each with what is taken to be so; raises EngineError."""
    here = _here(address)
    classes, whose = assumed_classes(known, here)
    mark, package = arrival.contents[:16], is_xrayvision(known.network)
    left, middle, right = st.columns([1.1, 1.3, 1.1], gap="medium")
    with left:
        dataset = st.selectbox("Tried on", [*here, _NO_DATA], here.index(whose) if whose else len(here),
                               format_func=lambda name: sources.title(name) if name else "no data set",
                               key=SCOPE.control(f"tried on {mark}"),
                               help=f"{PICTURES} pictures of its test split, spread evenly over it.")
        names = find(dataset).info.classes if dataset else ()
    with middle:
        several = known.outputs > 1 and st.toggle(
            "Its classes do not exclude each other", package, key=SCOPE.control(f"multilabel {mark}"),
            help="A sigmoid each: of several findings each may be there or not. One of them is looked for.")
        # Where the data set has as many classes, its names are those that are most likely.
        assumed = FINDINGS if package else names if dataset and len(names) == max(2, known.outputs) else classes
        text = st.text_area("Its classes, one a line, in the order of its outputs", "\n".join(assumed),
                            key=SCOPE.control(f"classes {mark} {'/'.join(assumed)[:200]}"), height=104)
    with right:
        mean, std = (MEAN, STD) if package else _normalisation(mark)
        if package:
            st.caption("Built as TorchXRayVision's: pictures from -1024 to 1024.")
    said = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not said:
        raise EngineError(f"name its {max(2, known.outputs)} classes, one a line: no data set that is here has as many")
    named = named_of(said, _finding(said, names, mark), names) if several else Named(said)
    if known.channels == 1 and len(mean) > 1:
        mean, std = mean_of(mean), mean_of(std)
    card = Card(arch=known.arch, **vars(named), mean=mean, std=std, size=SIZE if package else known.size,
                head=known.head, channels=known.channels, limits=NOTHING_SAID)
    return trying(arrival, known, card, dataset)


def _finding(findings: tuple[str, ...], known: Sequence[str], mark: str) -> str:
    """Which one is looked for: one that is a class of the data set, unless another is chosen."""
    there, own = [name for name in findings if name], {name.casefold() for name in known}
    first = next((place for place, name in enumerate(there) if name.casefold() in own), 0)
    return str(st.selectbox("Looked for", there, first, key=SCOPE.control(f"finding {mark} {first} {len(there)}")))


def _here(address: Address) -> list[str]:
    """The data sets that it can be tried on, the one that is chosen on this page first."""
    chosen = address.said("dataset")
    names = [name for name in DATASETS if DATASETS[name].missing() is None]
    if chosen and sources.may_open(chosen) and find(chosen).missing() is None:
        names = [chosen, *(name for name in names if name != chosen)]
    return names


def _normalisation(mark: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    options = [*NORMALISATIONS, OTHER]
    name = st.selectbox("Its pictures are", options, key=SCOPE.control(f"normalised {mark}"),
                        help="What the network was trained with. A wrong one costs accuracy, and the trial shows it.")
    if name != OTHER:
        return NORMALISATIONS[name]
    mean = st.text_input("Mean, of each channel in [0, 1]", "0.5, 0.5, 0.5", key=SCOPE.control(f"mean {mark}"))
    std = st.text_input("Standard deviation", "0.25, 0.25, 0.25", key=SCOPE.control(f"std {mark}"))
    return _numbers("mean", mean), _numbers("standard deviation", std)


def _numbers(what: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise EngineError(f"the {what} must be a number, or three with commas between them") from None


def _say(asked: Trying, tried: Tried) -> None:
    """How the trial went, and what it rests on."""
    known = [name for name, values in NORMALISATIONS.items() if values == (asked.mean, asked.std)]
    prepared = known[0] if known else "normalised as you say"
    rests = f"Taken to be so: the classes in this order, and pictures {prepared}."
    if tried.right is None:
        st.info(plain(f"How often it is right is not known: {tried.unknown}. {rests}"))
    else:
        where = f"{tried.pictures} pictures of {asked.dataset}/{asked.split}"
        st.info(plain(f"It is right on {tried.right} of {where}. {rests}"))
    for line in tried.doubts:
        st.warning(plain(capital(line)))
    if not tried.doubts:
        st.caption("Its outputs are logits, they depend on the picture, and gradients are not zero.")


def _keep(arrival: Arrival, asked: Trying, tried: Tried) -> str | None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Its name here", name_for(arrival), max_chars=200,
                             key=SCOPE.control(f"arrival name {arrival.contents[:16]}"))
        wanted = st.button("Keep it among the models", type="primary", key=SCOPE.key("keep arrival"))
    if not wanted:
        return None
    try:
        keep(asked, tried, name.strip())
    except EngineError as error:
        st.error(plain(capital(error)))
        return None
    for task in (recognising_task(arrival), trying_task(asked)):
        _forget(task)
    st.session_state.pop(ARRIVAL)
    return name.strip()

