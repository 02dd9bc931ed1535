"""python -m engine evaluate: what attacks do to models on a data set, in every number."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any

from engine.cli.options import add_attack_options, bench, class_map_of, number, selected, spec_of, target_of
from engine.cli.output import Writer, as_json, out_folder, print_json, write
from engine.cli.parser import Commands, add_config
from engine.errors import EngineError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from engine.attacks.rows import Rows
    from engine.attacks.spec import AttackSpec
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
    parser.add_argument("--model", required=True, help="one or more, with commas: names, or checkpoints' paths")
    parser.add_argument("--seed", default="0", help="one or more, with commas (default 0)")
    add_config(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from engine.experiments.config import config_text, settings_of
    from engine.experiments.gathered import runs_of
    from engine.experiments.sweeps import evaluation_task

    sweep = _sweep(arguments)
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


def listed(option: str, text: str) -> list[str]:
    """The values of an option that takes several with commas, each once; raises EngineError where there is none."""
    values = list(dict.fromkeys(value.strip() for value in text.split(",") if value.strip()))
    if not values:
        raise EngineError(f"--{option} needs at least one value")
    return values


def _sweep(arguments: argparse.Namespace) -> Sweep:
    from engine.experiments.sweeps import sweep_of

    models = listed("model", arguments.model)
    names, target = _common(arguments, models)
    split, indices = selected(arguments)
    return sweep_of(arguments.dataset, split, indices, models, _specs(arguments, target), names)


def _common(arguments: argparse.Namespace, models: Sequence[str]) -> tuple[tuple[tuple[str, str], ...], int | None]:
    """What the models call the data set's classes, where --map says it, and --target as a class number of them all."""
    maps = [class_map_of(argparse.Namespace(**{**vars(arguments), "model": model})) for model in models]
    if arguments.map and len({tuple(one.names.items()) for one in maps}) > 1:
        raise EngineError(f"the models {' and '.join(models)} call the classes differently, so one --map cannot serve "
                          "them all; evaluate them one by one")
    targets = {target_of(arguments.target, one) for one in maps}
    if len(targets) > 1:
        raise EngineError(f"--target is not the same class number for all of {', '.join(models)}; evaluate them one "
                          "by one")
    return tuple(maps[0].names.items()) if arguments.map else (), targets.pop()


def _specs(arguments: argparse.Namespace, target: int | None) -> list[AttackSpec]:
    """Every attack at every budget with every seed."""
    from engine.attacks import ATTACKS
    from engine.attacks.base import Budget

    budgets: list[float | None] = [number("--eps", text) for text in listed("eps", arguments.eps)]
    for eps in budgets:
        Budget(arguments.norm or "linf", eps)
    seeds = [argparse.Namespace(**{**vars(arguments), "seed": _seed(text)}) for text in listed("seed", arguments.seed)]
    return [spec_of(seed, attack, eps, target) for attack in listed("attack", arguments.attack)
            for eps in (sorted(set(budgets)) if ATTACKS[attack].info.bounded else [None])  # type: ignore[type-var]
            for seed in seeds]


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise EngineError(f"--seed must be whole numbers with commas, such as 0,1, not '{text}'") from None


def _facts(sweep: Sweep, runs: Sequence[Rows]) -> dict[str, Any]:
    from engine.experiments.aloud import by_budget, remarks, sentences
    from engine.experiments.evaluate import summary

    said = [{"model": same[0].provenance.model, "attack": same[0].spec.attack, "seed": same[0].spec.seed,
             "sentences": sentences(same)} for same in by_budget(runs)]
    return {"dataset": sweep.dataset, "split": sweep.split, "indices": list(sweep.indices),
            "runs": [{**summary(rows), "warnings": list(rows.warnings)} for rows in runs], "said": said,
            "remarks": remarks(runs)}


def _print(sweep: Sweep, runs: Sequence[Rows], facts: dict[str, Any]) -> None:
    from engine.cli.output import printable
    from engine.experiments.aloud import title

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
    for group in facts["said"]:
        for sentence in group["sentences"]:
            print(printable(f"{group['model']}, {group['attack']}: {sentence}"))
    for line in facts["remarks"]:
        print(printable(f"note: {line}"))


def _files(sweep: Sweep, runs: Sequence[Rows], facts: dict[str, Any], repeats: str) -> dict[str, Writer]:
    from engine.experiments import evaluation_plots as plots
    from engine.experiments import evaluation_tables as tabled
    from engine.experiments.evaluate import subgroups
    from engine.experiments.frames import write_parquet
    from engine.experiments.sources import opened

    known = subgroups(opened(sweep.dataset, sweep.split), sweep.indices)
    tables = {"overview": tabled.overview(runs), "scores": tabled.scores_table(runs),
              "confusion": tabled.confusion_table(runs),
              "images": tabled.standings_table(runs, dict(zip(runs[0].identities, sweep.images, strict=True)))}
    if known:
        tables["subgroups"] = tabled.groups_table(runs, known)
    figures: dict[str, Callable[[], Figure]] = {"accuracy": lambda: plots.accuracies(runs)}
    figures |= {f"confusion-{place + 1:02}": lambda rows=rows: plots.confusion(rows)  # type: ignore[misc]
                for place, rows in enumerate(runs)}
    return {
        "rows.parquet": lambda file: write_parquet(runs, sweep.images, file),
        "evaluate.json": as_json(facts),
        "sweep.toml": lambda file: file.write(repeats.encode()),
        **{f"{name}.csv": _csv(table) for name, table in tables.items()},
        **{f"{name}.tex": _text(tabled.as_latex(table)) for name, table in tables.items()},
        **{f"{name}.{form}": _drawn(draw, form) for name, draw in figures.items() for form in plots.FORMATS},
    }


def _csv(table: Any) -> Writer:
    return lambda file: table.to_csv(file, index=False)


def _text(text: str) -> Writer:
    return lambda file: file.write(text.encode())


def _drawn(draw: Callable[[], Figure], form: str) -> Writer:
    def write(file: IO[bytes]) -> None:
        from engine.experiments.evaluation_plots import save

        save(draw(), form, file)

    return write
