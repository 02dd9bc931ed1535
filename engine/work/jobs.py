"""Long work in the background: one worker thread a device, turns, progress and cancel, results kept.

What was accepted and not over when a process died is taken up again by the next.
"""

import logging
import os
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from engine import device as devices
from engine.errors import Cancelled, EngineError
from engine.home import home
from engine.progress import Pace, Preview, Progress
from engine.work.examples import Examples
from engine.work.executors import executor_named
from engine.work.journal import Accepted, Journal
from engine.work.kinds import KINDS, Bench, Task
from engine.work.store import Payload, Store, store_in
from engine.work.turns import Turns

EXECUTOR = "PERTURBSCOPE_EXECUTOR"  # where whoever runs the dashboard says what does the pieces of long work
PRESENT = 5.0  # seconds after which someone who no longer looks at a job has left (closed or reloaded the page)
BETWEEN_PREVIEWS = 1.0  # seconds
_REMEMBERED = 24  # jobs over and still in memory; a payload can weigh 10 MB
T = TypeVar("T")
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


@dataclass
class Job:
    """A task on its way. Pages read it; only its worker writes what it says of the work.

    `owner` is who asked first: whose turn it takes. `steps` is long work that waits for its next turn, `found` what it
    has so far. `example` is when it was computed (seconds since 1970) where it came with the program.
    """

    task: Task
    owner: str = ""
    state: State = State.QUEUED
    fraction: float = 0.0
    text: str = "starting"
    error: str = ""
    note: str = ""
    payload: Payload | None = None
    preview: Preview | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    watchers: dict[str, float] = field(default_factory=dict)
    declined: bool = False
    settle: Callable[[str], None] = lambda key: None
    steps: Generator[None, None, Payload] | None = None
    found: Any = None
    example: float | None = None
    key: str = ""
    _pace: Pace = field(default_factory=Pace)
    _next_preview: float = 0.0
    _read: dict[Callable[[Payload], Any], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key = self.task.key

    def read(self, reads: Callable[[Payload], T]) -> T:
        """What `reads` makes of the payload of a job that is done, which nobody changes: made once for all who look."""
        assert self.payload is not None
        if reads not in self._read:
            self._read[reads] = reads(self.payload)
        found: T = self._read[reads]
        return found

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

    def advance(self, fraction: float, text: str) -> None:
        """The work says how far it is."""
        self.fraction, self.text = fraction, text
        self._pace.mark(fraction)

    def left(self) -> float | None:
        """Seconds until the work is done, as `Pace` foretells them; None while there is too little to go by."""
        return self._pace.left() if self.state is State.RUNNING else None

    def remark(self, line: str) -> None:
        """The work has something to say besides its result."""
        self.note = line

    def publish(self, found: Any) -> None:
        """Long work shows what it has so far."""
        self.found = found

    def offer(self, make: Callable[[], Preview]) -> None:
        """The work has something to look at: taken now and then, and only while somebody looks."""
        now = time.monotonic()
        if now >= self._next_preview and self.wanted():
            self.preview, self._next_preview = make(), now + BETWEEN_PREVIEWS

    def lay_down(self) -> None:
        """Whatever long work holds, such as memory and locks, it holds no more."""
        if self.steps is not None:
            self.steps.close()
            self.steps = None

    def end(self, state: State) -> None:
        self.state = state
        self.settle(self.key)
        self.over.set()


class Jobs:
    """The queue. `submit` answers at once; asking for a result that exists costs nothing.

    `resolve` turns a device's name into that of the processor it means ("auto" -> "cpu"), in the background, since
    finding out can take seconds; it raises EngineError. What the store has none of may be among the `examples`.
    """

    def __init__(self, store: Store, resolve: Callable[[str], str] = str, examples: Examples | None = None) -> None:
        self.store = store
        self._examples = examples
        self._journal = Journal(store.folder / "journal")
        self._resolve = resolve
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._workers: dict[str, Turns[Job]] = {}
        self._submitted: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._taken_up: list[Job] | None = None
        _forever("dispatcher", self._submitted.get, self._dispatch)

    def submit(self, task: Task, owner: str = "", here: bool = False) -> Job:
        """Queue `task`, or join the job that already does it, or return its kept result; an example, too, but where it
        shall be computed `here`.

        `owner` names who asks: a job that several people wait for goes on until all of them have cancelled it.
        """
        return self._submit(task, owner, tries=0, here=here)

    def _submit(self, task: Task, owner: str, tries: int, here: bool = False) -> Job:
        job = self.find(task)
        with self._lock:
            # Someone else may have been quicker since.
            job = self._jobs.get(task.key, job)
            if job is None or job.state in (State.CANCELLED, State.FAILED) or job.cancelled.is_set() \
                    or (here and job.example is not None):
                job = self._remember(Job(task, owner, settle=self._journal.settle))
                if task.keep:
                    self._journal.accept(Accepted(job.key, task.title, task.to_json(), time.time(), tries))
                self._submitted.put(job)
            job.watch(owner)
            job.declined = False
        return job

    def find(self, task: Task) -> Job | None:
        """The job for `task` as far as it is known, in memory, kept, or among the examples; None if nobody asked for it
        yet."""
        key = task.key
        with self._lock:
            if job := self._jobs.get(key):
                self._jobs.move_to_end(key)
                return job
        job = self.kept(task)
        if job is None:
            return None
        with self._lock:
            return self._jobs.get(key) or self._remember(job)

    def kept(self, task: Task) -> Job | None:
        """`task` as a job that is done, where its result is kept or among the examples, whatever goes on besides."""
        if not task.keep:
            return None
        payload, created = task.kept(self.store), None
        if payload is None and self._examples is not None and (example := self._examples.find(task)) is not None:
            payload, created = example.payload, example.created
        if payload is None:
            return None
        job = Job(task, state=State.DONE, fraction=1.0, text="done", payload=payload, example=created)
        job.over.set()
        return job

    def _recall(self, task: Task) -> Payload | None:
        job = self.find(task)
        return None if job is None else job.payload

    def cancel(self, job: Job, owner: str = "") -> None:
        """`owner` does not want the job any more; it stops at its next step, or once nobody else waits for it."""
        with self._lock:
            job.watchers.pop(owner, None)
            if not job.state.over:
                job.declined = True
                job.stop_if_declined()

    def renew(self, job: Job) -> None:
        """What the job made is gone: whoever asks for the same has it done again."""
        with self._lock:
            if job.state.over:
                self._jobs.pop(job.key, None)

    def take_up(self) -> list[Job]:
        """Go on with what processes had accepted and did not end that were stopped or killed before this one started.

        Returns the jobs taken up, at every call, but for those that were `noted`. Each piece of work is taken up once:
        what was under way twice when a process died may be what kills it.
        """
        with self._lock:
            first, self._taken_up = self._taken_up is None, self._taken_up or []
        for accepted in self.lost() if first else []:
            if accepted.tries:
                continue
            try:
                job = self._submit(Task.from_json(accepted.task), "", tries=1)
            except EngineError as error:
                log.warning("%s cannot be taken up again: %s", accepted.title, error)
                continue
            self._journal.forget(accepted.key)
            with self._lock:
                self._taken_up.append(job)
        with self._lock:
            return list(self._taken_up)

    def noted(self, job: Job) -> None:
        """`take_up` is not to speak of this job any more."""
        with self._lock:
            self._taken_up = [other for other in self._taken_up or [] if other is not job]

    def lost(self) -> list[Accepted]:
        """What processes that were stopped or killed had accepted and did not end, and nobody does again."""
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
        """Hand a job to the worker of its lane or its device."""
        job.text = "starting"
        try:
            device = KINDS[job.task.kind].lane or self._resolve(job.task.device)
        except EngineError as error:
            job.error = str(error)
            job.end(State.FAILED)
            return
        job.text = "waiting for its turn"
        if device not in self._workers:
            turns = self._workers[device] = Turns()
            _forever(f"worker-{device}", turns.take, lambda job: self._turn(job, turns))
        self._wait(job, self._workers[device])

    def _wait(self, job: Job, turns: Turns[Job]) -> None:
        turns.put(job, job.owner, patient=KINDS[job.task.kind].patient)

    def _turn(self, job: Job, turns: Turns[Job]) -> None:
        """Do the job, or the next unit of long work; keep what has come of it."""
        state = self._perform(job)
        if state is State.RUNNING:
            self._wait(job, turns)
            return
        job.lay_down()
        job.end(state)

    def _perform(self, job: Job) -> State:
        def report(fraction: float, text: str) -> None:
            job.advance(fraction, text)
            job.stop_if_declined()

        job.stop_if_declined()
        try:
            if job.cancelled.is_set():
                return State.CANCELLED
            if job.steps is None:
                job.state, job.text = State.RUNNING, "starting"
                progress = Progress(report, job.cancelled, job.offer)
                job.steps = _steps(job.task, Bench(job.task.device, self.store, progress, self._recall, job.remark,
                                                   job.publish, executor_named(os.environ.get(EXECUTOR, ""))))
            next(job.steps)
            return State.RUNNING
        except StopIteration as end:
            job.payload = end.value
            return State.DONE
        except Cancelled:
            return State.CANCELLED
        except EngineError as error:
            job.error = str(error)
            return State.FAILED


def _steps(task: Task, bench: Bench) -> Generator[None, None, Payload]:
    """The task's work, with a yield wherever something else may have its turn."""
    how = KINDS[task.kind]
    if not how.patient:
        return bench.result(task)
    payload = yield from how.work(task.spec, bench)  # type: ignore[misc]
    if task.keep:
        bench.keep(task, payload)
    return payload


def _forever(name: str, take: Callable[[], Job], consume: Callable[[Job], None]) -> None:
    """A new thread that consumes one job after another."""
    def loop() -> None:
        while True:
            job = take()
            try:
                consume(job)
            except Exception as error:
                log.exception("job %s failed", job.task.kind)
                job.error = f"something went wrong inside ({type(error).__name__}); the server's log has the details"
                job.end(State.FAILED)

    devices.keep_heap()  # before the thread takes memory of its own
    threading.Thread(target=loop, name=name, daemon=True).start()


def _processor(device: str) -> str:
    devices.load_libraries()  # whatever comes first needs them, and finding a device already imports PyTorch
    return str(devices.choose(device))


_jobs: Jobs | None = None
_jobs_lock = threading.Lock()


def jobs() -> Jobs:
    """This process's queue, keeping results in PERTURBSCOPE_HOME."""
    global _jobs
    with _jobs_lock:
        if _jobs is None or _jobs.store.folder != home() / "runs":
            _jobs = Jobs(store_in(home() / "runs"), _processor, Examples.shipped())
        return _jobs
