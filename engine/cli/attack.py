"""python -m engine attack: attack images of a data set."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from engine.cli.options import add_attack_options, class_map_of, lessons, number, opened, spec_of, target_of
from engine.cli.output import as_json, out_folder, print_json, shown_progress, write
from engine.cli.parser import Commands

if TYPE_CHECKING:
    from engine.attacks.result import AttackResult

DEFAULT_EPS = "2/255"


def add(commands: Commands) -> None:
    parser = commands.add_parser("attack", help="attack images of a data set")
    parser.add_argument("--attack", required=True)
    parser.add_argument("--eps", help=f"budget in [0,1] (default {DEFAULT_EPS}); some attacks have none")
    add_attack_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from engine.attacks import ATTACKS
    from engine.attacks.base import Budget

    bounded = ATTACKS[arguments.attack].info.bounded
    text = arguments.eps or (DEFAULT_EPS if bounded else None)
    eps = None if text is None else number("--eps", text)
    if eps is not None:
        Budget(arguments.norm or "linf", eps)
    class_map = class_map_of(arguments)
    target = target_of(arguments.target, class_map)
    spec = spec_of(arguments, arguments.attack, eps, target)
    dataset, indices, model = opened(arguments, class_map)
    out = out_folder(arguments.out)
    from engine.experiments.evaluate import evaluate

    result = evaluate(dataset, indices, model, spec, device=arguments.device, progress=shown_progress(),
                      memory=lessons())
    facts = {**result.facts(), "dataset": arguments.dataset, "split": dataset.split, "model": arguments.model,
             "attack": arguments.attack, "map": class_map.names, "indices": indices}
    if arguments.json:
        print_json(facts)
    else:
        _print(facts, result)
    write(out, _files(facts, result))


def _print(facts: dict[str, Any], result: AttackResult) -> None:
    from engine.attacks.norms import NORMS

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    spec = result.spec
    limit = "smallest change" if spec.eps is None else f"eps {NORMS[spec.norm].text(spec.eps)}"
    print(f"{spec.attack}, {limit} ({spec.norm}), on {facts['n']} images of "
          f"{facts['dataset']}/{facts['split']}, model {facts['model']}")
    print(f"  accuracy                {share(facts['accuracy_clean'])} clean -> {share(facts['accuracy_adversarial'])} "
          f"adversarial ({share(facts['accuracy_adversarial_8bit'])} after saving with 8 bits)")
    print(f"  success                 {share(facts['success_rate'])} of the {facts['attacked']} classified correctly")
    if result.trace.learned:
        low, high = facts["fooling_interval"]
        word = "changed" if spec.target is None else f"made {result.classes[spec.target]}"
        print(f"  fooling rate            {share(facts['fooling_rate'])} of {facts['fooling_of']} predictions {word} "
              f"(95 % interval {low:.1%} to {high:.1%}), right or not before")
    print(f"  largest pixel change    {facts['linf_max'] * 255:.3g}/255; mean L2 {facts['l2_mean']:.4g}")
    print(f"  spent per image         {facts['queries_mean']:g} queries, {facts['gradients_mean']:g} gradients")
    print(f"  time                    {facts['seconds']:.1f} s on {result.provenance.device}, seed {facts['seed']}")
    for warning in facts["warnings"]:
        print(f"  warning: {warning}")


def _files(facts: dict[str, Any], result: AttackResult) -> dict[str, Callable[[IO[bytes]], object]]:
    import numpy as np

    from engine.data.raster import printable

    learned: dict[str, Any] = {f"learned_{name}": values for name, values in result.trace.learned.items()}
    arrays = {"clean": result.clean, "adversarial": result.adversarial, "labels": result.labels,
              "predicted_clean": result.predicted_clean, "predicted_adversarial": result.predicted_adversarial,
              **learned}
    files = {"result.json": as_json(facts), "adversarial.npz": lambda file: np.savez(file, **arrays)}
    if (patch := result.trace.learned.get("patch")) is not None:
        files["patch.png"] = lambda file: file.write(printable(patch))
    return files
