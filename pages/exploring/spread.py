"""What a random defense makes of the answers: not one number, but many."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from engine.attacks.spec import is_random
from engine.defenses.base import defenses_from
from engine.errors import EngineError
from engine.experiments.onepicture.answers import DRAWS, Answered, answers_task
from engine.experiments.onepicture.asking import refused
from engine.metrics.rates import interval
from engine.work.jobs import State, jobs
from engine.work.store import Payload
from pages.exploring.run import Run
from pages.exploring.scope import SCOPE
from pages.ui import charts, progress, shell
from pages.ui.charts import percent
from pages.ui.remembered import remembered
from pages.ui.text import capital, literal, plain

REFUSED = "give no answer"
_WHEN = {"before": "before the attack", "after": "after the attack"}


def spreads(run: Run) -> bool:
    """Whether the model answers the same picture in several ways."""
    try:
        return is_random(defenses_from(run.settings.attack.defenses))
    except EngineError:  # defenses that this version does not know
        return False


def say(run: Run) -> None:
    """In one line how the answers are spread, once that is known."""
    job = jobs().find(answers_task(run.job.task, DRAWS)) if spreads(run) else None
    if job is not None and job.payload is not None:
        st.markdown(plain(" ".join(sentences(run.classes, job.read(_answered)))))


def show(run: Run) -> None:
    """All answers, asked for by themselves."""
    if not spreads(run):
        return
    st.caption("The defense is random: the bars above are one answer of many.")
    task = answers_task(run.job.task, DRAWS)
    job = jobs().find(task)
    if job is not None and job.state is State.CANCELLED:
        st.caption(f"The {DRAWS} answers were cancelled.")
        if not st.button("Ask again", key=SCOPE.key("answers again")):
            return
        job = None
    known = job is not None and job.payload is not None
    job = job or jobs().submit(task, shell.owner())
    if not progress.finished(job):
        if st.button("Stop", key=SCOPE.key("answers stop")):
            jobs().cancel(job, shell.owner())
    elif job.payload is None:
        st.error(plain(job.error or "The answers were cancelled."))
    elif not known:
        st.rerun()  # they are told beside the verdict, too
    else:
        charts.show(figure(run.classes, job.read(_answered), run.explored.label), key=SCOPE.key("answers"))


def _answered(payload: Payload) -> Answered:
    return Answered.of(payload)


def sentences(classes: Sequence[str], answered: Answered) -> Iterator[str]:
    """What so many answers say, before and after."""
    for name, when in _WHEN.items():
        said = counts(classes, getattr(answered, name))
        total = sum(said.values())
        (first, most), *others = said.most_common()
        low, high = interval(most, total)
        rest = "".join(f", {count} {_say(what, count)}" for what, count in others)
        yield (f"{capital(when)} {most} of {total} answers {_say(first, most)} ({percent(most / total)}, 95 % interval "
               f"{percent(low)} to {percent(high)}){rest}.")


def _say(what: str, count: int) -> str:
    if what == REFUSED:
        return REFUSED if count != 1 else "gives no answer"
    return f"say {what}" if count != 1 else f"says {what}"


def counts(classes: Sequence[str], answers: np.ndarray) -> Counter[str]:
    """How often each class is said, and how often nothing."""
    return Counter(REFUSED if refused(answer) else classes[int(answer.argmax())] for answer in answers)


@remembered
def figure(classes: Sequence[str], answered: Answered, shown: int) -> go.Figure:
    """The probability of one class in every answer that was given, before and after."""
    drawn = go.Figure()
    for name, colour in (("before", charts.BEFORE), ("after", charts.AFTER)):
        given = [answer for answer in getattr(answered, name) if not refused(answer)]
        drawn.add_violin(x=[float(answer[shown]) for answer in given], y=[_WHEN[name]] * len(given), name=_WHEN[name],
                         orientation="h", points="all", jitter=0.6, pointpos=0, line={"color": colour, "width": 1},
                         spanmode="hard", marker={"size": 5, "opacity": 0.75, "color": colour}, showlegend=False,
                         text=[literal(classes[int(answer.argmax())]) for answer in given], hoveron="points",
                         hovertemplate="%{x:.1%}, says %{text}<extra></extra>")
    drawn.update_layout(
        height=220, margin={"l": 0, "r": 8, "t": 8, "b": 0},
        xaxis={"range": [-0.02, 1.02], "tickformat": ".0%", "showspikes": False,
               "title": f"probability of {literal(classes[shown])}, each of {len(answered.before)} answers"},
        yaxis={"autorange": "reversed", "ticklabelstandoff": 6})
    return drawn
