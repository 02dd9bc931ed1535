"""python -m engine data: what is wrong with a data set."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from engine.cli.output import print_json, printable, shown_progress
from engine.cli.parser import Commands


def add(commands: Commands) -> None:
    parser = commands.add_parser("data", help="look a data set over: damage, gaps, leaks between its splits")
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser("check", help="read every picture once and compare the splits")
    check.add_argument("dataset", help="a registered name, folder:PATH, or manifest:PATH")
    check.add_argument("--json", action="store_true")
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> None:
    from engine.data.check import check

    found = check(arguments.dataset, shown_progress())
    if arguments.json:
        return print_json({**asdict(found), "warnings": list(found.warnings)})
    for part in found.parts:
        patients = f", {part.patients:,} patients" if part.patients else ""
        counts = ", ".join(f"{name} {count:,}" for name, count in part.classes.items())
        print(printable(f"{part.split}: {part.images:,} images ({counts}){patients}"))
    for line in found.warnings:
        print(printable(f"WARNING: {line}"))
    if not found.warnings:
        print("nothing is wrong with it that can be seen")
