"""The options that commands share, and what is made of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from engine import params
from engine.cli.defended import add_defense_options, each_front
from engine.cli.output import remark, shown_progress
from engine.cli.weights import add_weights_options
from engine.errors import EngineError, UnknownName, shortened
from engine.home import expanded

if TYPE_CHECKING:
    from engine.attacks.spec import AttackSpec
    from engine.data.classmap import ClassMap
    from engine.experiments.sweeps import Sweep
    from engine.work.kinds import Bench


def add_attack_options(parser: argparse.ArgumentParser) -> None:
    """What an attack and a curve have in common."""
    parser.add_argument("--dataset", required=True,
                        help="a registered name (NAME@64: its pictures shrunk to 64 x 64), folder:PATH, or "
                             "manifest:PATH")
    parser.add_argument("--model", required=True, help="a bundled or trained name, or a checkpoint's path")
    add_weights_options(parser)
    parser.add_argument("--map", default="", metavar="CLASS=CLASS,...",
                        help="which of the model's classes a class of the data set is, where their names differ: "
                             "data set's name=model's name")
    parser.add_argument("--split", help="default: the data set's test split")
    parser.add_argument("--limit", type=int, help="so many images, spread evenly over the split")
    parser.add_argument("--per-class", type=int, help="so many images of every class instead, spread evenly")
    parser.add_argument("--index", type=int, nargs="+", help="these image numbers instead")
    parser.add_argument("--norm", help="linf, l2 or l0 (default: the attack's first)")
    parser.add_argument("--target", help="the model's class to reach; default: any wrong one")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
                        help="the attack's own settings; ATTACK.KEY=VALUE is for that attack alone")
    parser.add_argument("--preset", default="", help="settings that the attack declares, such as 'paper': as in the "
                        "paper, where the defaults are quicker; what --set says goes before them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=16, help="images computed together")
    parser.add_argument("--numerics", default="fast", help="fast, reference or draft")
    parser.add_argument("--max-queries", type=int, help="most forward passes an image")
    parser.add_argument("--surrogate", default="", help="a model, or several with commas, whose gradients are used")
    parser.add_argument("--mask", default="", metavar="NAME or FILE.png",
                        help="the part of the image that may change: lesion, lung, nuclei, cam, or a PNG's path (all "
                             "that is not black)")
    add_defense_options(parser)
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    parser.add_argument("--executor", default="here", help="where it is computed: here, ray (on this machine, or the "
                        "cluster that RAY_ADDRESS names) or ray://HOST:PORT")
    parser.add_argument("--out", help="folder for the files")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def add_params(parser: argparse.ArgumentParser, cls: type) -> None:
    """An option for everything that the data class declares."""
    for p in params.params_of(cls):
        option = "--" + p.name.replace("_", "-")
        parser.add_argument(option, dest=p.name, default=p.default, help=f"{p.help} (default {p.default})")


def number(option: str, text: str) -> float:
    try:
        return params.parse_number(text)
    except (ValueError, ZeroDivisionError):
        raise EngineError(f"{option} must be a number such as 0.01 or 2/255, not '{shortened(text)}'") from None


def _settings(pairs: Iterable[str], attack: str) -> dict[str, object]:
    """--set key=value ... as a dictionary of texts, without those for other attacks; the attack's declaration checks
    them."""
    from engine.attacks import ATTACKS

    settings: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise EngineError(f"--set takes key=value, not '{shortened(pair)}'")
        owner, _, name = key.rpartition(".")
        if not owner or ATTACKS[owner] is ATTACKS[attack]:
            settings[name] = value
    return settings


def class_map_of(arguments: argparse.Namespace) -> ClassMap:
    """What the model calls the data set's classes: by name, and by --map."""
    from engine.data import find
    from engine.data.classmap import match, read_map
    from engine.zoo.registry import model_card

    classes, known = find(arguments.dataset).info.classes, model_card(arguments.model).classes
    return match(classes, known, arguments.model, read_map(arguments.map, classes, known, arguments.model))


