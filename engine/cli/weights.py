"""--classes, --mean, --std and others: a checkpoint of somebody else's, which has no card."""

from __future__ import annotations

import argparse

from engine.cli.output import remark
from engine.errors import EngineError


def add_weights_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--classes", default="", metavar="A,B,...", help="what a checkpoint without a card tells "
                        "apart, in the order of its outputs (default: the data set's classes)")
    parser.add_argument("--multilabel", action="store_true", help="its classes do not exclude each other (a sigmoid "
                        "each): one of them, the --finding, is looked for")
    parser.add_argument("--finding", default="", metavar="NAME", help="the one that is looked for (default: the one "
                        "that is a class of the data set)")
    parser.add_argument("--mean", default="", metavar="R,G,B", help="what is subtracted from its pictures in [0,1] "
                        "(default: ImageNet's)")
    parser.add_argument("--std", default="", metavar="R,G,B", help="what they are divided by then (default: "
                        "ImageNet's)")


def adopt_models(arguments: argparse.Namespace) -> None:
    """Give every checkpoint without a card among the models the one that the options say; raises EngineError."""
    from engine.zoo.registry import checkpoint_at, names_file

    names = ",".join(filter(None, (getattr(arguments, option, "") for option in ("model", "models", "surrogate"))))
    files = [name.strip() for name in names.split(",") if names_file(name.strip())]
    given = (arguments.classes, arguments.mean, arguments.std, arguments.multilabel, arguments.finding)
    if not files and not any(given):
        return
    from engine.data import find
    from engine.zoo.adopting import Said, adopt

    said = Said(tuple(name.strip() for name in arguments.classes.split(",") if name.strip()),
                _numbers("mean", arguments.mean), _numbers("std", arguments.std), arguments.multilabel,
                arguments.finding.strip())
    if not files:
        raise EngineError("--classes, --multilabel, --finding, --mean and --std are for a checkpoint that is given by "
                          "its path; leave them out with a model's name")
    known = find(arguments.dataset).info.classes
    for path in filter(None, map(checkpoint_at, dict.fromkeys(files))):
        for line in adopt(path, said, arguments.dataset, known):
            remark(line)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    from engine.cli.options import number

    return tuple(number(f"--{option}", part.strip()) for part in text.split(",") if part.strip())
