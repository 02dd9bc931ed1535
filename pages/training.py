"""Training: a student trains a network of her own, watches it learn, sees where it is wrong, and breaks it."""

import streamlit as st

from engine.errors import EngineError
from engine.experiments.trainings.training import Trained, check_name, training_task
from engine.work.jobs import jobs
from engine.work.kinds import Task
from engine.work.store import Payload
from pages.learning import choosing, example, outcome, price
from pages.learning.scope import SCOPE
from pages.ui import own, shell, sources, sweeping
from pages.ui.address import Address
from pages.ui.sweeping import Known
from pages.ui.text import capital


def page() -> None:
    """The sidebar says what is trained; the bar starts it, and all that is known of it stands below."""
    jobs().take_up()
    address = Address(SCOPE, "dataset")
    task: Task | None = None
    cost, wrong = "", ""
    complete = False
    with st.sidebar:
        try:
            chosen = choosing.choose(address)
            complete = True
            if not own.keeps():
                raise EngineError("whoever runs this server can train models: they are there for all visitors")
            task = _task(chosen)
            cost = price.of(chosen, task)
        except EngineError as error:
            wrong, task = capital(error), None
    top = st.container()
    drawn: list[Known] = []

    def body(known: Known) -> None:
        drawn.append(known)
        outcome.show(known)

    sweeping.show(SCOPE, task, body, price=cost, read=_trained, so_far=lambda found: found)
    if not drawn:
        example.show(*((chosen.spec.dataset, chosen.spec.defense) if complete else ("",)))
    choosing.unfinished()
    address.check_names()
    with top:
        sources.say(address, (wrong, *address.problems))
    address.write(complete=complete)


def _trained(payload: Payload) -> Trained | None:
    """What came of it; None where that model was deleted or renamed since."""
    try:
        return Trained.of(payload)
    except EngineError:
        return None


def _task(chosen: choosing.Chosen) -> Task:
    """The training, if its name is free or it is what has that name; raises EngineError."""
    task = training_task(chosen.spec, chosen.device)
    job = jobs().find(task)
    if job is not None and job.payload is not None:
        if _trained(job.payload) is not None:
            return task
        jobs().renew(job)
        job = None
    if job is None or job.state.over:
        check_name(chosen.spec)
    return task


shell.run(page)
