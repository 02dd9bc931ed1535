"""python -m engine examples: compute what the pages show on opening, to be given away with the program."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from engine.cli.options import bench
from engine.cli.parser import Commands


def add(commands: Commands) -> None:
    parser = commands.add_parser("examples", help="renew the examples that pages show on opening (for developers)")
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="of which pages (default: all)")
    parser.set_defaults(run=_run, device="cpu")


def _run(arguments: argparse.Namespace) -> None:
    """From nothing, whatever is kept here."""
    from engine.errors import UnknownName
    from engine.experiments.openings import OPENINGS, lightened
    from engine.work.examples import Examples
    from engine.work.room import size_text
    from engine.work.store import Store

    examples, total = Examples.shipped(), 0
    for page in arguments.pages:
        if page not in OPENINGS:
            raise UnknownName("page", page, tuple(OPENINGS))
    tasks = [task for page in arguments.pages or OPENINGS for task in OPENINGS[page]()]
    with tempfile.TemporaryDirectory() as folder:
        apart = Store(Path(folder))
        here = replace(bench(arguments), store=apart, recall=lambda task: task.kept(apart))
        for number, task in enumerate(tasks):
            total += examples.put(task, lightened(task, here.piece(number, len(tasks)).result(task)))
    examples.keep_only([task.key for opening in OPENINGS.values() for task in opening()])
    print(f"{examples.folder}: {size_text(total)} in {len(tasks)} files")
