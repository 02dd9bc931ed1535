"""python -m engine minimal: the smallest epsilon that fools the model, image by image."""

from __future__ import annotations

import argparse
from typing import Any

from engine.cli.options import add_attack_options, class_map_of, lessons, number, opened, spec_of, target_of
from engine.cli.output import as_json, out_folder, print_json, shown_progress, write
from engine.cli.parser import Commands


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
    dataset, indices, model = opened(arguments, class_map)
    out = out_folder(arguments.out)
    from engine.experiments.minimal import minimal

    found = minimal(dataset, indices, model, spec, high=high, tolerance=tolerance, device=arguments.device,
                    progress=shown_progress(), memory=lessons())
    facts = {**found.summary(), "dataset": arguments.dataset, "split": dataset.split, "model": arguments.model,
             "attack": arguments.attack, "map": class_map.names, "indices": indices}
    if arguments.json:
        print_json(facts)
    else:
        _print(facts)
    write(out, {"minimal.json": as_json(facts)})


def _print(facts: dict[str, Any]) -> None:
    from engine.attacks.norms import NORMS

    norm = NORMS[facts["spec"]["norm"]]

    def shown(eps: float | None) -> str:
        return f"above {norm.text(facts['high'])}" if eps is None else norm.text(eps, ".3g")

    print(f"smallest eps of {facts['attack']} ({facts['spec']['norm']}), on {facts['n']} images of "
          f"{facts['dataset']}/{facts['split']}, model {facts['model']}")
    print(f"  median                  {shown(facts['eps_median'])}, known to {norm.text(facts['tolerance'])}; "
          f"{facts['fooled']} of {facts['attacked']} fooled at {norm.text(facts['high'])}")
    print(f"  spent per image         {facts['queries_mean']:g} queries, {facts['gradients_mean']:g} gradients")
    print(f"  time                    {facts['seconds']:.1f} s, seed {facts['seed']}")
    for index, image in zip(facts["indices"], facts["images"], strict=True):
        tries = " ".join(f"{t['eps'] * norm.factor:.4g}{'+' if t['success'] else '-'}" for t in image["tries"])
        print(f"  image {index:6}  {shown(image['eps']):>14}   {tries}")
