"""Long work as a page shows it: Run and Cancel, how far it is, and what it has so far, growing while one looks."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from engine.attacks.rows import Provenance, Rows
from engine.experiments.gathered import runs_of
from engine.work.jobs import Job, State, jobs
from engine.work.kinds import Task
from engine.work.store import Payload
from pages.ui import own, progress, shell
from pages.ui.scope import Scope
from pages.ui.text import plain

_EVERY = 1.0  # seconds between two looks at what grows
_HERE = "**Run** computes it on this machine."  # what is said beside an example
# What a session remembers of each page: the work shown last, whether it was on the screen yet.
_SHOWN, _DRAWN = "shown task", "drawn"


@dataclass(frozen=True)
class Known:
    """What is known of long work: `found` is its result, or what there is of it so far (None: nothing yet), of which
    `share` is done. `example` is when it was computed (seconds since 1970) where it came with the program. `earlier`:
    the sidebar says something else by now."""

    task: Task
    found: Any
    share: float = 1.0
    example: float | None = None
    earlier: bool = False

    @property
    def complete(self) -> bool:
        return self.share >= 1

    @property
    def there(self) -> bool:
        """Whether there is anything to be shown."""
        return bool(self.runs) if isinstance(self.found, list | tuple) else self.found is not None

    @property
    def runs(self) -> list[Rows]:
        """The runs of which there are rows, where that is what the work gives."""
        return [rows for rows in self.found or () if rows is not None]


def show(scope: Scope, task: Task | None, body: Callable[[Known], None], *, price: str = "", by_itself: bool = False,
         read: Callable[[Payload], Any] = runs_of, so_far: Callable[[Any], Any] = lambda found: found.runs()) -> None:
    """The bar with Run and Cancel, and below it `body`, which draws what is known of `task`, again and again while it
    grows. Where nothing is known of `task`, what was shown last stays.

    `task` is None where the settings make none possible. `by_itself`: it need not wait for a click, when the page is
    opened. An example is computed here when Run is pressed. `read` takes the result from a payload, `so_far` from what
    running work publishes.
    """
    session = st.session_state
    job = None if task is None else jobs().find(task)
    with st.container(key="bar"):
        run, cancel, line = st.columns([1.75, 1.1, 6.6], vertical_alignment="center", gap="small")
    asked = run.button("Run", type="primary", shortcut="Ctrl+Enter", width="stretch", disabled=task is None,
                       key=scope.key("run"))
    first = not session.get(scope.key(_DRAWN))
    session[scope.key(_DRAWN)] = True
    if task is not None and (asked or (first and by_itself and job is None)):
        job = jobs().submit(task, shell.owner(), here=asked)
    running = job is not None and not job.state.over
    if cancel.button("Cancel", disabled=not running, width="stretch", key=scope.key("cancel")) and job is not None:
        jobs().cancel(job, shell.owner())
    if task is not None and (job is not None and job.state in (State.DONE, State.QUEUED, State.RUNNING)):
        session[scope.key(_SHOWN)] = task
        if job.example is None:
            own.note(task.key)
    with line:
        _line(task, job, price, session.get(scope.key(_SHOWN)))
    shown: Task | None = session.get(scope.key(_SHOWN))
    if shown is None:
        return
    if task is None or task.key != shown.key:
        body = _of_earlier(body)
    known = jobs().find(shown)
    if known is not None and not known.state.over:
        _growing(known, body, so_far)
    elif known is not None and known.payload is not None:
        _whole(known, body, read, _HERE)
    elif known is not None and known.found is not None and (partly := _partly(known, so_far)).there:
        body(partly)
    elif (example := jobs().kept(shown)) is not None and example.payload is not None:  # the run of it was cancelled
        _whole(example, body, read, _HERE)


def _of_earlier(body: Callable[[Known], None]) -> Callable[[Known], None]:
    """The same, told that the sidebar says something else by now."""
    return lambda known: body(replace(known, earlier=True))


def inline(scope: Scope, name: str, task: Task, body: Callable[[Known], None], *, explained: str, label: str,
           by_itself: bool = False, read: Callable[[Payload], Any] = runs_of,
           so_far: Callable[[Any], Any] = lambda found: found.runs()) -> None:
    """The same for work in the middle of a page, which its own button `label` starts; `explained` stands above it while
    nothing is known. `name` tells the page's pieces of work apart."""
    job = jobs().find(task)
    if job is None or job.state in (State.CANCELLED, State.FAILED):
        if job is not None and job.error:
            st.error(plain(job.error))
        st.caption(plain(explained))
        if not (st.button(label, key=scope.key(f"{name} start")) or (job is None and by_itself)):
            if job is not None and job.found is not None:
                body(_partly(job, so_far))
            return
        jobs().submit(task, shell.owner())
        st.rerun()  # without the button
    if job.state.over and job.payload is not None:
        _whole(job, body, read)
        return
    left, right = st.columns([5, 1], vertical_alignment="center", gap="small")
    with left:
        _progress(job)
    if right.button("Stop", key=scope.key(f"{name} stop"), width="stretch"):
        jobs().cancel(job, shell.owner())
    _growing(job, body, so_far)


def _whole(job: Job, body: Callable[[Known], None], read: Callable[[Payload], Any], besides: str = "") -> None:
    """All of it; of an example, that it is one, and what there is to say `besides`."""
    known = Known(job.task, job.read(read), example=job.example)
    if known.example is not None:
        st.caption(f"{plain(origin(known.example, known.runs[0].provenance))} {besides}")
    body(known)


def origin(created: float, made: Provenance) -> str:
    """Where an example comes from, in a line."""
    day = time.strftime("%Y-%m-%d", time.gmtime(created))
    return (f"A stored example that came with Perturbscope: computed on {day}, {made.device}, torch "
            f"{made.versions['torch']}.")


def _line(task: Task | None, job: Job | None, price: str, shown: Task | None) -> None:
    """One line: how far it is, why there is no result, or what to do to get one."""
    if job is not None and not job.state.over:
        _progress(job)
    elif job is not None and job.state is State.FAILED:
        st.error(plain(job.error))
    elif job is not None and job.state is State.CANCELLED:
        st.info(f"Cancelled. What was computed is kept: **Run** goes on from there. {plain(price)}")
    elif task is not None and job is None:
        words = "Settings changed: press **Run**; below is what was shown before." if shown else "Press **Run**."
        st.info(f"{words} {plain(price)}")
    else:
        st.caption(plain(price))


@st.fragment(run_every=0.4)
def _progress(job: Job) -> None:
    job.watch(shell.owner())
    if job.state.over:
        st.rerun()
    progress.bar(job, job.text)


def _growing(job: Job, body: Callable[[Known], None], so_far: Callable[[Any], Any]) -> None:
    """What there is so far, drawn again and again."""
    st.fragment(lambda: body(_partly(job, so_far)), run_every=_EVERY)()


def _partly(job: Job, so_far: Callable[[Any], Any]) -> Known:
    found = None if job.found is None else so_far(job.found)
    return Known(job.task, found, min(job.fraction, 0.999))