def selected(arguments: argparse.Namespace) -> tuple[str, tuple[int, ...]]:
    """Split and chosen image numbers."""
    from engine.data import load
    from engine.experiments.selection import Selection

    for option in ("limit", "per_class"):
        if (number := getattr(arguments, option)) is not None and number < 1:
            raise EngineError(f"--{option.replace('_', '-')} must be at least 1, not {number}")
    dataset = load(arguments.dataset, arguments.split)
    if arguments.index:
        return dataset.split, Selection(indices=tuple(arguments.index)).of(dataset)
    return dataset.split, Selection(arguments.limit, arguments.per_class).of(dataset)


def sweep_of(arguments: argparse.Namespace, class_map: ClassMap, attacks: Iterable[AttackSpec]) -> Sweep:
    """Those attacks on the chosen images."""
    from engine.experiments.sweeps import Sweep

    split, indices = selected(arguments)
    return Sweep(arguments.dataset, split, indices, (arguments.model,), tuple(attacks), tuple(class_map.names.items()))


def asked(arguments: argparse.Namespace, sweep: Sweep, class_map: ClassMap) -> dict[str, object]:
    """What was asked for, as results say it."""
    return {"dataset": arguments.dataset, "split": sweep.split, "model": arguments.model, "attack": arguments.attack,
            "map": class_map.names, "indices": list(sweep.indices)}


def bench(arguments: argparse.Namespace) -> Bench:
    """Where commands work: what a page or a command has computed before is found, and what is computed is kept."""
    from engine.home import home
    from engine.work.executors import executor_named
    from engine.work.kinds import Bench
    from engine.work.store import store_in

    store = store_in(home() / "runs")
    return Bench(arguments.device, store, shown_progress(), lambda task: task.kept(store), remark,
                 executor=executor_named(getattr(arguments, "executor", "")))


def spec_of(arguments: argparse.Namespace, attack: str, eps: float | None, target: int | None) -> AttackSpec:
    """The attack as the options ask for it, of which one faces one defended model."""
    return specs_of(arguments, attack, eps, target)[0]


def specs_of(arguments: argparse.Namespace, attack: str, eps: float | None, target: int | None) -> list[AttackSpec]:
    """The same for every front that the options name, and that makes a difference to the attack."""
    return [_spec(arguments, attack, eps, target, front) for front in each_front(arguments, attack)]


def _spec(arguments: argparse.Namespace, attack: str, eps: float | None, target: int | None,
          front: Mapping[str, Any]) -> AttackSpec:
    import engine.attacks  # noqa: F401  (registers the attacks)
    from engine.attacks.spec import make_spec

    return make_spec(attack, eps=eps, norm=arguments.norm, target=target, seed=arguments.seed, batch=arguments.batch,
                     numerics=arguments.numerics, max_queries=arguments.max_queries, surrogate=arguments.surrogate,
                     mask=_mask(arguments.mask), **front,
                     params={**_preset(attack, arguments.preset), **_settings(arguments.set, attack)})


def _preset(attack: str, name: str) -> Mapping[str, object]:
    """--preset as settings, which those of --set go before."""
    from engine.attacks import ATTACKS

    return ATTACKS[attack].info.preset(name) if name else {}


def _mask(name: str) -> str:
    """--mask as a mask's name; takes a PNG's path, too."""
    if not name.lower().endswith(".png"):
        return name
    from engine.data.masks import drawn, read_mask

    try:
        return drawn(read_mask(expanded(name).read_bytes()))
    except OSError as error:
        raise EngineError(f"cannot read --mask {name} ({error.strerror}); give the path of a PNG") from None
    except EngineError as error:
        raise EngineError(f"--mask {name}: {error}") from None
    except ValueError:  # bytes that no name has
        raise EngineError(f"--mask {name} is no name of a file; give the path of a PNG") from None


def target_of(name: str | None, class_map: ClassMap) -> int | None:
    """--target as the model's class number; takes that number or a class name, the model's or the data set's."""
    if name is None:
        return None
    if name.isdecimal() and int(name) < len(class_map.model):
        return int(name)
    try:
        return class_map.number(name)
    except UnknownName:
        raise EngineError(f"--target must be one of {', '.join(class_map.model)}, not '{shortened(name)}'") from None
