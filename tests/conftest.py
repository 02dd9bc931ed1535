"""What all tests share: a home of their own, few threads, and the real images where there are any."""

import os

# Before anything imports torch or numpy: parallel tests with a thread for every core each only slow one another down.
# A worker inherits what was set for the process that started it.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ[variable] = "1"
    os.environ.setdefault(variable, "2")

from collections.abc import Iterator
from pathlib import Path

import pytest

NO_DATA = "needs real images: set PERTURBSCOPE_DATA to the folder that holds them (README, 'Real data')"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests are known by their folder, tests on real images by the marker or the fixture they ask for."""
    for item in items:
        if "e2e" in Path(item.path).parts:
            item.add_marker(pytest.mark.e2e)
        if "data_home" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.data)
        if item.get_closest_marker("data") and not os.environ.get("PERTURBSCOPE_DATA"):
            item.add_marker(pytest.mark.skip(reason=NO_DATA))


@pytest.fixture(scope="session", autouse=True)
def perturbscope_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh PERTURBSCOPE_HOME, so that no test reads or leaves anything in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("home")
        patch.setenv("PERTURBSCOPE_HOME", str(path))
        yield path


@pytest.fixture(scope="session")
def data_home() -> Path:
    """The folder of real images; a test that asks for it is skipped where PERTURBSCOPE_DATA is unset."""
    chosen = os.environ.get("PERTURBSCOPE_DATA")
    if not chosen:
        pytest.skip(NO_DATA)
    path = Path(chosen).expanduser()
    assert path.is_dir(), f"PERTURBSCOPE_DATA={chosen} is not a folder"
    return path


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of reports and archives are a dot, for tests of all else in them."""
    import numpy as np

    from engine.experiments.reports.blocks import Drawing
    from engine.experiments.reports.images import image_png

    png = image_png(np.zeros((1, 1, 1), np.float32))
    monkeypatch.setattr(Drawing, "file", lambda self, form: b"<svg/>" if form == "svg" else png)
