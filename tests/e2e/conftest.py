"""What browser tests share: Chromium and a Streamlit server of their own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

from tests import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

StartStreamlit = Callable[..., AbstractContextManager[str]]
PATIENCE = 240_000  # milliseconds: a cold start imports PyTorch, and other tests may run beside this one


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


@pytest.fixture(scope="module")
def url(start_streamlit: StartStreamlit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard, in a home in which nothing was computed yet."""
    with start_streamlit(serving.ROOT / "app.py", {"PERTURBSCOPE_HOME": str(tmp_path_factory.mktemp("home"))}) as url:
        yield url


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A patient visitor's page, in which nothing may go wrong."""
    context = browser.new_context(viewport={"width": 1366, "height": 768}, color_scheme="dark")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []
