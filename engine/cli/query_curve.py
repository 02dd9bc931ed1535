"""python -m engine query-curve: how near, and how often, black-box attacks come with how many queries."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.cli.defended import add_several_defenses
from engine.cli.options import add_attack_options, bench, class_map_of, number, selected, specs_of, target_of
from engine.cli.output import Writer, as_csv, as_figure, as_json, as_text, out_folder, print_json, printable, write
from engine.cli.parser import Commands, add_config
from engine.cli.several import but, listed
from engine.errors import EngineError, UnknownName, shortened

if TYPE_CHECKING:
    from engine.attacks.norms import Norm
    from engine.attacks.spec import AttackSpec
    from engine.data.classmap import ClassMap
    from engine.experiments.queries.curves import QueryCurve, Success
    from engine.experiments.queries.walks import Walks
    from engine.experiments.sweeps import Sweep
    from engine.work.kinds import Bench

MEASURED = ("linf", "l2", "l0")


def add(commands: Commands) -> None:
    # Of the options that all commands about attacks have, some take several values here.
    parser = commands.add_parser("query-curve", help="norm and success against queries, for black-box attacks",
                                 conflict_handler="resolve")
    add_attack_options(parser)
    parser.add_argument("--model", required=True, help="one or more, with commas")
    parser.add_argument("--attack", required=True, help="one or more, with commas, that see probabilities or only "
                                                        "decisions")
    parser.add_argument("--eps", default="2/255", help="budgets of those attacks that take one, with commas "
                                                       "(default 2/255)")
    parser.add_argument("--queries", default="250,1000", help="how many queries an image, with commas; the largest is "
                                                              "walked to (default 250,1000)")
    parser.add_argument("--norms", default="", help="sizes of a change at which success is told, with commas, such as "
                                                    "0.5,1,2 or 1/255,2/255")
    parser.add_argument("--measure", help="linf, l2 or l0: in which norm (default: that of each attack)")
    parser.add_argument("--seed", default="0", help="one or more, with commas")
    add_several_defenses(parser)
    add_config(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    counts, sizes = _counts(arguments.queries), _sizes(arguments.norms)
    if arguments.max_queries is not None or any(
            pair.partition("=")[0].rpartition(".")[2] == "queries" for pair in arguments.set):
        raise EngineError("how many queries there are is said by --queries here; leave --max-queries and --set queries "
                          "out")
    if arguments.measure is not None and arguments.measure not in MEASURED:
        raise UnknownName("--measure", arguments.measure, MEASURED)
    models = listed("model", arguments.model)
    class_maps = [class_map_of(but(arguments, model=model)) for model in models]
    specs = _specs(arguments, class_maps, max(counts))
    sweep = _sweep(arguments, models, class_maps, specs)
    from engine.experiments.config import config_text, settings_of

    repeats = config_text("query-curve", settings_of(vars(arguments)))
    out, where = out_folder(arguments.out), bench(arguments)
    walks = _walked(sweep, where)
    from engine.experiments.queries.curves import query_curve

    curves = [query_curve(one, counts, sizes, arguments.measure or "") for one in walks]
    facts = {"dataset": arguments.dataset, "split": sweep.split, "n": len(sweep.indices), "models": models,
             "attacks": list(dict.fromkeys(spec.attack for spec in specs)), "queries": counts,
             "map": class_maps[0].names, "indices": list(sweep.indices),
             "curves": [curve.summary() for curve in curves]}
    if arguments.json:
        print_json(facts)
    else:
        _print(arguments.dataset, sweep, curves)
    if out is not None:
        write(out, _files(facts, curves, walks, sweep.images) | {
            "sweep.toml": as_text(repeats)})


def _whole(option: str, text: str, example: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise EngineError(f"{option} takes whole numbers with commas, such as {example}, not '{shortened(text)}'"
                          ) from None


def _counts(text: str) -> list[int]:
    counts = sorted({_whole("--queries", one, "250,1000,5000") for one in listed("queries", text)})
    if counts[0] < 1:
        raise EngineError(f"--queries must be at least 1, not {counts[0]}")
    return counts


def _sizes(text: str) -> list[float] | None:
    sizes = [number("--norms", one) for one in text.split(",") if one.strip()]
    if any(not (math.isfinite(size) and size >= 0) for size in sizes):
        raise EngineError("--norms must be sizes of a change from 0 on, such as 0.5,1,2")
    return sorted(set(sizes)) or None


def _specs(arguments: argparse.Namespace, class_maps: list[ClassMap], queries: int) -> list[AttackSpec]:
    """Every attack with every budget that it takes and every seed, to so many queries."""
    from engine.attacks import ATTACKS
    from engine.experiments.queries.walks import walking

    target = target_of(arguments.target, class_maps[0])
    if target is not None and len({class_map.model for class_map in class_maps}) > 1:
        raise EngineError("--target is a class of one model, and these have not the same; give them one by one")
    seeds = [_whole("--seed", one, "0,1,2") for one in listed("seed", arguments.seed)]
    budgets = [number("--eps", one) for one in listed("eps", arguments.eps)]
    return [walking(spec, queries) for name in listed("attack", arguments.attack)
            for eps in (budgets if ATTACKS[name].info.bounded else [None]) for seed in seeds
            for spec in specs_of(but(arguments, seed=seed), name, eps, target)]


def _sweep(arguments: argparse.Namespace, models: list[str], class_maps: list[ClassMap],
           specs: list[AttackSpec]) -> Sweep:
    from engine.experiments.sweeps import sweep_of

    split, indices = selected(arguments)
    names = tuple(class_maps[0].names.items()) if arguments.map else ()
    return sweep_of(arguments.dataset, split, indices, models, specs, names)


def _walked(sweep: Sweep, where: Bench) -> list[Walks]:
    from engine.experiments.queries.walks import estimate, query_curve_task, walks_of

    cost = estimate(len(sweep.indices), sweep.models, sweep.attacks, where.device)
    print(f"at most {cost.queries:,} queries: {len(sweep.indices)} images, {len(sweep.models)} models, "
          f"{len(sweep.attacks)} attacks", file=sys.stderr)
    return walks_of(where.result(query_curve_task(sweep, where.device)))


def _print(dataset: str, sweep: Sweep, curves: list[QueryCurve]) -> None:
    from engine.attacks.norms import NORMS
    from engine.experiments.queries.words import name_of

    print(printable(f"{len(sweep.indices)} images of {dataset}/{sweep.split}"))
    for curve in curves:
        norm = NORMS[curve.norm]
        print(printable(f"{name_of(curve)}: {curve.norm} of the nearest that fools, of {curve.attacked} classified "
                        "correctly"))
        for point in curve.points:
            low, middle, high, mean = (_size(norm, size) for size in (point.q25, point.median, point.q75, point.mean))
            print(f"  {point.queries:8,} queries   median {middle:>10} ({low} to {high})   mean {mean:>10}   "
                  f"fooled {_share(point.found)}")
            for success in point.success:
                print(f"                     {_share(success)} within {norm.text(success.within)}")
        if curve.verified is not None:
            print(f"  verified, the nearest asked about {curve.verified.times} times more:")
            for served, bare in zip(curve.verified.served, curve.verified.bare, strict=True):
                print(f"  {served.queries:8,} queries   median {_size(norm, served.median):>10}, on the bare model "
                      f"{_size(norm, bare.median):>10}   holds {_share(served.found)}")
        for warning in curve.warnings:
            print(printable(f"  warning: {warning}"))


def _size(norm: Norm, size: float | None) -> str:
    return "-" if size is None else norm.text(size, ".4g")


def _share(success: Success) -> str:
    return f"{success.share:6.1%} (95 % interval {success.low:.0%} to {success.high:.0%})"


def _files(facts: dict[str, object], curves: list[QueryCurve], walks: list[Walks],
           images: Sequence[str]) -> dict[str, Writer]:
    from engine.experiments.frames import write_parquet
    from engine.experiments.plots import FORMATS
    from engine.experiments.queries.curves import as_latex, drawn, table, verified_table
    from engine.experiments.queries.plots import curves as figure

    points, held = table(curves), verified_table(curves)
    lines = [drawn(one, curve) for one, curve in zip(walks, curves, strict=True)]
    return {"query-curve.json": as_json(facts),
            "query-curve.csv": as_csv(points),
            "query-curve.tex": as_text(as_latex(points)),
            **({"verified.csv": as_csv(held)} if len(held) else {}),
            **{f"query-curve.{form}": as_figure(lambda: figure(lines), form) for form in FORMATS},
            "rows.parquet": lambda file: write_parquet(walks, images, file)}
