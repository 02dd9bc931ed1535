"""What browser tests share: Chromium and a Streamlit server of their own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

from tests import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

StartStreamlit = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Chromium; make a context or a page of it in each test and close it."""
    path = serving.chromium()
    if path is None:
        pytest.skip("install Chromium: apt-get install chromium")
    with serving.launched(path) as browser:
        yield browser


@pytest.fixture(scope="session")
def start_streamlit() -> StartStreamlit:
    """`with start_streamlit(script, env) as url:` serves a script, such as app.py, for as long as the block lasts."""
    return serving.serve
