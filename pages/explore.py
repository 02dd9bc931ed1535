"""Explore: one picture, one attack, and everything that can be seen of it."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from engine.attacks.spec import AttackSpec, attack_of, cost_of
from engine.data import Dataset
from engine.errors import EngineError
from engine.experiments.onepicture.explore import explore_task, warm_task
from engine.experiments.openings import EXPLORE
from engine.experiments.sources import Source, opened, picture, seen_by
from engine.work.jobs import Job, State, Task, jobs
from pages.exploring import following, live, mishaps, outcome, whole
from pages.exploring.following import Switch
from pages.exploring.run import Run
from pages.exploring.scope import SCOPE
from pages.ui import controls, defending, progress, shell, sources, wishes
from pages.ui.address import Address
from pages.ui.charts import counted, duration
from pages.ui.runs import Settings
from pages.ui.text import capital, plain

DEFAULT_ATTACK, = EXPLORE.attacks
COSTS_LITTLE = 400  # gradients and queries an image, up to which a freshly opened page attacks by itself
# What this session remembers: the run under way, the one shown, the job that was cancelled, whether the page has been
# on the screen, and whether the worker was set going then.
RUNNING, SHOWN, LEFT, DRAWN, STARTED = map(SCOPE.key, ("running", "shown", "left", "drawn", "started"))


def choose(address: Address, dataset: Dataset, source: Source, bar: controls.Bar) -> Settings:
    """Model and attack for a picture, every control; raises EngineError where one makes the rest impossible."""
    model = sources.model(address, dataset.info, picture(source) if source.upload else None)
    chosen, labelled = seen_by(model, source)
    attack, device = controls.attack_spec(address, labelled.classes, chosen, DEFAULT_ATTACK, sources.others(model),
                                          bar, partial(defending.front, address))
    company = sources.company(address, dataset, source)
    further = sources.further(address, dataset, company)
    address.carry("cam", "layer")
    address.check_names()
    return Settings(source, model, attack, device, company, further)


def runs_by_itself(attack: AttackSpec) -> bool:
    cost = cost_of(attack)
    return cost.gradients + cost.queries <= COSTS_LITTLE and not attack_of(attack).learning_cost(1).queries


def started(settings: Settings, job: Job) -> Run:
    return Run(settings, picture(settings.source), job)


def price(settings: Settings) -> str:
    """What the attack will cost, in one line."""
    chosen, cost = attack_of(settings.attack), following.cost_of(settings)
    spent = [counted(cost.gradients, "gradient")] if cost.gradients else []
    if cost.queries != cost.gradients:
        spent.append(counted(cost.queries, "query", "queries"))
    at = following.pace_of(settings)
    time = "" if at is None else f", about {duration(at.estimate(cost))} here"
    classes = len(opened(settings.source.dataset, settings.source.split).classes)
    first = chosen.learning_cost(chosen.info.others * classes)
    wait = "" if at is None else f", about {duration(at.estimate(first))}"
    learns = f" Learns first, once: at most {first.gradients:,} gradients{wait}." if first.queries else ""
    drawn = f", {settings.attack.draws} draws at every step" if settings.attack.draws > 1 else ""
    return f"{_in_units(settings)}Costs at most {' and '.join(spent)}{drawn}{time}.{learns}"


def _in_units(settings: Settings) -> str:
    """What epsilon is in the units of the picture's file, where it has any."""
    units, attack = picture(settings.source).stored_units, settings.attack
    if units is None or attack.eps is None or attack.norm != "linf":
        return ""
    return f"Epsilon is {attack.eps * abs(units.scale):.3g} {'HU' if units.name == 'HU' else 'stored values'}. "


def advance(settings: Settings, task: Task, asked: bool) -> None:
    """Bring the session up to date: start what was asked for, join what runs already, take in what is finished."""
    session = st.session_state
    known = jobs().find(task)
    if asked:
        following.make_way(settings, session.get(RUNNING))
        whole.make_way()
        known = jobs().submit(task, shell.owner(), here=True)
        session[RUNNING] = started(settings, known)
        session[LEFT] = None
    elif known is not None and not known.state.over and known.key != session.get(LEFT):
        session[RUNNING] = started(settings, known)
    running: Run | None = session.get(RUNNING)
    if running is not None and running.job.wait(progress.PATIENCE if asked else 0).state.over:
        session[RUNNING] = None
        if running.job.state is State.DONE:
            session[SHOWN] = running
    if known is not None and known.state is State.DONE:
        session[SHOWN] = started(settings, known)


def runs_on(settings: Settings, task: Task, switch: Switch) -> bool:
    """Whether the attack is to run without a click: it takes no time, and only epsilon was moved since the run before.
    What the visitor has cancelled waits for a click."""
    session = st.session_state
    before: Run | None = session.get(RUNNING) or session.get(SHOWN)
    if not switch.on or before is None or not following.follow(settings, before.settings):
        return False
    known = jobs().find(task)
    return known is None or (known.state is State.CANCELLED and known.key != session.get(LEFT))


def cancel(job: Job) -> None:
    """For this visitor it is over at once, even where the job goes on for another who waits for the same."""
    jobs().cancel(job, shell.owner())
    st.session_state[RUNNING], st.session_state[LEFT] = None, job.key


