"""The command line, a file a command: all of the engine without a browser.

Results go to standard output, progress to standard error.
"""

import os
import sys

from engine.cli import (
    attack,
    certify,
    claims,
    curve,
    data,
    defend,
    evaluate,
    examples,
    listing,
    minimal,
    query_curve,
    runs,
    store,
    tables,
    train,
    train_style,
    transfer,
)
from engine.cli.parser import Parser
from engine.cli.weights import adopt_models
from engine.errors import Cancelled, EngineError

# In the order in which they are listed.
COMMANDS = (listing, data, attack, evaluate, curve, transfer, query_curve, defend, minimal, certify, train, train_style,
            claims, tables, examples, runs, store)


def _parser() -> Parser:
    parser = Parser(prog="python -m engine", description="Adversarial attacks on medical-image classifiers.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status (2: bad input, 130: interrupted, 141: nobody reads on)."""
    arguments = _parser().parse_args(argv)
    try:
        if hasattr(arguments, "classes"):
            adopt_models(arguments)
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has nowhere to go
        return 141
    except EngineError as error:
        print(f"python -m engine: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Cancelled):
        print("python -m engine: stopped", file=sys.stderr)
        return 130
    return 0
