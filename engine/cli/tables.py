"""python -m engine tables: what attacks do to the models that come with it, as the tables of a document."""

from __future__ import annotations

import argparse
import sys

from engine.cli.options import bench
from engine.cli.parser import Commands
from engine.cli.sections import markdown, put

HEAD = """# What attacks do to the models that come with Perturbscope

Written by `python -m engine tables --out FILE`, a section a table.
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser("tables", help="what attacks do to the models that come with it, as Markdown")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which tables (default: all)")
    parser.add_argument("--out", metavar="FILE", help="a Markdown file in which each table's section is renewed as "
                        "soon as it is measured")
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from engine.experiments.evaluation.declared import TABLES, section
    from engine.experiments.gathered import runs_of
    from engine.experiments.sweeps import evaluation_task

    chosen, file = [TABLES[name] for name in dict.fromkeys(arguments.names or TABLES)], markdown(arguments.out)
    for table, sweep in [(table, table.sweep()) for table in chosen]:
        print(table.name, file=sys.stderr)
        text = section(table, runs_of(bench(arguments).result(evaluation_task(sweep, arguments.device))))
        print(f"{text}\n", flush=True)
        if file is not None:
            put(file, table.name, text, HEAD)
