"""python -m engine train-style: train a style network, for the attack stm."""

from __future__ import annotations

import argparse
import shlex
import sys

from engine import params
from engine.cli.options import add_params
from engine.cli.output import print_json, ready, shown_progress
from engine.cli.parser import Commands


def add(commands: Commands) -> None:
    from engine.attacks.networks.style_spec import StyleSpec

    parser = commands.add_parser("train-style", help="train a style network, for the attack stm")
    parser.add_argument("--name", required=True, help="what it is called; give it to stm as --set style=NAME")
    parser.add_argument("--json", action="store_true")
    add_params(parser, StyleSpec)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from engine.attacks.networks.style_spec import StyleSpec
    from engine.attacks.networks.style_train import train_style
    from engine.zoo.registry import trained_style_path

    path = ready(trained_style_path(arguments.name))
    own = {p.name: p.check(getattr(arguments, p.name)) for p in params.params_of(StyleSpec)}
    spec = StyleSpec(command="python -m engine " + shlex.join(sys.argv[1:]), **own)  # type: ignore[arg-type]
    card = train_style(spec, path, shown_progress())
    if arguments.json:
        return print_json(card)
    found = card["evaluation"]
    print(f"{arguments.name} is kept in {path}")
    print(f"  content kept: correlation {found['content']:.2f} with the picture itself, "
          f"{found['content_of_others']:.2f} with another")
    print(f"  distance to the style: {found['style']:.0%} of what it was")
    print(f"  same diagnosis of the mixed picture: {found['same_diagnosis']:.1%}")
