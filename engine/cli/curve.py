"""python -m engine curve: accuracy against epsilon."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.cli.options import add_attack_options, bench, class_map_of, number, spec_of, sweep_of, target_of
from engine.cli.output import as_json, out_folder, print_json, write
from engine.cli.parser import Commands
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.attacks.norms import Norm
    from engine.experiments.curve import Curve


def add(commands: Commands) -> None:
    parser = commands.add_parser("curve", help="accuracy against epsilon")
    parser.add_argument("--attack", required=True, help="one or more, with commas")
    parser.add_argument("--eps", default="0,0.5/255,1/255,2/255,4/255,8/255", help="budgets, with commas")
    add_attack_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from engine.attacks.base import Budget
    from engine.attacks.norms import NORMS

    values = [number("--eps", text) for text in arguments.eps.split(",") if text.strip()]
    if not values:
        raise EngineError("--eps needs at least one value, such as 0,0.5/255,1/255")
    class_map = class_map_of(arguments)
    target = target_of(arguments.target, class_map)
    for value in values:
        Budget(arguments.norm or "linf", value)
    values = sorted(set(values))
    specs = [spec_of(arguments, name, value, target) for name in arguments.attack.split(",") for value in values]
    sweep = sweep_of(arguments, class_map, specs)
    runs, out = sweep.plan(), out_folder(arguments.out)
    from engine.experiments.curve import curve_of
    from engine.experiments.sweeps import performed, steps_of
    from engine.work.kinds import to_the_end

    where = bench(arguments)
    found = curve_of(arguments.dataset, sweep.split, arguments.model,
                     to_the_end(performed(steps_of(runs, where.device), where)))
    facts = {**found.summary(), "map": class_map.names}
    if arguments.json:
        print_json(facts)
    else:
        _print(found, {spec.attack: NORMS[spec.norm] for spec in specs})
    if out is not None:
        write(out, {"curve.json": as_json(facts),
                    "curve.csv": lambda file: found.table().to_csv(file, index=False)})


def _print(found: Curve, norms: Mapping[str, Norm]) -> None:
    print(f"{found.model} on {found.n} images of {found.dataset}/{found.split}: {found.accuracy_clean:.1%} clean")
    for point in found.points:
        print(f"  {point.attack:10} eps {norms[point.attack].text(point.eps):>10}   accuracy {point.accuracy:6.1%}   "
              f"after 8 bits {point.accuracy_8bit:6.1%}")
    for warning in found.warnings:
        print(f"  warning: {warning}")
