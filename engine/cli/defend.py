"""python -m engine defend: what defenses cost, and what they are worth against who knows of them and who does not."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from engine.cli.defended import several
from engine.cli.options import add_attack_options, bench
from engine.cli.output import (
    Writer,
    as_csv,
    as_figure,
    as_json,
    as_text,
    out_folder,
    print_json,
    printable,
    remark,
    write,
)
from engine.cli.parser import Commands, add_config
from engine.cli.several import add_several, but, sweep_from

if TYPE_CHECKING:
    from engine.experiments.defending.judged import Judged
    from engine.experiments.sweeps import Sweep

DEFAULT_EPS = "2/255"


def add(commands: Commands) -> None:
    # The later option of a name stands: here several models, seeds and defenses are taken.
    parser = commands.add_parser("defend", help="what defenses cost, and what they are worth against attackers who "
                                                "know of them and who do not", conflict_handler="resolve")
    parser.add_argument("--attack", required=True, help="one or more, with commas; each image is held only where it "
                                                        "holds against all of them")
    parser.add_argument("--eps", default=DEFAULT_EPS,
                        help=f"budgets in [0,1], with commas (default {DEFAULT_EPS}); what attacks that have none do "
                             "counts within them")
    add_attack_options(parser)
    add_several(parser)
    parser.add_argument("--no-checks", action="store_true", help="leave out what shows that gradients are hidden: one "
                                                                 "step, and a budget that leaves nothing of a picture")
    add_config(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from engine.experiments.config import config_text, settings_of
    from engine.experiments.defending.judged import judged
    from engine.experiments.defending.judging import defend_task, defended_of

    repeats = config_text("defend", settings_of(vars(arguments)))
    sweep = _sweep(arguments)
    task, out = defend_task(sweep, arguments.device), out_folder(arguments.out)
    found = judged(defended_of(bench(arguments).result(task)))
    facts = _facts(sweep, found)
    if arguments.json:
        print_json(facts)
    else:
        _print(sweep, found, facts)
    if out is not None:
        write(out, _files(sweep, found, facts, repeats))


def _sweep(arguments: argparse.Namespace) -> Sweep:
    """The bare model goes first, and both kinds of attackers face the defenses; raises EngineError."""
    from dataclasses import replace

    from engine.defenses.words import NONE
    from engine.experiments.defended import BOTH
    from engine.experiments.defending.judging import with_checks
    from engine.experiments.sweeps import sweep_of

    stacks = several(arguments.defense)
    defended = [stack for stack in stacks if stack != NONE]
    sweep = sweep_from(but(arguments, defense=[NONE, *defended],
                           attacker=(several(arguments.attacker) or [BOTH]) if defended else []))
    if arguments.no_checks:
        return sweep
    attacks = with_checks(sweep.attacks)
    return replace(sweep_of(sweep.dataset, sweep.split, sweep.indices, sweep.models, attacks, sweep.names))


def _facts(sweep: Sweep, found: Judged) -> dict[str, Any]:
    from engine.experiments.defended import facts as front
    from engine.experiments.defending import watched
    from engine.experiments.defending.tables import masking, summaries
    from engine.experiments.defending.words import doubts, verdict
    from engine.experiments.evaluation.evaluate import summary

    last = found.budgets[-1]
    return {"dataset": sweep.dataset, "split": sweep.split, "indices": list(sweep.indices),
            "defenses": summaries(found), "verdict": verdict(found, last), "masking": masking(found),
            "doubts": list(doubts(found, last)), "detectors": watched.summaries(found),
            "one_client": watched.crowd_summaries(found),
            "runs": [{**summary(run), "warnings": list(run.warnings), **front(run)} for run in found.defended.known]}


def _print(sweep: Sweep, found: Judged, facts: dict[str, Any]) -> None:
    from engine.attacks.norms import NORMS
    from engine.experiments.defending import watched
    from engine.experiments.defending.words import readable, warnings

    print(printable(f"{len(sweep.indices)} images of {sweep.dataset}/{sweep.split}"))
    for eps in found.budgets:
        if eps is not None:
            print(f"within {NORMS[found.norm].text(eps)}")
        for _, line in readable(found.at(eps)).iterrows():
            numbers = dict(line)
            where = numbers.pop("model", "")
            print(printable(f"  {numbers.pop('defense')}{where and f' on {where}'}"))
            for name, value in numbers.items():
                print(printable(f"    {name:38} {value}"))
    seen = watched.watches(found, found.budgets[-1])
    for line in (*facts["verdict"], *watched.sentences(seen), *watched.crowd_sentences(found), *facts["doubts"]):
        print(printable(line))
    for name, sign in warnings(found, found.budgets[-1]):
        remark(f"hidden gradients? {name}: {sign.name}: {sign.sentence}")


def _files(sweep: Sweep, found: Judged, facts: dict[str, Any], repeats: str) -> dict[str, Writer]:
    from engine.experiments.defending import plots, watched
    from engine.experiments.defending.tables import again, overview
    from engine.experiments.frames import write_parquet
    from engine.experiments.plots import FORMATS
    from engine.experiments.spreadsheets import as_latex

    tables = {"defenses": overview(found)}
    if len(verified := again(found)):
        tables["asked-again"] = verified
    drawings = {"trade-off": lambda: plots.trade_off(found.at(found.budgets[-1]))}
    if seen := watched.watches(found, found.budgets[-1]):
        tables["detectors"] = watched.overview(found)
        drawings["detectors-roc"] = lambda: plots.roc(seen)
    return {
        "rows.parquet": lambda file: write_parquet(found.defended.known, sweep.images, file),
        "defend.json": as_json(facts),
        "sweep.toml": as_text(repeats),
        **{f"{name}.csv": as_csv(table) for name, table in tables.items()},
        **{f"{name}.tex": as_text(as_latex(table)) for name, table in tables.items()},
        **{f"{name}.{form}": as_figure(draw, form) for name, draw in drawings.items() for form in FORMATS},
    }
