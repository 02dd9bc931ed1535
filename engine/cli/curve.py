"""python -m engine curve: accuracy against epsilon."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.cli.options import add_attack_options, bench, class_map_of
from engine.cli.output import Writer, as_csv, as_figure, as_json, as_text, out_folder, print_json, printable, write
from engine.cli.parser import Commands, add_config
from engine.cli.several import add_several, but, listed, sweep_from

if TYPE_CHECKING:
    from engine.attacks.rows import Rows
    from engine.experiments.epsilon.curve import Curve
    from engine.experiments.sweeps import Sweep

READINGS = ("independent", "worst")


def add(commands: Commands) -> None:
    # The later option of a name stands: here several models and seeds are taken.
    parser = commands.add_parser("curve", help="accuracy against epsilon", conflict_handler="resolve")
    parser.add_argument("--attack", required=True, help="one or more, with commas")
    parser.add_argument("--eps", default="0,0.5/255,1/255,2/255,4/255,8/255", help="budgets, with commas")
    parser.add_argument("--reading", choices=READINGS, default=READINGS[0],
                        help="independent: a run of its own at every eps, which uses all of it (default). worst: an "
                             "image counts as fooled from the smallest eps on that fools it, so accuracy cannot rise; "
                             "found by halving, which takes about a quarter of the passes of attacks with many steps, "
                             "and assumes that no image resists a larger eps after failing a smaller one")
    add_attack_options(parser)
    add_several(parser)
    add_config(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from engine.experiments.config import config_text, settings_of
    from engine.experiments.epsilon.ladder import curves_of, curves_task
    from engine.experiments.gathered import runs_of

    sweep = sweep_from(arguments)
    curves = curves_of(sweep, (arguments.reading,))
    repeats, out = config_text("curve", settings_of(vars(arguments))), out_folder(arguments.out)
    runs = runs_of(bench(arguments).result(curves_task(curves, arguments.device)))
    from engine.experiments.epsilon.curve import curve_of

    found = curve_of(arguments.dataset, sweep.split, ",".join(sweep.models), runs, arguments.reading)
    maps = {model: class_map_of(but(arguments, model=model)).names
            for model in listed("model", arguments.model)}
    facts = {**found.summary(), "models": list(sweep.models), "indices": list(sweep.indices),
             "map": next(iter(maps.values())), "maps": maps}
    if arguments.json:
        print_json(facts)
    else:
        _print(found, runs)
    if out is not None:
        write(out, _files(sweep, found, runs, facts, repeats))


def _print(found: Curve, runs: Sequence[Rows]) -> None:
    from engine.attacks.norms import NORMS
    from engine.experiments.defended import front_title

    print(printable(f"{found.model} on {found.n} images of {found.dataset}/{found.split}: {found.accuracy_clean:.1%} "
                    "clean"))
    defended = any(point.defended for point in found.points)
    several = len({(point.model, point.seed) for point in found.points}) > 1
    for point, rows in zip(found.points, runs, strict=True):
        who = f"   {point.model}, seed {point.seed}" if several else ""
        who += f"   {front_title(rows.spec)}" if defended else ""
        print(printable(f"  {point.attack:10} eps {NORMS[rows.spec.norm].text(point.eps):>10}   accuracy "
                        f"{point.accuracy:6.1%} ({point.low:.1%} to {point.high:.1%})   after 8 bits "
                        f"{point.accuracy_8bit:6.1%}{who}"))
    for warning in found.warnings:
        print(printable(f"  warning: {warning}"))
    if found.assumed:
        print(f"  the worst case is {found.assumed}")
    print(f"  spent                   {sum(point.queries for point in found.points):,} queries, "
          f"{sum(point.gradients for point in found.points):,} gradients")


def _files(sweep: Sweep, found: Curve, runs: Sequence[Rows], facts: dict[str, object], repeats: str
           ) -> dict[str, Writer]:
    from engine.experiments.epsilon.plots import accuracies
    from engine.experiments.frames import write_parquet
    from engine.experiments.plots import FORMATS

    reading = "worst case within the budget" if found.reading == READINGS[1] else "independent runs"
    title = f"{found.dataset}/{found.split}, {reading}"
    return {
        "rows.parquet": lambda file: write_parquet(runs, sweep.images, file),
        "curve.json": as_json(facts),
        "curve.csv": as_csv(found.table()),
        "sweep.toml": as_text(repeats),
        **{f"curve.{form}": as_figure(lambda: accuracies(runs, title), form) for form in FORMATS},
    }
