"""How long visitors wait for their pages while there are many of them and a sweep runs.

A visitor is what a browser is to the server: a connection that asks for a page and is told what stands on it, until the
page's script has ended. What browsers need to draw that is left out: they would share this machine's cores.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlencode

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

from tests import serving
from tests.bench.timing import machine

VISITORS, SECONDS = 20, 90.0
THINKS = 8.0  # seconds between an answer and the next click, on average
PAGES = ("", "evaluate", "epsilon", "transfer", "blackbox", "defend", "training", "data", "runs", "about")
SWEEP = urlencode({"dataset": "phantom-cxr", "models": "phantom-cxr/resnet18", "attacks": "pgd", "images": "450",
                   "eps": "1/255,2/255,4/255"})
WANTED = 1.0


@dataclass
class Visitor:
    """One connection; `waited` notes which pages were asked for, and the seconds until they were told."""

    connection: ClientConnection
    waited: list[tuple[str, float]] = field(default_factory=list)
    buttons: dict[str, str] = field(default_factory=dict)

    def ask(self, page: str, query: str = "", button: str = "") -> float:
        """Seconds until the whole page has been told."""
        message = BackMsg()
        message.rerun_script.page_name = page
        message.rerun_script.query_string = query
        if button:
            message.rerun_script.widget_states.widgets.add(id=self.buttons[button], trigger_value=True)
        started = time.perf_counter()
        self.connection.send(message.SerializeToString())
        self._told()
        return time.perf_counter() - started

    def _told(self) -> None:
        while True:
            told = ForwardMsg()
            told.ParseFromString(bytes(self.connection.recv(timeout=300)))
            button = told.delta.new_element.button
            if button.id:
                self.buttons[button.label] = button.id
            if told.WhichOneof("type") == "script_finished":
                return

    def click_through(self, seed: int, until: float) -> None:
        """Pages at random, with a pause before each."""
        dice = random.Random(seed)
        while (pause := dice.expovariate(1 / THINKS)) + time.monotonic() < until:
            time.sleep(pause)
            page = dice.choice(PAGES)
            self.waited.append((page or "explore", self.ask(page)))


def measured(quick: bool) -> str:
    """A table of seconds, page by page."""
    count, seconds = (2, 10.0) if quick else (VISITORS, SECONDS)
    app = serving.ROOT / "app.py"
    with tempfile.TemporaryDirectory() as home, serving.serve(app, {"PERTURBSCOPE_HOME": home}) as url:
        stream = url.replace("http", "ws") + "/_stcore/stream"
        first, *visitors = [Visitor(connect(stream, max_size=None)) for _ in range(1 + count)]
        for page in PAGES:  # their examples are computed when they are first opened
            first.ask(page)
        first.ask("evaluate", SWEEP)
        first.ask("evaluate", SWEEP, button="Run")
        until = time.monotonic() + seconds
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(lambda numbered: numbered[1].click_through(numbered[0], until), enumerate(visitors)))
    return _table(visitors)


def _table(visitors: list[Visitor]) -> str:
    waited = [answer for visitor in visitors for answer in visitor.waited]
    lines = ["| page | clicks | median | nine of ten | longest | wanted |", "| --- | --: | --: | --: | --: | --: |"]
    for page in sorted({page for page, _ in waited}):
        lines.append(_line(page, [seconds for name, seconds in waited if name == page]))
    return "\n".join(["## Many visitors", "",
                      f"{len(visitors)} visitors who click once in {THINKS:g} s, on pages at random, while PGD runs on "
                      "450 phantoms. Seconds until the server has told the whole page; browsers are left out, as they "
                      "would share the cores.", "", f"Machine: {machine()}.", "", *lines,
                      _line("all", [seconds for _, seconds in waited])])


def _line(page: str, seconds: list[float]) -> str:
    ordered = sorted(seconds)
    most = ordered[int(0.9 * (len(ordered) - 1))]
    return (f"| {page} | {len(ordered)} | {statistics.median(ordered):.2f} | {most:.2f} | {ordered[-1]:.2f} "
            f"| {WANTED:g} |")
