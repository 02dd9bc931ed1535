"""Where the small networks are kept, and where findings are written."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench import report

FOLDER = "PERTURBSCOPE_CLAIMS"  # set by make claims: where the networks are kept
FILE = Path(__file__).parents[2] / "CLAIMS.md"
HEAD = """# What the papers claim, and what was found here

Written by `make claims` (tests/claims). Real pictures, shrunk to 64 x 64 (or as said) to make this affordable,
and networks that the project's own training fitted to them; attacked are test pictures that every model involved reads
correctly. A claim that does not hold here is reported as found: other data, models and sizes may well tell otherwise.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in Path(item.path).parents:
            item.add_marker(pytest.mark.data)
            item.add_marker(pytest.mark.skipif(FOLDER not in os.environ, reason="takes hours: make claims"))


@pytest.fixture(scope="session")
def home() -> Path:
    return Path(os.environ[FOLDER])


@pytest.fixture
def found(request: pytest.FixtureRequest) -> Callable[[str, list[str]], None]:
    """Writes what a test found under the test's own name; where a claim has exceptions, the test is an expected failure
    that names them."""
    def write(text: str, exceptions: list[str]) -> None:
        outcome = f"Not so: {'; '.join(exceptions)}." if exceptions else "It holds in every case."
        report.write(request.node.name, f"{text}\n\n{outcome}", FILE, HEAD)
        if exceptions:
            pytest.xfail(outcome)

    return write
