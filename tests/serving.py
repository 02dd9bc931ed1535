"""A dashboard and a browser for tests and benchmarks: Chromium, and Streamlit on a port of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SERVER_OPTIONS = {
    "server.headless": "true",
    "server.address": "127.0.0.1",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
}


def chromium() -> str | None:
    """Where Chromium is, or None."""
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


@contextmanager
def launched(path: str) -> "Iterator[Browser]":
    """A running Chromium; it asks nothing of the network by itself."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


def settled(page: "Page", measure: Callable[[], T]) -> T:
    """What `measure` says once that has not changed for half a second: panels open slowly, and scrolling glides."""
    said, unchanged = measure(), 0
    while unchanged < 5:
        page.wait_for_timeout(100)
        says = measure()
        said, unchanged = says, unchanged + 1 if says == said else 0
    return said


@contextmanager
def serve(script: Path, env: Mapping[str, str] | None = None, seconds: float = 60) -> Iterator[str]:
    """Serve a script from the project's folder on a free port; yields the address and stops the server at the end."""
    url = f"http://127.0.0.1:{(port := _free_port())}"
    options = [f"--{name}={value}" for name, value in {**SERVER_OPTIONS, "server.port": str(port)}.items()]
    with TemporaryFile() as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(script), *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            if not _healthy(server, url, seconds):
                log.seek(0)
                raise RuntimeError(f"Streamlit did not start:\n{log.read().decode(errors='replace')[-4000:]}")
            yield url
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _healthy(server: subprocess.Popen[bytes], url: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    return False
