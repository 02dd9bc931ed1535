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

from engine import digest
from engine.errors import Cancelled, EngineError
from engine.home import home
from engine.progress import Progress
from engine.store import Payload, Store

FORMAT = 1  # raise it when the meaning of a kept result changes: old ones are then computed anew
_REMEMBERED = 64
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
    """Work to be done. `spec` is JSON-able and decides the result; `work` computes it on `device`'s worker."""

    kind: str
    title: str
    spec: dict[str, Any]
    work: Callable[[Progress], Payload]
    device: str = "auto"

    @property
    def key(self) -> str:
        """The name under which the result is kept."""
        return digest.of_spec({"format": FORMAT, "kind": self.kind, "spec": self.spec})


@dataclass
class Job:
    """A task on its way. Pages read it; only its worker writes it."""

    task: Task
    state: State = State.QUEUED
    fraction: float = 0.0
    text: str = "waiting"
    error: str = ""
    note: str = ""
    payload: Payload | None = None
    started: float | None = None
    finished: float | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    owners: set[str] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def key(self) -> str:
        return self.task.key

    def wait(self, seconds: float | None = None) -> "Job":
        """Block until the job is over, at most `seconds`."""
        self.over.wait(seconds)
        return self


class Jobs:
    """The queue. `submit` answers at once; asking for a result that exists costs nothing."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._queues: dict[str, queue.SimpleQueue[Job]] = {}

    def submit(self, task: Task, owner: str = "") -> Job:
        """Queue `task`, or join the job that already does it, or return its kept result.

        `owner` names who asks: a job that several asked for is cancelled only when all of them have.
        """
        found = self.find(task)
        with self._lock:
            job = self._jobs.get(task.key, found)
            if job is None or job.state in (State.CANCELLED, State.FAILED) or job.cancel.is_set():
                job = Job(task)
                self._remember(job)
                self._queue_of(task.device).put(job)
            job.owners.add(owner)
            return job

    def find(self, task: Task) -> Job | None:
        """The job for `task` as far as it is known, in memory or kept; None if nobody asked for it yet."""
        with self._lock:
            if job := self._jobs.get(task.key):
                return job
        payload = self.store.get(task.key)
        if payload is None:
            return None
        job = Job(task, State.DONE, 1.0, "done", payload=payload)
        job.over.set()
        with self._lock:
            return self._jobs.get(task.key) or self._remember(job)

    def cancel(self, job: Job, owner: str = "") -> None:
        """`owner` does not want the job any more; it stops at its next step unless somebody else waits for it."""
        with self._lock:
            job.owners.discard(owner)
            if not job.owners:
                job.cancel.set()

    def _remember(self, job: Job) -> Job:
        self._jobs[job.key] = job
        self._jobs.move_to_end(job.key)
        for key in [k for k, j in self._jobs.items() if j.state.over][: max(0, len(self._jobs) - _REMEMBERED)]:
            del self._jobs[key]
        return job

    def _queue_of(self, device: str) -> "queue.SimpleQueue[Job]":
        if device not in self._queues:
            self._queues[device] = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(self._queues[device],), name=f"worker-{device}", daemon=True).start()
        return self._queues[device]

    def _work(self, jobs: "queue.SimpleQueue[Job]") -> None:
        while True:
            job = jobs.get()
            job.started = time.time()
            try:
                job.state = self._run(job)
            finally:
                job.finished = time.time()
                job.over.set()

    def _run(self, job: Job) -> State:
        def report(fraction: float, text: str) -> None:
            job.fraction, job.text = fraction, text

        if job.cancel.is_set():
            return State.CANCELLED
        job.state = State.RUNNING
        try:
            job.payload = job.task.work(Progress(report, job.cancel))
        except Cancelled:
            return State.CANCELLED
        except EngineError as error:
            job.error = str(error)
            return State.FAILED
        except Exception as error:
            log.exception("job %s failed", job.task.kind)
            job.error = f"something went wrong inside ({type(error).__name__}); the log of the server has the details"
            return State.FAILED
        try:
            self.store.put(job.key, job.task.kind, job.task.title, job.task.spec, job.payload)
        except EngineError as error:
            job.note = str(error)
        return State.DONE


_jobs: Jobs | None = None
_jobs_lock = threading.Lock()


def jobs() -> Jobs:
    """This process's queue, keeping results in PERTURBSCOPE_HOME."""
    global _jobs
    with _jobs_lock:
        if _jobs is None or _jobs.store.folder != home() / "runs":
            _jobs = Jobs(Store(home() / "runs"))
        return _jobs
