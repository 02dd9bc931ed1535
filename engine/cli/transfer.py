"""python -m engine transfer: who fools whom."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine.cli.defended import add_several_defenses
from engine.cli.options import add_attack_options, bench, class_map_of, selected, target_of
from engine.cli.output import Writer, as_csv, as_figure, as_json, as_text, out_folder, print_json, printable, write
from engine.cli.parser import Commands, add_config
from engine.cli.several import but, listed, specs_from

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from engine.attacks.rows import Rows
    from engine.experiments.transfers.alignment import Alignment
    from engine.experiments.transfers.transfer import Transfer
    from engine.experiments.transfers.transferred import Cell, Matrix

DEFAULT_EPS = "2/255"
ENSEMBLES = ("together", "others")  # as engine.experiments.transfers.transfer has them, which takes a moment to import


def add(commands: Commands) -> None:
    # The later option of a name stands.
    parser = commands.add_parser("transfer", help="what is made on one model, shown to others: who fools whom",
                                 conflict_handler="resolve")
    parser.add_argument("--attack", required=True, help="one or more that have a model, with commas")
    parser.add_argument("--eps", default=DEFAULT_EPS, help=f"budgets in [0,1], with commas (default {DEFAULT_EPS})")
    add_attack_options(parser)
    parser.add_argument("--model", "--models", dest="models", required=True, metavar="M1,M2",
                        help="the models that are to be fooled, with commas: names, or checkpoints' paths")
    parser.add_argument("--sources", default="", metavar="M1,M2",
                        help="the models that the attacker has, with commas (default: those of --models)")
    parser.add_argument("--ensemble", nargs="?", const=ENSEMBLES[0], default="", choices=("", *ENSEMBLES),
                        help="also as sources: all sources together, as one (where nothing else is said), or for every "
                             "model all others")
    parser.add_argument("--alignment", action="store_true",
                        help="also the cosine between the models' input gradients, which explains who fools whom")
    parser.add_argument("--seed", default="0", help="one or more, with commas (default 0)")
    add_several_defenses(parser)
    parser.add_argument("--surrogate", default="", help=argparse.SUPPRESS)  # that is what the sources are
    add_config(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from engine.experiments.config import config_text, settings_of
    from engine.experiments.gathered import runs_of
    from engine.experiments.transfers.transfer import transfer_task
    from engine.experiments.transfers.transferred import matrices

    asked = _asked(arguments)
    repeats = config_text("transfer", settings_of(vars(arguments)))
    out, where = out_folder(arguments.out), bench(arguments)
    runs = runs_of(where.result(transfer_task(asked, arguments.device)))
    found, alignment = matrices(asked, runs), _alignment(arguments, asked)
    facts = _facts(asked, runs, found, alignment)
    if arguments.json:
        print_json(facts)
    else:
        _print(asked, runs, found, alignment)
    if out is not None:
        write(out, _files(asked, runs, found, facts) | {"sweep.toml": as_text(repeats)})


def _asked(arguments: argparse.Namespace) -> Transfer:
    from engine.experiments.transfers.transfer import transfer_of

    targets = listed("models", arguments.models)
    class_map = class_map_of(but(arguments, model=targets[0]))
    split, indices = selected(arguments)
    return transfer_of(arguments.dataset, split, indices, _sources(arguments, targets), targets,
                       specs_from(arguments, target_of(arguments.target, class_map)),
                       tuple(class_map.names.items()) if arguments.map else ())


def _sources(arguments: argparse.Namespace, targets: Sequence[str]) -> list[str]:
    from engine.experiments.transfers.transfer import ensembles

    single = listed("sources", arguments.sources) if arguments.sources else list(targets)
    return [*single, *(ensembles(single, arguments.ensemble) if arguments.ensemble else ())]


def _alignment(arguments: argparse.Namespace, asked: Transfer) -> Alignment | None:
    if not arguments.alignment:
        return None
    from engine.experiments.transfers.alignment import Alignment, alignment_task

    task = alignment_task(asked.dataset, asked.split, asked.indices, asked.models, asked.names, arguments.device)
    return Alignment.of(bench(arguments).result(task))


def _facts(asked: Transfer, runs: Sequence[Rows], found: Sequence[Matrix],
           alignment: Alignment | None) -> dict[str, Any]:
    from engine.experiments.transfers.words import explained, remarks, sentences

    each = [{**matrix.summary(), "sentences": list(sentences(matrix))} for matrix in found]
    return {"dataset": asked.dataset, "split": asked.split, "n": len(asked.indices), "indices": list(asked.indices),
            **each[0], "attacks": each, "warnings": list(remarks(asked, runs)),
            "alignment": None if alignment is None else {**alignment.summary(),
                                                         "sentence": explained(alignment, found[0])}}


def _print(asked: Transfer, runs: Sequence[Rows], found: Sequence[Matrix], alignment: Alignment | None) -> None:
    from engine.experiments.transfers.words import attack_title, explained, remarks, sentences, short

    names = short((*asked.sources, *asked.targets))
    print(printable(f"{len(asked.indices)} images of {asked.dataset}/{asked.split}; success over those that the target "
                    "classified correctly"))
    for matrix in found:
        print(printable(f"{attack_title(matrix.attack, asked.attacks)}: made on (down), shown to (across)"))
        _table([names[source] for source in matrix.sources], [names[target] for target in matrix.targets],
               [[_cell(cell) for cell in row] for row in matrix.cells])
        for sentence in sentences(matrix):
            print(printable(f"  {sentence}"))
    if alignment is not None:
        labels = [names[model] for model in alignment.models]
        print("cosine between the models' input gradients")
        _table(labels, labels, [["-" if cosine.mean is None else f"{cosine.mean:.3f}" for cosine in row]
                                for row in alignment.matrix()])
        print(printable(f"  {explained(alignment, found[0])}"))
    for warning in remarks(asked, runs):
        print(printable(f"  warning: {warning}"))


def _cell(cell: Cell) -> str:
    """A success with how it is counted; [] around what was made on the target itself, () on it and others."""
    from engine.experiments.transfers.transferred import Relation

    share = cell.fooled
    text = "-" if share.rate is None else f"{share.rate:.1%} of {share.of}"
    return {Relation.ITSELF: f"[{text}]", Relation.MEMBER: f"({text})"}.get(cell.relation, text)


def _table(rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    first = max(map(len, rows))
    widths = [max(len(name), *(len(row[place]) for row in cells)) for place, name in enumerate(columns)]
    for name, row in zip(("", *rows), (columns, *cells), strict=True):
        texts = "  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True))
        print(printable(f"  {name:{first}}  {texts}".rstrip()))


def _files(asked: Transfer, runs: Sequence[Rows], found: Sequence[Matrix], facts: dict[str, Any]) -> dict[str, Writer]:
    from engine.experiments.frames import write_parquet
    from engine.experiments.plots import FORMATS
    from engine.experiments.spreadsheets import as_latex
    from engine.experiments.transfers import plots
    from engine.experiments.transfers.transferred import long, wide
    from engine.experiments.transfers.words import readable

    table = readable(found)
    figures: dict[str, Callable[[], Figure]] = {"matrix": lambda: plots.heat(found),
                                                "means": lambda: plots.means(found)}
    return {
        "rows.parquet": lambda file: write_parquet(runs, asked.images, file),
        "transfer.json": as_json(facts),
        "matrix.csv": as_csv(wide(found)),
        "matrix.tex": as_text(as_latex(table)),
        "pairs.csv": as_csv(long(found)),
        **{f"{name}.{form}": as_figure(draw, form) for name, draw in figures.items() for form in FORMATS},
    }
