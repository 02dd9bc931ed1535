"""Explore: one picture, one attack, and everything that can be seen of it."""

import streamlit as st

from engine.attacks import ATTACKS
from engine.attacks.spec import AttackSpec
from engine.errors import EngineError
from engine.experiments.explore import explore_task, picture, warm_task
from engine.jobs import Job, State, Task, jobs
from engine.models.registry import models
from pages.ui import controls, outcome, pictures, progress, shell, sources
from pages.ui.address import Address
from pages.ui.outcome import Run
from pages.ui.runs import Settings

DEFAULT_ATTACK = "pgd"
COSTS_LITTLE = 400  # gradients and queries an image, up to which a freshly opened page attacks by itself
# What this session remembers: the run under way, the one shown, and whether the page has been on the screen.
RUNNING, SHOWN, DRAWN = "explore running", "explore shown", "explore drawn"


def choose(address: Address) -> Settings:
    """Every control, top to bottom; raises EngineError where one makes the rest impossible."""
    dataset, split = sources.dataset(address)
    slot = st.container()
    source = sources.source(address, dataset, split)
    model = sources.model(address, dataset.info)
    attack, device = controls.attack_spec(address, dataset.classes, picture(source).label, DEFAULT_ATTACK)
    address.carry("cam", "layer")
    with slot:
        # Thumbnails take a moment the first time: everything else is on the page before them.
        sources.chooser(dataset, source)
    return Settings(source, model, attack, device)


def runs_by_itself(attack: AttackSpec) -> bool:
    cost = ATTACKS[attack.attack](**attack.params).cost()
    return cost.gradients + cost.queries <= COSTS_LITTLE


def started(settings: Settings, job: Job) -> Run:
    arch = next((entry.card.arch for entry in models() if entry.name == settings.model), "")
    return Run(settings, picture(settings.source), arch, job)


def advance(settings: Settings, task: Task, asked: bool) -> None:
    """Bring the session up to date: start what was asked for, join what runs already, take in what is finished."""
    session = st.session_state
    known = jobs().find(task)
    if asked:
        session[RUNNING] = started(settings, jobs().submit(task, shell.owner()))
    elif known is not None and not known.state.over:
        session[RUNNING] = started(settings, known)
    running: Run | None = session.get(RUNNING)
    if running is not None and running.job.wait(progress.PATIENCE if asked else 0).state.over:
        session[RUNNING] = None
        if running.job.state is State.DONE:
            session[SHOWN] = running
    if known is not None and known.state is State.DONE:
        session[SHOWN] = started(settings, known)


@st.fragment(run_every=0.3)
def first_run(settings: Settings, task: Task) -> None:
    """Start the first attack, or load the model, once the page is on the screen: importing PyTorch takes seconds, in
    which nothing else would get through."""
    if st.session_state.get(DRAWN):
        if runs_by_itself(settings.attack) and jobs().find(task) is None:
            st.session_state[RUNNING] = started(settings, jobs().submit(task, shell.owner()))
        else:
            jobs().submit(warm_task(settings.model, settings.device), shell.owner())
        st.rerun()
    st.session_state[DRAWN] = True
    st.progress(0.0, text="Starting")


def preview(settings: Settings) -> None:
    """The chosen picture while nothing is known of it."""
    chosen = picture(settings.source)
    name = f"true class: {classes(settings)[chosen.label]}" if chosen.label is not None else "true class unknown"
    pictures.row([pictures.Figure("Original", name, pictures.image_png(chosen.image, str(settings.source)),
                                  "SYNTHETIC" if chosen.synthetic else "")], columns=3)


def classes(settings: Settings) -> tuple[str, ...]:
    return next(entry.card.classes for entry in models() if entry.name == settings.model)


def main_area(settings: Settings | None, task: Task | None, address: Address) -> None:
    session = st.session_state
    running: Run | None = session.get(RUNNING)
    shown: Run | None = session.get(SHOWN)
    if running is not None:
        progress.finished(running.job, patience=0)
    elif settings is not None and task is not None:
        last = jobs().find(task)
        if not session.get("explore warm"):
            session["explore warm"] = bool(session.get(DRAWN))
            first_run(settings, task)
        elif last is not None and last.state is State.FAILED:
            st.error(last.error)
        elif last is not None and last.state is State.CANCELLED:
            st.info("Cancelled. Press Run to start again.")
        elif shown is None or shown.settings != settings:
            st.info("Settings changed: press **Run** to see what they do.")
    if shown is not None and (settings is None or shown.settings.source == settings.source):
        outcome.show(shown, address)
    elif settings is not None:
        preview(settings)


def page() -> None:
    address = Address("explore", "explore.dataset")
    settings: Settings | None = None
    task: Task | None = None
    with st.sidebar:
        try:
            settings = choose(address)
            task = explore_task(settings.source, settings.model, settings.attack, settings.device)
        except EngineError as error:
            st.error(str(error))
        with st.container(key="run-bar", horizontal=True):
            asked = st.button("Run", type="primary", shortcut="Ctrl+Enter", width="stretch",
                              disabled=task is None)
            if settings is not None and task is not None:
                advance(settings, task, asked)
            current: Run | None = st.session_state.get(RUNNING)
            if st.button("Cancel", disabled=current is None) and current is not None:
                jobs().cancel(current.job, shell.owner())

    for problem in [*address.problems, sources.trouble()]:
        if problem:
            st.error(problem)
    main_area(settings, task, address)
    if settings is not None:
        address.write()


shell.run(page)
