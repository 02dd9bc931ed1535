"""The options that say what stands in front of the attacked model, and who faces it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from engine.cli.output import remark

_DEFENSE = "NAME[:KEY=VALUE,...][+NAME...]"
_WHAT = ("defenses at inference time in front of the model, outermost first, such as rnd:sigma=0.02+jpeg:quality=75 "
         "(python -m engine list defenses)")
_WHO = ("oblivious attacks the bare model and is judged by the defended one (default); adaptive knows the defenses, "
        "looks through them and aims below the thresholds of detectors")


def add_defense_options(parser: argparse.ArgumentParser) -> None:
    """--defense, --attacker and --draws, of which there is one."""
    parser.add_argument("--defense", default="", metavar=_DEFENSE, help=_WHAT)
    parser.add_argument("--attacker", default="", metavar="oblivious|adaptive", help=_WHO)
    parser.add_argument("--draws", type=int, help="over how many draws of a random defense an adaptive attacker "
                                                  "averages, at every step (default 10)")


def add_several_defenses(parser: argparse.ArgumentParser) -> None:
    """The same in the place of those, for several side by side."""
    parser.add_argument("--defense", nargs="+", action="extend", default=[], metavar=_DEFENSE,
                        help=f"{_WHAT}; several stand side by side, 'none' is the bare model")
    parser.add_argument("--attacker", nargs="+", action="extend", default=[], metavar="oblivious|adaptive|both",
                        help=f"{_WHO}; several, or 'both', stand side by side")


def each_front(arguments: argparse.Namespace, attack: str) -> Iterator[dict[str, str | int]]:
    """What the options say as options of `make_spec`, for every stack of defenses and every attacker that makes a
    difference to that attack; raises EngineError."""
    from dataclasses import asdict

    from engine.attacks.spec import ATTACKERS
    from engine.defenses.base import cautions, defenses_from
    from engine.experiments.defended import BOTH, check, fronts, read_stack

    stacks = list(dict.fromkeys(map(read_stack, several(arguments.defense)))) or [""]
    attackers = list(dict.fromkeys(several(arguments.attacker))) or [ATTACKERS[0]]
    if BOTH in attackers and not isinstance(arguments.attacker, str):
        attackers = list(ATTACKERS)
    check(stacks, attackers, arguments.draws)
    for stack in stacks:
        for caution in cautions(defenses_from(stack)):
            remark(caution)
    for front in fronts(attack, stacks, attackers, arguments.draws):
        yield asdict(front)


def several(value: str | Sequence[str]) -> list[str]:
    """What an option that may be given once or several times says, without empty texts."""
    return [text for text in ([value] if isinstance(value, str) else value) if text]
