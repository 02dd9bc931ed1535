"""A data set downloaded as long work: what has come stays, and the next download goes on from there. No torch."""

from dataclasses import dataclass

from engine.data import find
from engine.errors import EngineError
from engine.work.kinds import Bench, Task, kind
from engine.work.store import Payload


@dataclass(frozen=True)
class Downloading:
    """Which data set."""

    dataset: str


def downloading_task(name: str) -> Task:
    """The job that downloads a data set; raises EngineError where that is not offered."""
    info = find(name).info
    if info.remote is None:
        raise EngineError(f"{name} is not offered for download: {info.obtain}")
    return Task("download", Downloading(name), f"download of {name}")


@kind("download", Downloading, keep=False, lane="network")
def _download(asked: Downloading, bench: Bench) -> Payload:
    from engine.data.download import download  # requests: machines that only compute lack it

    place = download(find(asked.dataset), bench.progress)
    return Payload({"place": str(place)}, {})