@st.fragment(run_every=0.3)
def first_run(settings: Settings, task: Task, attacks: bool) -> None:
    """Start the first attack, or only load the model, once the page is on the screen: importing PyTorch takes seconds,
    in which nothing else would get through."""
    if not st.session_state.get(DRAWN):
        st.session_state[DRAWN] = True
        if attacks:
            st.progress(0.0, text="Starting")
        return
    st.session_state[STARTED] = True
    if attacks:
        st.session_state[RUNNING] = started(settings, jobs().submit(task, shell.owner()))
    else:
        jobs().submit(warm_task(settings.model, settings.device), shell.owner())
    st.rerun()


def going_on(settings: Settings, task: Task, shown: Run | None) -> None:
    """One line: a job's progress, why there is no result, or what to do to get one."""
    running: Run | None = st.session_state.get(RUNNING)
    last = jobs().find(task)
    if running is not None:
        if progress.finished(running.job, patience=0, shows_preview=True):
            st.rerun()  # it came to its end while the page was drawn, and nothing would look at it again
    elif not st.session_state.get(STARTED):
        first_run(settings, task, last is None and runs_by_itself(settings.attack))
    elif last is not None and last.state is State.FAILED:
        st.error(plain(last.error))
    elif last is not None and (last.state is State.CANCELLED or last.key == st.session_state.get(LEFT)):
        st.info("Cancelled. Press **Run** to start again.")
    elif shown is None or shown.settings != settings:
        st.info("Settings changed: press **Run** to see what they do.")


def state_line(settings: Settings, task: Task, shown: Run | None, switch: Switch) -> None:
    """Below the bar, always as high: what is going on, what the attack costs, and whether it runs by itself."""
    with st.container(key="state", horizontal=True, vertical_alignment="center"):
        # In a container, so that the price stays the second thing on the line whether or not there is a first.
        with st.container():
            going_on(settings, task, shown)
        st.caption(price(settings), width="content")
        switch.draw(settings)


def main_area(source: Source | None, settings: Settings | None, task: Task | None, problems: Sequence[str | None],
              address: Address, switch: Switch) -> None:
    """What is wrong, what is going on, then the attack that runs, or the run that is shown, or the chosen picture. The
    same picture at another epsilon, which is soon there, is awaited with the last one."""
    shown: Run | None = st.session_state.get(SHOWN)
    running: Run | None = st.session_state.get(RUNNING)
    with st.container():
        mishaps.show()
        sources.say(address, problems)
        if settings is not None and task is not None:
            state_line(settings, task, shown, switch)
    soon = running is not None and shown is not None and following.follow(running.settings, shown.settings)
    if running is not None and source is not None and running.settings.source == source and not soon:
        live.show(running)
    elif shown is not None and (source is None or shown.settings.source == source):
        if not st.session_state.get(STARTED):  # all else, and what it needs, comes once this is on the screen
            outcome.show_headline(shown)
            return
        outcome.show(shown, address)
        if settings is not None:
            # Of what the controls say now: the chosen epsilon moves on the curve while it is turned.
            whole.show(settings, seen_by(settings.model, settings.source)[0].label)
    elif source is not None:
        live.show_chosen(source, settings)


def buttons(bar: controls.Bar, settings: Settings | None, task: Task | None, broken: bool, switch: Switch) -> None:
    """Run and Cancel, and what they do; `broken`: the page is not set as somebody wished."""
    asked = bar.run.button("Run", type="primary", shortcut="Ctrl+Enter", width="stretch", disabled=task is None)
    if broken:
        wishes.give_up(SCOPE)
    if settings is not None and task is not None:
        wanted = wishes.wanted_again(SCOPE, wishes.MAIN) or asked
        advance(settings, task, wanted or (not broken and runs_on(settings, task, switch)))
    current: Run | None = st.session_state.get(RUNNING)
    if bar.cancel.button("Cancel", disabled=current is None, width="stretch") and current is not None:
        cancel(current.job)


def page() -> None:
    """A bar with what is turned all the time, the sidebar with all other controls, below the bar what they lead to."""
    address = Address(SCOPE, "dataset")
    source: Source | None = None
    settings: Settings | None = None
    task: Task | None = None
    wrong = ""
    bar, switch = controls.bar(), Switch.of(address)
    with st.sidebar:
        try:
            dataset, split = sources.dataset(address)
            slot = st.container()
            source = sources.source(address, dataset, split)
            settings = choose(address, dataset, source, bar)
            task = explore_task(source, settings.model, settings.attack, settings.device, settings.company,
                                settings.further)
        except EngineError as error:
            # Said in the main area: the sidebar is long, and its end often out of sight.
            wrong = capital(error)
        if source is not None:
            with slot:
                # Thumbnails take a moment the first time: everything else is on the page before them.
                sources.chooser(SCOPE, dataset, source)
    buttons(bar, settings, task, broken=task is None or bool(address.problems), switch=switch)
    main_area(source, settings, task, [wrong, *address.problems, sources.trouble(SCOPE)], address, switch)
    address.write(complete=settings is not None)


shell.run(page)
