"""What page tests share: a home that a whole file's tests have to themselves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.work.jobs import jobs
from pages.exploring import whole


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in which nothing was computed before this file's first test."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("PERTURBSCOPE_HOME", str(home))
        yield home


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home in which nothing was computed before this test, and work that ends with it."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    yield
    for job in list(jobs()._jobs.values()):
        job.cancelled.set()


@pytest.fixture(autouse=True)
def no_sample_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Explore attacks its sample when asked: most tests are about something else, and would wait for it."""
    monkeypatch.setattr(whole, "SOON", 0.0)
