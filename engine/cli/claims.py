"""python -m engine claims: measure what the attacks' papers claim."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import disk
from engine.cli.options import bench
from engine.cli.output import print_json
from engine.cli.parser import Commands
from engine.cli.sections import renew
from engine.errors import EngineError

if TYPE_CHECKING:
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
    chosen, file = _chosen(arguments), _file(arguments.out)
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
    from engine.work.kinds import to_the_end

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
        try:
            renew(file, claim.name, text, HEAD)
        except OSError as error:
            raise _unwritable(file, error) from None
    return facts(claim, trials)


def _file(out: str | None) -> Path | None:
    """--out, tried before anything is measured; raises EngineError."""
    if out is None:
        return None
    if os.path.isdir(out):
        raise EngineError(f"--out {out} is a folder; give the name of a Markdown file")
    file = Path(out)
    try:
        disk.make_writable(file.parent)
        with contextlib.suppress(FileNotFoundError):
            file.read_text(encoding="utf-8")
    except OSError as error:
        raise _unwritable(file, error) from None
    except UnicodeDecodeError:
        raise EngineError(f"--out {out} is no text; give the name of a Markdown file") from None
    except ValueError:  # bytes that no name has
        raise EngineError(f"--out {out} is no name of a file; choose another") from None
    return file


def _unwritable(file: Path, error: OSError) -> EngineError:
    return EngineError(f"--out {file} cannot be written {disk.advice(error, '--out')}")


def _print_list(chosen: list[Claim], as_json: bool) -> None:
    if as_json:
        return print_json([{"name": claim.name, "title": claim.title, "sentence": claim.sentence,
                            "dataset": claim.dataset, "pictures": claim.pictures, "seeds": claim.seeds}
                           for claim in chosen])
    width = max(len(claim.name) for claim in chosen)
    for claim in chosen:
        print(f"{claim.name:{width}}  {claim.title}: {claim.sentence}")
