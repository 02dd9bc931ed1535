"""python -m engine claims: measure what the attacks' papers claim."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.cli.options import bench
from engine.cli.output import print_json
from engine.cli.parser import Commands
from engine.cli.sections import markdown, put
from engine.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from engine.experiments.claims import Claim
    from engine.experiments.claims.trials import Trial

HEAD = """# What the papers claim, and what was found here

Written by `python -m engine claims --out CLAIMS.md` (`make claims`), a section a claim. Real pictures, shrunk where it
says so to make this affordable, and networks that the project's own training fitted to them. A claim that does not hold
here is reported as found: other data, models and sizes may well tell otherwise.
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser("claims", help="measure what the attacks' papers claim")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which claims (default: all)")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    parser.add_argument("--seeds", type=int, help="how many networks of each kind are trained, each with a seed of "
                        "its own (default: as declared)")
    parser.add_argument("--out", metavar="FILE", help="a Markdown file in which each claim's section is renewed as "
                        "soon as it is measured")
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    chosen, file = _chosen(arguments), markdown(arguments.out)
    if arguments.list:
        return _print_list(chosen, arguments.json)
    for claim in chosen:
        _check(claim)
    found = []
    for claim, trials in _measured(chosen, arguments):
        found.append(_told(claim, trials, file, arguments.json))
    if arguments.json:
        print_json({"claims": found})


def _chosen(arguments: argparse.Namespace) -> list[Claim]:
    """The claims by their names, each once; raises EngineError."""
    from engine.experiments.claims import CLAIMS

    if arguments.seeds is not None and arguments.seeds < 1:
        raise EngineError(f"--seeds must be at least 1, not {arguments.seeds}")
    return [CLAIMS[name] for name in dict.fromkeys(arguments.names or CLAIMS)]


def _check(claim: Claim) -> None:
    """Before hours of work: is there what the claim is measured on?"""
    from engine.data import find

    if (reason := find(claim.dataset).missing()) is not None:
        raise EngineError(f"{claim.name} cannot be measured: {reason}")


def _measured(chosen: list[Claim], arguments: argparse.Namespace) -> Iterator[tuple[Claim, list[Trial]]]:
    from engine.experiments.claims.trials import trials
    from engine.progress import to_the_end

    for claim in chosen:
        print(claim.name, file=sys.stderr)
        seeds = claim.seeds if arguments.seeds is None else claim.seeds_of(arguments.seeds)
        yield claim, to_the_end(trials(claim, seeds, bench(arguments)))


def _told(claim: Claim, trials: list[Trial], file: Path | None, as_json: bool) -> dict[str, Any]:
    """Print and write what was found; returns it JSON-able."""
    from engine.experiments.claims.report import facts, section

    text = section(claim, trials)
    if not as_json:
        print(f"{text}\n", flush=True)
    if file is not None:
        put(file, claim.name, text, HEAD)
    return facts(claim, trials)


def _print_list(chosen: list[Claim], as_json: bool) -> None:
    if as_json:
        return print_json([{"name": claim.name, "title": claim.title, "sentence": claim.sentence,
                            "dataset": claim.dataset, "pictures": claim.pictures, "seeds": claim.seeds}
                           for claim in chosen])
    width = max(len(claim.name) for claim in chosen)
    for claim in chosen:
        print(f"{claim.name:{width}}  {claim.title}: {claim.sentence}")
