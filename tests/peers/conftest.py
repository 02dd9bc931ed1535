"""The X-rays that most comparisons are made on."""

import os
from pathlib import Path

import pytest

from tests import xrays as small

COUNT = int(os.environ.get("PERTURBSCOPE_PEER_XRAYS", "40"))


@pytest.fixture(scope="session")
def xrays(data_home: Path) -> small.XRays:
    """A network trained now and COUNT real X-rays that it reads correctly."""
    return small.load(data_home, COUNT)
