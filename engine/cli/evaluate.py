"""python -m engine evaluate: what attacks do to models on a data set, in every number."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine.cli.options import add_attack_options, bench
from engine.cli.output import Writer, as_csv, as_figure, as_json, as_text, out_folder, print_json, write
from engine.cli.parser import Commands, add_config
from engine.cli.several import add_several, sweep_from

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from engine.attacks.rows import Rows
    from engine.experiments.sweeps import Sweep

DEFAULT_EPS = "2/255"


def add(commands: Commands) -> None:
    # The later option of a name stands: here several models and seeds are taken.
    parser = commands.add_parser("evaluate", help="what attacks do to models on a data set, in every number",
                                 conflict_handler="resolve")
    parser.add_argument("--attack", required=True, help="one or more, with commas")
    parser.add_argument("--eps", default=DEFAULT_EPS,
                        help=f"budgets in [0,1], with commas (default {DEFAULT_EPS}); attacks that have none run once")
    add_attack_options(parser)
    add_several(parser)
    add_config(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from engine.experiments.config import config_text, settings_of
    from engine.experiments.gathered import runs_of
    from engine.experiments.sweeps import evaluation_task

    sweep = sweep_from(arguments)
    repeats = config_text("evaluate", settings_of(vars(arguments)))
    task, out = evaluation_task(sweep, arguments.device), out_folder(arguments.out)
    runs = runs_of(bench(arguments).result(task))
    facts = _facts(sweep, runs)
    if arguments.json:
        print_json(facts)
    else:
        _print(sweep, runs, facts)
    if out is not None:
        write(out, _files(sweep, runs, facts, repeats))


def _facts(sweep: Sweep, runs: Sequence[Rows]) -> dict[str, Any]:
    from engine.experiments.defended import named
    from engine.experiments.evaluation.aloud import by_budget, remarks, sentences
    from engine.experiments.evaluation.evaluate import summary

    said = [{"model": same[0].provenance.model, "attack": same[0].spec.attack, "seed": same[0].spec.seed,
             **named(same[0].spec), "sentences": sentences(same)} for same in by_budget(runs)]
    return {"dataset": sweep.dataset, "split": sweep.split, "indices": list(sweep.indices),
            "runs": [{**summary(rows), "warnings": list(rows.warnings)} for rows in runs], "said": said,
            "remarks": remarks(runs)}


def _print(sweep: Sweep, runs: Sequence[Rows], facts: dict[str, Any]) -> None:
    from engine.cli.output import printable
    from engine.experiments.defended import behind
    from engine.experiments.evaluation.aloud import by_budget, title

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    print(printable(f"{len(sweep.indices)} images of {sweep.dataset}/{sweep.split}"))
    for rows, found in zip(runs, facts["runs"], strict=True):
        low, high = found["accuracy_adversarial_interval"]
        print(printable(f"{found['model']}, {title(rows)}, seed {found['seed']}"))
        print(f"  accuracy      {share(found['accuracy_clean'])} -> {share(found['accuracy_adversarial'])} "
              f"(95 % interval {low:.1%} to {high:.1%})")
        print(f"  success       {share(found['success_rate'])} of the {found['attacked']} classified correctly")
        for name in ("precision", "recall", "specificity", "f1", "auc"):
            means = [found[name][side]["macro"] for side in ("clean", "adversarial")]
            print(f"  {name:13} {' -> '.join('-' if mean is None else f'{mean:.3f}' for mean in means)} (macro)")
        for warning in found["warnings"]:
            print(printable(f"  warning: {warning}"))
    for same, group in zip(by_budget(runs), facts["said"], strict=True):
        for sentence in group["sentences"]:
            print(printable(f"{group['model']}, {group['attack']}{behind(same[0].spec)}: {sentence}"))
    for line in facts["remarks"]:
        print(printable(f"note: {line}"))


def _files(sweep: Sweep, runs: Sequence[Rows], facts: dict[str, Any], repeats: str) -> dict[str, Writer]:
    from engine.experiments.evaluation import plots
    from engine.experiments.evaluation import tables as tabled
    from engine.experiments.evaluation.evaluate import standings, subgroups
    from engine.experiments.frames import write_parquet
    from engine.experiments.plots import FORMATS
    from engine.experiments.sources import opened
    from engine.experiments.spreadsheets import as_latex

    known = subgroups(opened(sweep.dataset, sweep.split), sweep.indices)
    tables = {"overview": tabled.overview(runs), "scores": tabled.scores_table(runs),
              "confusion": tabled.confusion_table(runs),
              "images": tabled.standings_table(
                  standings(runs), dict(zip(runs[0].identities, sweep.images, strict=True)))}
    if known:
        tables["subgroups"] = tabled.groups_table(runs, known)
    figures: dict[str, Callable[[], Figure]] = {"accuracy": lambda: plots.accuracies(runs)}
    figures |= {f"confusion-{place + 1:02}": lambda rows=rows: plots.confusion(rows)  # type: ignore[misc]
                for place, rows in enumerate(runs)}
    return {
        "rows.parquet": lambda file: write_parquet(runs, sweep.images, file),
        "evaluate.json": as_json(facts),
        "sweep.toml": as_text(repeats),
        **{f"{name}.csv": as_csv(table) for name, table in tables.items()},
        **{f"{name}.tex": as_text(as_latex(table)) for name, table in tables.items()},
        **{f"{name}.{form}": as_figure(draw, form) for name, draw in figures.items() for form in FORMATS},
    }
