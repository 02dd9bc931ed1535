"""python -m engine attack: attack images of a data set."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from engine.cli.options import add_attack_options, asked, bench, class_map_of, number, spec_of, sweep_of, target_of
from engine.cli.output import Pieces, Writer, as_json, as_npz, out_folder, print_json, write
from engine.cli.own import add_image_options, attack_image, check_image_options
from engine.cli.parser import Commands

if TYPE_CHECKING:
    import numpy as np

    from engine.attacks.rows import Rows
    from engine.experiments.units import Unit
    from engine.work.kinds import Bench

DEFAULT_EPS = "2/255"


def add(commands: Commands) -> None:
    parser = commands.add_parser("attack", help="attack images of a data set")
    parser.add_argument("--attack", required=True)
    parser.add_argument("--eps", help=f"budget in [0,1] (default {DEFAULT_EPS}); some attacks have none")
    add_attack_options(parser)
    add_image_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from engine.attacks import ATTACKS
    from engine.attacks.base import Budget
    from engine.experiments import defended

    check_image_options(arguments)
    bounded = ATTACKS[arguments.attack].info.bounded
    text = arguments.eps or (DEFAULT_EPS if bounded else None)
    eps = None if text is None else number("--eps", text)
    if eps is not None:
        Budget(arguments.norm or "linf", eps)
    class_map = class_map_of(arguments)
    target = target_of(arguments.target, class_map)
    spec = spec_of(arguments, arguments.attack, eps, target)
    if arguments.image is not None:
        attack_image(arguments, spec)
        return
    sweep = sweep_of(arguments, class_map, [spec])
    units, = sweep.plan()  # before there is the folder of --out, which may lie in that of the images
    out, where = out_folder(arguments.out), bench(arguments)
    rows = _rows(units, where, with_images=out is not None)
    facts = {**rows.facts(), **defended.facts(rows), **asked(arguments, sweep, class_map)}
    if arguments.json:
        print_json(facts)
    else:
        _print(facts, rows)
    if out is not None:
        write(out, _files(facts, rows, units, where))


def _rows(units: list[Unit], bench: Bench, with_images: bool) -> Rows:
    from engine.experiments.onepicture.explore import explored_task
    from engine.experiments.sweeps import performed, steps_of
    from engine.progress import to_the_end

    if len(units) == 1 and len(units[0].indices) == 1:
        bench.result(explored_task(units[0], bench.device))  # so that the page has the picture, too
    rows, = to_the_end(performed(steps_of([units], bench.device, with_images), bench))
    return rows


def _print(facts: dict[str, Any], result: Rows) -> None:
    from engine.attacks.norms import NORMS
    from engine.attacks.spec import attack_of
    from engine.experiments.defended import behind

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    spec = result.spec
    limit = "smallest change" if spec.eps is None else f"eps {NORMS[spec.norm].text(spec.eps)}"
    print(f"{spec.attack}, {limit} ({spec.norm}), on {facts['n']} images of "
          f"{facts['dataset']}/{facts['split']}, model {facts['model']}{behind(spec)}")
    print(f"  accuracy                {share(facts['accuracy_clean'])} clean -> {share(facts['accuracy_adversarial'])} "
          f"adversarial ({share(facts['accuracy_adversarial_8bit'])} after saving with 8 bits)")
    print(f"  success                 {share(facts['success_rate'])} of the {facts['attacked']} classified correctly")
    if attack_of(spec).learning_cost(1).queries:
        low, high = facts["fooling_interval"]
        word = "changed" if spec.target is None else f"made {result.classes[spec.target]}"
        print(f"  fooling rate            {share(facts['fooling_rate'])} of {facts['fooling_of']} predictions {word} "
              f"(95 % interval {low:.1%} to {high:.1%}), right or not before")
    print(f"  largest pixel change    {facts['linf_max'] * 255:.3g}/255; mean L2 {facts['l2_mean']:.4g}")
    print(f"  spent per image         {facts['queries_mean']:g} queries, {facts['gradients_mean']:g} gradients")
    if spec.defenses:
        print(f"  refused                 {facts['refused']} of {int(result.queries.sum())} queries, "
              f"{facts['refused_clean']} clean images, {facts['refused_adversarial']} adversarial ones")
    print(f"  time                    {facts['seconds']:.1f} s on {result.provenance.device}, seed {facts['seed']}")
    for warning in facts["warnings"]:
        print(f"  warning: {warning}")


def _files(facts: dict[str, Any], rows: Rows, units: list[Unit], bench: Bench) -> dict[str, Writer]:
    from engine.data.raster import printable
    from engine.experiments.units import images_of, images_task

    adversarial, learned = images_of(bench.result(images_task(units[0], bench.device)))
    shape = (len(rows.labels), *adversarial.shape[1:])
    arrays: dict[str, np.ndarray | Pieces] = {
        "clean": Pieces(shape, lambda: (unit.seen.images(unit.indices) for unit in units)),
        "adversarial": Pieces(shape, lambda: (images_of(bench.result(images_task(unit, bench.device)))[0]
                                              for unit in units)),
        "labels": rows.labels, "predicted_clean": rows.predicted_clean,
        "predicted_adversarial": rows.predicted_adversarial, **learned}
    files: dict[str, Writer] = {"result.json": as_json(facts), "adversarial.npz": as_npz(arrays)}
    if "learned_patch" in learned:
        files["patch.png"] = lambda file: file.write(printable(learned["learned_patch"]))
    return files
