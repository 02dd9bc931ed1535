"""Options that take several values with commas, and the sweep that they make."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.cli.defended import add_several_defenses
from engine.cli.options import class_map_of, number, selected, specs_of, target_of
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.attacks.spec import AttackSpec
    from engine.experiments.sweeps import Sweep


def add_several(parser: argparse.ArgumentParser) -> None:
    """--model, --seed, --defense and --attacker for several, in the place of those for one."""
    parser.add_argument("--model", required=True, help="one or more, with commas: names, or checkpoints' paths")
    parser.add_argument("--seed", default="0", help="one or more, with commas (default 0)")
    add_several_defenses(parser)


def listed(option: str, text: str) -> list[str]:
    """The values of an option that takes several with commas, each once; raises EngineError where there is none."""
    values = list(dict.fromkeys(value.strip() for value in text.split(",") if value.strip()))
    if not values:
        raise EngineError(f"--{option} needs at least one value")
    return values


def but(arguments: argparse.Namespace, **changed: object) -> argparse.Namespace:
    """The same options, some of them `changed`."""
    return argparse.Namespace(**{**vars(arguments), **changed})


def sweep_from(arguments: argparse.Namespace) -> Sweep:
    """Every attack at every budget with every seed on every model; raises EngineError."""
    from engine.experiments.sweeps import sweep_of

    models = listed("model", arguments.model)
    names, target = _common(arguments, models)
    split, indices = selected(arguments)
    return sweep_of(arguments.dataset, split, indices, models, specs_from(arguments, target), names)


def _common(arguments: argparse.Namespace, models: Sequence[str]) -> tuple[tuple[tuple[str, str], ...], int | None]:
    """What the models call the data set's classes, where --map says it, and --target as a class number of them all."""
    maps = [class_map_of(but(arguments, model=model)) for model in models]
    if arguments.map and len({tuple(one.names.items()) for one in maps}) > 1:
        raise EngineError(f"the models {' and '.join(models)} call the classes differently, so one --map cannot serve "
                          "them all; evaluate them one by one")
    targets = {target_of(arguments.target, one) for one in maps}
    if len(targets) > 1:
        raise EngineError(f"--target is not the same class number for all of {', '.join(models)}; evaluate them one "
                          "by one")
    return tuple(maps[0].names.items()) if arguments.map else (), targets.pop()


def specs_from(arguments: argparse.Namespace, target: int | None) -> list[AttackSpec]:
    """Every attack at every budget with every seed, behind all that is asked for."""
    from engine.attacks import ATTACKS
    from engine.attacks.base import Budget

    budgets: list[float | None] = [number("--eps", text) for text in listed("eps", arguments.eps)]
    for eps in budgets:
        Budget(arguments.norm or "linf", eps)
    seeds = [but(arguments, seed=_seed(text)) for text in listed("seed", arguments.seed)]
    return [spec for attack in listed("attack", arguments.attack)
            for eps in (sorted(set(budgets)) if ATTACKS[attack].info.bounded else [None])  # type: ignore[type-var]
            for seed in seeds for spec in specs_of(seed, attack, eps, target)]


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise EngineError(f"--seed must be whole numbers with commas, such as 0,1, not '{text}'") from None
