"""Long work in the background: one worker thread a device, a queue, progress and cancel, results kept."""

import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from engine import device as devices
from engine import digest
from engine.errors import Cancelled, EngineError
from engine.home import home
from engine.progress import Progress
from engine.work.journal import Accepted, Journal
from engine.work.store import Payload, Store, store_in

FORMAT = 2  # raise it when the meaning of a kept result changes: old ones are then computed anew
PRESENT = 5.0  # seconds after which someone who no longer looks at a job has left (closed or reloaded the page)
_REMEMBERED = 24  # jobs over and still in memory; a payload can weigh 10 MB
log = logging.getLogger(__name__)


class State(Enum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        return self in (State.DONE, State.CANCELLED, State.FAILED)


@dataclass(frozen=True)
class Task:
    """Work to be done. `spec` is JSON-able and decides the result; `work` computes it on `device`'s worker.

    With `keep` the result outlives this process; without, only the memory of it. `asked` is what the page was asked
    for, as in a saved run: with it, work that a killed server lost can be offered again.
    """

    kind: str
    title: str
    spec: dict[str, Any]
    work: Callable[[Progress], Payload]
    device: str = "auto"
    keep: bool = True
    asked: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """The name under which the result is kept."""
        return digest.of_spec({"format": FORMAT, "kind": self.kind, "spec": self.spec})


@dataclass
class Job:
    """A task on its way. Pages read it; only its worker writes what it says of the work."""

    task: Task
    state: State = State.QUEUED
    fraction: float = 0.0
    text: str = "starting"
    error: str = ""
    note: str = ""
    payload: Payload | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    watchers: dict[str, float] = field(default_factory=dict)
    declined: bool = False
    settle: Callable[[str], None] = lambda key: None
    key: str = ""

    def __post_init__(self) -> None:
        self.key = self.task.key

    def wait(self, seconds: float | None = None) -> "Job":
        """Block until the job is over, at most `seconds`."""
        self.over.wait(seconds)
        return self

    def watch(self, owner: str) -> None:
        """`owner` still wants this job; pages say so each time they look."""
        self.watchers[owner] = time.monotonic()

    def wanted(self) -> bool:
        """Whether anyone has looked lately."""
        recent = time.monotonic() - PRESENT
        return any(seen > recent for seen in self.watchers.copy().values())

    def stop_if_declined(self) -> None:
        """Cancel what someone has cancelled and nobody else waits for (any more)."""
        if self.declined and not self.wanted():
            self.cancelled.set()

    def end(self, state: State) -> None:
        self.state = state
        self.settle(self.key)
        self.over.set()


class Jobs:
    """The queue. `submit` answers at once; asking for a result that exists costs nothing.

    `resolve` turns a device's name into that of the processor it means ("auto" -> "cpu"), in the background, since
    finding out can take seconds; it raises EngineError.
    """

    def __init__(self, store: Store, resolve: Callable[[str], str] = str) -> None:
        self.store = store
        self._journal = Journal(store.folder / "journal")
        self._resolve = resolve
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._workers: dict[str, queue.SimpleQueue[Job]] = {}
        self._submitted = _consumer("dispatcher", self._dispatch)

    def submit(self, task: Task, owner: str = "") -> Job:
        """Queue `task`, or join the job that already does it, or return its kept result.

        `owner` names who asks: a job that several people wait for goes on until all of them have cancelled it.
        """
        job = self.find(task)
        with self._lock:
            # Someone else may have been quicker since.
            job = self._jobs.get(task.key, job)
            if job is None or job.state in (State.CANCELLED, State.FAILED) or job.cancelled.is_set():
                job = self._remember(Job(task, settle=self._journal.settle))
                if task.asked is not None:
                    self._journal.accept(Accepted(job.key, task.kind, task.title, task.asked, time.time()))
                self._submitted.put(job)
            job.watch(owner)
            job.declined = False
        return job

    def find(self, task: Task) -> Job | None:
        """The job for `task` as far as it is known, in memory or kept; None if nobody asked for it yet."""
        key = task.key
        with self._lock:
            if job := self._jobs.get(key):
                self._jobs.move_to_end(key)
                return job
        payload = self.store.get(key) if task.keep else None
        if payload is None:
            return None
        job = Job(task, State.DONE, 1.0, "done", payload=payload)
        job.over.set()
        with self._lock:
            return self._jobs.get(key) or self._remember(job)

    def cancel(self, job: Job, owner: str = "") -> None:
        """`owner` does not want the job any more; it stops at its next step, or once nobody else waits for it."""
        with self._lock:
            job.watchers.pop(owner, None)
            if not job.state.over:
                job.declined = True
                job.stop_if_declined()

    def lost(self) -> list[Accepted]:
        """What servers that were stopped or killed had accepted and did not end, and nobody asked for again."""
        lost = []
        for accepted in self._journal.lost():
            with self._lock:
                known = accepted.key in self._jobs
            if known or self.store.has(accepted.key):
                self.forget(accepted)
            else:
                lost.append(accepted)
        return lost

    def forget(self, accepted: Accepted) -> None:
        """Nobody wants this lost work any more."""
        self._journal.forget(accepted.key)

    def _remember(self, job: Job) -> Job:
        self._jobs[job.key] = job
        self._jobs.move_to_end(job.key)
        over = [key for key, known in self._jobs.items() if known.state.over]
        for key in over[:max(0, len(over) - _REMEMBERED)]:
            del self._jobs[key]
        return job

    def _dispatch(self, job: Job) -> None:
        """Hand a job to the worker of its device."""
        job.text = "starting"
        try:
            device = self._resolve(job.task.device)
        except EngineError as error:
            job.error = str(error)
            job.end(State.FAILED)
            return
        job.text = "waiting for its turn"
        if device not in self._workers:
            self._workers[device] = _consumer(f"worker-{device}", _perform_and_keep(self.store))
        self._workers[device].put(job)


def _consumer(name: str, consume: Callable[[Job], None]) -> "queue.SimpleQueue[Job]":
    """A queue whose jobs one new thread consumes, one after another."""
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()

    def loop() -> None:
        while True:
            job = jobs.get()
            try:
                consume(job)
            except Exception as error:
                log.exception("job %s failed", job.task.kind)
                job.error = f"something went wrong inside ({type(error).__name__}); the server's log has the details"
                job.end(State.FAILED)

    devices.keep_heap()  # before the thread takes memory of its own
    threading.Thread(target=loop, name=name, daemon=True).start()
    return jobs


def _perform_and_keep(store: Store) -> Callable[[Job], None]:
    def consume(job: Job) -> None:
        state = _perform(job)
        if state is State.DONE and job.task.keep and job.payload is not None:
            try:
                store.put(job.key, job.task.kind, job.task.title, job.task.spec, job.payload)
            except EngineError as error:
                job.note = str(error)
        job.end(state)

    return consume


def _perform(job: Job) -> State:
    def report(fraction: float, text: str) -> None:
        job.fraction, job.text = fraction, text
        job.stop_if_declined()

    job.stop_if_declined()
    if job.cancelled.is_set():
        return State.CANCELLED
    job.state, job.text = State.RUNNING, "starting"
    try:
        job.payload = job.task.work(Progress(report, job.cancelled))
    except Cancelled:
        return State.CANCELLED
    except EngineError as error:
        job.error = str(error)
        return State.FAILED
    return State.DONE


def _processor(device: str) -> str:
    return str(devices.choose(device))


_jobs: Jobs | None = None
_jobs_lock = threading.Lock()


def jobs() -> Jobs:
    """This process's queue, keeping results in PERTURBSCOPE_HOME."""
    global _jobs
    with _jobs_lock:
        if _jobs is None or _jobs.store.folder != home() / "runs":
            _jobs = Jobs(store_in(home() / "runs"), _processor)
        return _jobs
