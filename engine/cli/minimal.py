"""python -m engine minimal: the smallest epsilon that fools the model, image by image."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from engine.cli.options import add_attack_options, asked, bench, class_map_of, number, spec_of, sweep_of, target_of
from engine.cli.output import as_json, out_folder, print_json, write
from engine.cli.parser import Commands

if TYPE_CHECKING:
    from engine.experiments.epsilon.minimal import Minimal
    from engine.experiments.units import Unit
    from engine.work.kinds import Bench


def add(commands: Commands) -> None:
    parser = commands.add_parser("minimal", help="smallest epsilon that fools the model, image by image")
    parser.add_argument("--attack", required=True)
    parser.add_argument("--high", default="16/255", help="the largest budget tried, in [0,1] (default 16/255)")
    parser.add_argument("--tolerance", default="0.05/255", help="how exactly it is to be known (default 0.05/255)")
    add_attack_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from engine.attacks.base import Budget

    high, tolerance = number("--high", arguments.high), number("--tolerance", arguments.tolerance)
    Budget(arguments.norm or "linf", high)
    class_map = class_map_of(arguments)
    target = target_of(arguments.target, class_map)
    spec = spec_of(arguments, arguments.attack, high, target)
    sweep = sweep_of(arguments, class_map, [spec])
    (units,), out = sweep.plan(), out_folder(arguments.out)
    found = _found(units, high, tolerance, bench(arguments))
    facts = {**found.summary(), **_defended(found), **asked(arguments, sweep, class_map)}
    if arguments.json:
        print_json(facts)
    else:
        _print(facts)
    if out is not None:
        write(out, {"minimal.json": as_json(facts)})


def _found(units: list[Unit], high: float, tolerance: float, bench: Bench) -> Minimal:
    from engine.experiments.epsilon.minimal import joined, minimal_of, search_task

    return joined([minimal_of(bench.piece(number, len(units)).result(search_task(unit, high, tolerance, bench.device)))
                   for number, unit in enumerate(units)])


def _defended(found: Minimal) -> dict[str, Any]:
    """What results say of a search behind defenses besides."""
    from engine.experiments.defended import priced

    # An image of the class that is aimed at has nothing to be done either, and so says nothing here.
    right = len(found.attacked) / len(found.found) if found.spec.target is None else None
    refused = {"refused": int(found.refusals.sum())} if found.spec.defenses else {}
    return {**refused, **priced(found.spec, right, found.seconds, int(found.queries.sum()))}


def _print(facts: dict[str, Any]) -> None:
    from engine.attacks.norms import NORMS
    from engine.defenses.words import titled

    norm = NORMS[facts["spec"]["norm"]]

    def shown(eps: float | None) -> str:
        return f"above {norm.text(facts['high'])}" if eps is None else norm.text(eps, ".3g")

    behind = f" behind {titled(facts['defense'])}, {facts['attacker']}" if "defense" in facts else ""
    print(f"smallest eps of {facts['attack']} ({facts['spec']['norm']}), on {facts['n']} images of "
          f"{facts['dataset']}/{facts['split']}, model {facts['model']}{behind}")
    print(f"  median                  {shown(facts['eps_median'])}, known to {norm.text(facts['tolerance'])}; "
          f"{facts['fooled']} of {facts['attacked']} fooled at {norm.text(facts['high'])}")
    print(f"  spent per image         {facts['queries_mean']:g} queries, {facts['gradients_mean']:g} gradients")
    if facts.get("refused"):
        print(f"  refused                 {facts['refused']:,} queries")
    print(f"  time                    {facts['seconds']:.1f} s, seed {facts['seed']}")
    for index, image in zip(facts["indices"], facts["images"], strict=True):
        tries = " ".join(f"{t['eps'] * norm.factor:.4g}{'+' if t['success'] else '-'}" for t in image["tries"])
        print(f"  image {index:6}  {shown(image['eps']):>14}   {tries}")
