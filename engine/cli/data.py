"""python -m engine data: what is wrong with a data set, and data sets downloaded."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from engine.cli.output import print_json, printable, shown_progress
from engine.cli.parser import Commands

MANY = 100  # classes, from which they are no longer named one by one


def add(commands: Commands) -> None:
    parser = commands.add_parser("data", help="look a data set over: damage, gaps, leaks; or download one")
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser("check", help="read every picture once and compare the splits")
    check.add_argument("dataset", help="a registered name, folder:PATH, or manifest:PATH")
    check.add_argument("--json", action="store_true")
    check.set_defaults(run=_check)
    download = actions.add_parser("download", help="get a data set where its licence allows that")
    download.add_argument("dataset", help="a registered name, such as pathmnist or pathmnist@64")
    download.set_defaults(run=_download)


def _check(arguments: argparse.Namespace) -> None:
    from engine.data.check import check

    found = check(arguments.dataset, shown_progress())
    if arguments.json:
        return print_json({**asdict(found), "warnings": list(found.warnings)})
    for part in found.parts:
        patients = f", {part.patients:,} patients" if part.patients else ""
        counts = ", ".join(f"{name} {count:,}" for name, count in part.classes.items())
        if len(part.classes) > MANY:
            counts = (f"{len(part.classes):,} classes of {min(part.classes.values()):,} to "
                      f"{max(part.classes.values()):,} images")
        print(printable(f"{part.split}: {part.images:,} images ({counts}){patients}"))
        for name, count in part.findings.items():
            print(printable(f"  {name}: {count:,}"))
    for line in found.warnings:
        print(printable(f"WARNING: {line}"))
    if not found.warnings:
        print("nothing is wrong with it that can be seen")


def _download(arguments: argparse.Namespace) -> None:
    from engine.data import find
    from engine.data.download import download, folder

    entry = find(arguments.dataset)
    place = download(entry, shown_progress())
    print(printable(f"{entry.info.name} is in {place} ({entry.info.terms}; cite {entry.info.source})"))
    print(printable(f"data sets are looked for in {folder()}"))
