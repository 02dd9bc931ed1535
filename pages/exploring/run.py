"""A run of the Explore page: what was asked for, and the job that does it."""

from dataclasses import dataclass

from engine.experiments.onepicture.explored import Explored
from engine.experiments.sources import Picture
from engine.work.jobs import Job
from engine.work.store import Payload
from pages.ui import runs


def _explored(payload: Payload) -> Explored:
    return Explored.of(payload)


@dataclass(frozen=True, eq=False)
class Run:
    """A job, the settings it was started with, and the picture it attacks."""

    settings: runs.Settings
    picture: Picture
    job: Job

    @property
    def explored(self) -> Explored:
        """The result, once the job is done."""
        return self.job.read(_explored)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.explored.run.classes

    @property
    def badge(self) -> str:
        return "SYNTHETIC" if self.picture.synthetic else ""

    @property
    def key(self) -> str:
        return self.job.key

    @property
    def stem(self) -> str:
        """How the names of its files begin."""
        return f"{self.settings.attack.attack}-{self.key[:8]}"
