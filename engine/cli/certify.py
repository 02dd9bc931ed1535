"""python -m engine certify: how far images can be moved for certain without changing what a smoothed model says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.cli.options import bench, class_map_of, number, selected
from engine.cli.output import Writer, as_csv, as_figure, as_json, out_folder, print_json, printable, write
from engine.cli.parser import Commands
from engine.cli.weights import add_weights_options

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from engine.experiments.certifying import Certified


def add(commands: Commands) -> None:
    parser = commands.add_parser("certify", help="certified accuracy of a model behind randomized smoothing")
    parser.add_argument("--dataset", required=True, help="a registered name, folder:PATH or manifest:PATH")
    parser.add_argument("--model", required=True, help="a bundled or trained name, or a checkpoint's path")
    add_weights_options(parser)
    parser.add_argument("--map", default="", metavar="CLASS=CLASS,...", help="data set's name=model's name")
    parser.add_argument("--split", help="default: the data set's test split")
    parser.add_argument("--limit", type=int, help="so many images, spread evenly over the split")
    parser.add_argument("--per-class", type=int, help="so many images of every class instead, spread evenly")
    parser.add_argument("--index", type=int, nargs="+", help="these image numbers instead")
    parser.add_argument("--sigma", default="0.12", help="the noise's standard deviation, one or more with commas; the "
                        "grey range is 1 (default 0.12)")
    parser.add_argument("--choosing", type=int, default=100, help="draws that choose a class (default 100)")
    parser.add_argument("--draws", type=int, default=1000, help="further draws that count its votes (default 1000; the "
                        "paper takes 100,000): the more, the larger the radius that can be proven")
    parser.add_argument("--alpha", default="0.001", help="the risk that a radius is wrong (default 0.001)")
    parser.add_argument("--radii", default="0,0.05,0.1,0.2,0.3,0.5", help="L2 radii at which accuracy is told")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    parser.add_argument("--out", help="folder for the files")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from engine.experiments.certifying import certified_of, certify_task, certifying_of

    sigmas, radii = (_numbers(option, getattr(arguments, option)) for option in ("sigma", "radii"))
    alpha, class_map = number("--alpha", arguments.alpha), class_map_of(arguments)
    split, indices = selected(arguments)
    asked = certifying_of(arguments.dataset, split, indices, [arguments.model], sigmas, arguments.choosing,
                          arguments.draws, alpha, arguments.seed,
                          tuple(class_map.names.items()) if arguments.map else ())
    out, here = out_folder(arguments.out), bench(arguments)
    print(f"{asked.passes:,} passes through the model", file=sys.stderr)
    found = certified_of(here.result(certify_task(asked, here.device)))
    facts: dict[str, Any] = {
        "dataset": arguments.dataset, "split": split, "indices": list(indices), "alpha": alpha, "seed": arguments.seed,
        "choosing": arguments.choosing, "draws": arguments.draws, "smoothed": [one.facts(radii) for one in found]}
    if arguments.json:
        print_json(facts)
    else:
        _print(facts)
    if out is not None:
        write(out, _files(found, facts))


def _numbers(option: str, text: str) -> list[float]:
    return [number(f"--{option}", part.strip()) for part in text.split(",")]


def _print(facts: dict[str, Any]) -> None:
    print(printable(f"{facts['smoothed'][0]['n']} images of {facts['dataset']}/{facts['split']}, {facts['draws']:,} "
                    f"draws each, confidence {1 - facts['alpha']:.1%}"))
    for one in facts["smoothed"]:
        print(printable(f"  {one['model']} smoothed with sigma {one['sigma']:g}: nothing is proven of "
                        f"{one['abstained']}, the median radius is {one['radius_median']:.3g} (L2); without noise "
                        f"{one['accuracy_clean']['counted']} are read correctly"))
        for at in one["certified"]:
            print(f"    within L2 {at['radius']:<6g} {at['rate']:6.1%} are right for certain ({at['low']:.1%} to "
                  f"{at['high']:.1%})")


def _files(found: Sequence[Certified], facts: dict[str, Any]) -> dict[str, Writer]:
    from pandas import DataFrame

    from engine.experiments.plots import FORMATS

    rows = [{"sigma": one.sigma, "index": index, **row} for one in found
            for index, row in zip(facts["indices"], one.rows(), strict=True)]
    return {"certificate.json": as_json(facts), "certificate.csv": as_csv(DataFrame(rows)),
            **{f"certificate.{form}": as_figure(lambda: _figure(found, facts), form) for form in FORMATS}}


def _figure(found: Sequence[Certified], facts: dict[str, Any]) -> Figure:
    from engine.experiments.epsilon.certified import curves

    return curves(found, f"{facts['dataset']}/{facts['split']}, {facts['draws']:,} draws")
