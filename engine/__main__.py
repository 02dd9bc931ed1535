"""python -m engine ...: all of the engine without a browser.

Results go to standard output, progress to standard error.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from engine import disk, params
from engine.errors import MOST, Cancelled, EngineError, UnknownName, shortened
from engine.home import expanded
from engine.progress import Progress

if TYPE_CHECKING:
    from engine.attacks.norms import Norm
    from engine.attacks.result import AttackResult
    from engine.attacks.spec import AttackSpec
    from engine.data.base import Dataset
    from engine.data.classmap import ClassMap
    from engine.experiments.curve import Curve
    from engine.work.lessons import StoredLessons
    from engine.zoo.classifier import Classifier


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and exits with 2."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {shortened(message, MOST)}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def _progress() -> Progress:
    """One line on standard error a percent, rewritten in place on a terminal."""
    shown = [-1]
    end = "\r" if sys.stderr.isatty() else "\n"

    def show(fraction: float, text: str) -> None:
        if int(fraction * 100) > shown[0]:
            shown[0] = int(fraction * 100)
            print(f"{fraction:4.0%} {text:60}", end=end, file=sys.stderr, flush=True)

    return Progress(show)


def _print_json(facts: object) -> None:
    print(json.dumps(facts, indent=2, ensure_ascii=False))


# ---- list ----------------------------------------------------------------------------------------------------------


def _datasets() -> list[dict[str, Any]]:
    from engine.data import DATASETS

    return [{"name": e.info.name, "title": e.info.title, "sentence": e.info.sentence, "classes": list(e.info.classes),
             "splits": dict(e.info.splits), "synthetic": e.info.synthetic, "source": e.info.source,
             "terms": e.info.terms, "missing": e.missing()} for e in DATASETS.values()]


def _models() -> list[dict[str, Any]]:
    from engine.zoo.registry import models

    return [{"name": m.name, "title": m.title, "sentence": m.card.limits, "bundled": m.bundled, "card": asdict(m.card)}
            for m in models()]


def _attacks() -> list[dict[str, Any]]:
    from engine.attacks import ATTACKS

    return [{**asdict(a.info), "knowledge": a.info.knowledge.name.lower(),
             "params": [{**asdict(p), "kind": p.kind.__name__} for p in params.params_of(a)]}
            for a in ATTACKS.values()]


def _defenses() -> list[dict[str, Any]]:
    from engine.defenses import DEFENSES

    return [{**asdict(d.info), "params": [{**asdict(p), "kind": p.kind.__name__} for p in params.params_of(d)]}
            for d in DEFENSES.values()]


DEFAULT_EPS = "2/255"
LISTS = {"datasets": _datasets, "models": _models, "attacks": _attacks, "defenses": _defenses}


def _list(arguments: argparse.Namespace) -> None:
    rows = LISTS[arguments.what]()
    if arguments.json:
        return _print_json(rows)
    width = max((len(r["name"]) for r in rows), default=0)
    for row in rows:
        print(f"{row['name']:{width}}  {row['title']}: {row['sentence']}")
        if row.get("missing"):
            print(f"{'':{width}}  ({row['missing']})")
    if not rows:
        print(f"no {arguments.what} are registered")


# ---- attack and curve ----------------------------------------------------------------------------------------------


def _number(option: str, text: str) -> float:
    try:
        return params.parse_number(text)
    except (ValueError, ZeroDivisionError):
        raise EngineError(f"{option} must be a number such as 0.01 or 2/255, not '{shortened(text)}'") from None


def _settings(pairs: Iterable[str]) -> dict[str, object]:
    """--set key=value ... as a dictionary of texts; the attack's declaration checks them."""
    settings: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise EngineError(f"--set takes key=value, not '{shortened(pair)}'")
        settings[key] = value
    return settings


def _class_map(arguments: argparse.Namespace) -> ClassMap:
    """What the model calls the data set's classes: by name, and by --map."""
    from engine.data import find
    from engine.data.classmap import match, read_map
    from engine.zoo.registry import model_card

    classes, known = find(arguments.dataset).info.classes, model_card(arguments.model).classes
    return match(classes, known, arguments.model, read_map(arguments.map, classes, known, arguments.model))


def _opened(arguments: argparse.Namespace, class_map: ClassMap) -> tuple[Dataset, list[int], Classifier]:
    """Data set with the model's classes, chosen image numbers and model of an attack or a curve."""
    from engine import load_dataset, load_model
    from engine.data.classmap import labelled
    from engine.experiments.evaluate import spread

    if arguments.limit is not None and arguments.limit < 1:
        raise EngineError(f"--limit must be at least 1, not {arguments.limit}")
    dataset = labelled(load_dataset(arguments.dataset, arguments.split), class_map)
    indices = arguments.index or spread(dataset, arguments.limit)
    return dataset, [dataset.checked(i) for i in indices], load_model(arguments.model)


def _spec(arguments: argparse.Namespace, attack: str, eps: float | None, target: int | None) -> AttackSpec:
    import engine.attacks  # noqa: F401  (registers the attacks)
    from engine.attacks.spec import make_spec

    return make_spec(attack, eps=eps, norm=arguments.norm, target=target, seed=arguments.seed, batch=arguments.batch,
                     numerics=arguments.numerics, max_queries=arguments.max_queries, surrogate=arguments.surrogate,
                     mask=_mask(arguments.mask),
                     params={**_preset(attack, arguments.preset), **_settings(arguments.set)})


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


def _target(name: str | None, class_map: ClassMap) -> int | None:
    """--target as the model's class number; takes that number or a class name, the model's or the data set's."""
    if name is None:
        return None
    if name.isdecimal() and int(name) < len(class_map.model):
        return int(name)
    try:
        return class_map.number(name)
    except UnknownName:
        raise EngineError(f"--target must be one of {', '.join(class_map.model)}, not '{shortened(name)}'") from None


def _lessons() -> StoredLessons:
    """What attacks learned here before, on the page or from the command line."""
    from engine.home import home
    from engine.work.lessons import StoredLessons
    from engine.work.store import store_in

    return StoredLessons(store_in(home() / "runs"))


def _attack(arguments: argparse.Namespace) -> None:
    from engine.attacks import ATTACKS
    from engine.attacks.base import Budget

    bounded = ATTACKS[arguments.attack].info.bounded
    text = arguments.eps or (DEFAULT_EPS if bounded else None)
    eps = None if text is None else _number("--eps", text)
    if eps is not None:
        Budget(arguments.norm or "linf", eps)
    class_map = _class_map(arguments)
    target = _target(arguments.target, class_map)
    spec = _spec(arguments, arguments.attack, eps, target)
    dataset, indices, model = _opened(arguments, class_map)
    out = _out_folder(arguments.out)
    from engine.experiments.evaluate import evaluate

    result = evaluate(dataset, indices, model, spec, device=arguments.device, progress=_progress(), memory=_lessons())
    facts = {**result.facts(), "dataset": arguments.dataset, "split": dataset.split, "model": arguments.model,
             "attack": arguments.attack, "map": class_map.names, "indices": indices}
    if arguments.json:
        _print_json(facts)
    else:
        _print_attack(facts, result)
    _write(out, _attack_files(facts, result))


def _print_attack(facts: dict[str, Any], result: AttackResult) -> None:
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


def _out_folder(out: str | None) -> Path | None:
    """The folder of --out, made before anything is computed: one that will not do is told at once."""
    if out is None:
        return None
    try:
        disk.make_writable(Path(out))
    except OSError as error:
        raise EngineError(f"cannot write to --out {out} {disk.advice(error, '--out')}") from None
    except ValueError:  # bytes that no name has
        raise EngineError(f"--out {out} is no name of a folder; choose another") from None
    return Path(out)


def _write(out: Path | None, files: dict[str, Callable[[IO[bytes]], object]]) -> None:
    """Write what --out asks for, all files or none. The numbers are printed before: a full disk does not cost them."""
    if out is None:
        return
    sys.stdout.flush()
    try:
        with disk.replacing_all([out / name for name in files]) as asides:
            for aside, write in zip(asides, files.values(), strict=True):
                with aside.open("wb") as file:
                    write(file)
    except OSError as error:
        names = " and ".join(files)
        raise EngineError(f"{names} could not be written to {out} {disk.advice(error, '--out')}") from None


def _as_json(facts: object) -> Callable[[IO[bytes]], object]:
    return lambda file: file.write((json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode())


def _attack_files(facts: dict[str, Any], result: AttackResult) -> dict[str, Callable[[IO[bytes]], object]]:
    import numpy as np

    from engine.data.raster import printable

    learned: dict[str, Any] = {f"learned_{name}": values for name, values in result.trace.learned.items()}
    arrays = {"clean": result.clean, "adversarial": result.adversarial, "labels": result.labels,
              "predicted_clean": result.predicted_clean, "predicted_adversarial": result.predicted_adversarial,
              **learned}
    files = {"result.json": _as_json(facts), "adversarial.npz": lambda file: np.savez(file, **arrays)}
    if (patch := result.trace.learned.get("patch")) is not None:
        files["patch.png"] = lambda file: file.write(printable(patch))
    return files


def _curve(arguments: argparse.Namespace) -> None:
    from engine.attacks.base import Budget
    from engine.attacks.norms import NORMS

    values = [_number("--eps", text) for text in arguments.eps.split(",") if text.strip()]
    if not values:
        raise EngineError("--eps needs at least one value, such as 0,0.5/255,1/255")
    class_map = _class_map(arguments)
    target = _target(arguments.target, class_map)
    for value in values:
        Budget(arguments.norm or "linf", value)
    specs = [_spec(arguments, name, values[0], target) for name in arguments.attack.split(",")]
    dataset, indices, model = _opened(arguments, class_map)
    out = _out_folder(arguments.out)
    from engine.experiments.curve import curve

    found = curve(dataset, indices, model, specs, values, device=arguments.device, progress=_progress(),
                  memory=_lessons())
    facts = {**found.summary(), "map": class_map.names}
    if arguments.json:
        _print_json(facts)
    else:
        _print_curve(found, {spec.attack: NORMS[spec.norm] for spec in specs})
    _write(out, {"curve.json": _as_json(facts),
                 "curve.csv": lambda file: found.table().to_csv(file, index=False)})


def _print_curve(found: Curve, norms: Mapping[str, Norm]) -> None:
    print(f"{found.model} on {found.n} images of {found.dataset}/{found.split}: {found.accuracy_clean:.1%} clean")
    for point in found.points:
        print(f"  {point.attack:10} eps {norms[point.attack].text(point.eps):>10}   accuracy {point.accuracy:6.1%}   "
              f"after 8 bits {point.accuracy_8bit:6.1%}")
    for warning in found.warnings:
        print(f"  warning: {warning}")


def _minimal(arguments: argparse.Namespace) -> None:
    from engine.attacks.base import Budget

    high, tolerance = _number("--high", arguments.high), _number("--tolerance", arguments.tolerance)
    Budget(arguments.norm or "linf", high)
    class_map = _class_map(arguments)
    target = _target(arguments.target, class_map)
    spec = _spec(arguments, arguments.attack, high, target)
    dataset, indices, model = _opened(arguments, class_map)
    out = _out_folder(arguments.out)
    from engine.experiments.minimal import minimal

    found = minimal(dataset, indices, model, spec, high=high, tolerance=tolerance, device=arguments.device,
                    progress=_progress(), memory=_lessons())
    facts = {**found.summary(), "dataset": arguments.dataset, "split": dataset.split, "model": arguments.model,
             "attack": arguments.attack, "map": class_map.names, "indices": indices}
    if arguments.json:
        _print_json(facts)
    else:
        _print_minimal(facts)
    _write(out, {"minimal.json": _as_json(facts)})


def _print_minimal(facts: dict[str, Any]) -> None:
    from engine.attacks.norms import NORMS

    norm = NORMS[facts["spec"]["norm"]]

    def shown(eps: float | None) -> str:
        return f"above {norm.text(facts['high'])}" if eps is None else norm.text(eps, ".3g")

    print(f"smallest eps of {facts['attack']} ({facts['spec']['norm']}), on {facts['n']} images of "
          f"{facts['dataset']}/{facts['split']}, model {facts['model']}")
    print(f"  median                  {shown(facts['eps_median'])}, known to {norm.text(facts['tolerance'])}; "
          f"{facts['fooled']} of {facts['attacked']} fooled at {norm.text(facts['high'])}")
    print(f"  spent per image         {facts['queries_mean']:g} queries, {facts['gradients_mean']:g} gradients")
    print(f"  time                    {facts['seconds']:.1f} s, seed {facts['seed']}")
    for index, image in zip(facts["indices"], facts["images"], strict=True):
        tries = " ".join(f"{t['eps'] * norm.factor:.4g}{'+' if t['success'] else '-'}" for t in image["tries"])
        print(f"  image {index:6}  {shown(image['eps']):>14}   {tries}")


# ---- train ---------------------------------------------------------------------------------------------------------


def _ready(path: Path) -> Path:
    """Where a model is to be kept, once it is known that it can be: told before hours of training, not after them."""
    try:
        disk.make_writable(path.parent)
    except OSError as error:
        raise EngineError(f"{path} cannot be written {disk.advice(error)}") from None
    return path


def _train(arguments: argparse.Namespace) -> None:
    from engine.data import find
    from engine.defenses import DEFENSES
    from engine.training.spec import TrainSpec
    from engine.training.train import train
    from engine.zoo.architectures import ARCHITECTURES
    from engine.zoo.registry import model_digest, trained_path

    # Before the images are read: a wrong name is told at once.
    find(arguments.dataset)
    _ = ARCHITECTURES[arguments.arch]
    if arguments.start_from:
        model_digest(arguments.start_from)
    if arguments.defense is not None:
        _ = DEFENSES[arguments.defense]
    own = {p.name: p.check(getattr(arguments, p.name)) for p in params.params_of(TrainSpec)}
    spec = TrainSpec(dataset=arguments.dataset, arch=arguments.arch, name=arguments.name,
                     tests=tuple(arguments.tests.split(",")), limits=arguments.limits, start_from=arguments.start_from,
                     command="python -m engine " + shlex.join(sys.argv[1:]), **own)  # type: ignore[arg-type]
    path = _ready(trained_path(arguments.name))
    card = train(spec, path, _progress(), arguments.device)
    if arguments.json:
        return _print_json(asdict(card))
    print(f"{card.name} is kept in {path}")
    for split, scores in card.evaluations.items():
        print(f"  {split}: accuracy {scores['accuracy']:.1%}, recall "
              + ", ".join(f"{name} {value:.1%}" for name, value in scores["recall"].items()))


# ---- train-style ---------------------------------------------------------------------------------------------------


def _train_style(arguments: argparse.Namespace) -> None:
    from engine.attacks.networks.style_spec import StyleSpec
    from engine.attacks.networks.style_train import train_style
    from engine.zoo.registry import trained_style_path

    path = _ready(trained_style_path(arguments.name))
    own = {p.name: p.check(getattr(arguments, p.name)) for p in params.params_of(StyleSpec)}
    spec = StyleSpec(command="python -m engine " + shlex.join(sys.argv[1:]), **own)  # type: ignore[arg-type]
    card = train_style(spec, path, _progress())
    if arguments.json:
        return _print_json(card)
    found = card["evaluation"]
    print(f"{arguments.name} is kept in {path}")
    print(f"  content kept: correlation {found['content']:.2f} with the picture itself, "
          f"{found['content_of_others']:.2f} with another")
    print(f"  distance to the style: {found['style']:.0%} of what it was")
    print(f"  same diagnosis of the mixed picture: {found['same_diagnosis']:.1%}")


# ---- the options ---------------------------------------------------------------------------------------------------


def _add_attack_options(parser: argparse.ArgumentParser) -> None:
    """What an attack and a curve have in common."""
    parser.add_argument("--dataset", required=True, help="a registered name, or folder:PATH")
    parser.add_argument("--model", required=True, help="a bundled or trained name, or a checkpoint's path")
    parser.add_argument("--map", default="", metavar="CLASS=CLASS,...",
                        help="which of the model's classes a class of the data set is, where their names differ: "
                             "data set's name=model's name")
    parser.add_argument("--split", help="default: the data set's test split")
    parser.add_argument("--limit", type=int, help="so many images, spread evenly over the split")
    parser.add_argument("--index", type=int, nargs="+", help="these image numbers instead")
    parser.add_argument("--norm", help="linf, l2 or l0 (default: the attack's first)")
    parser.add_argument("--target", help="the model's class to reach; default: any wrong one")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
                        help="the attack's own settings")
    parser.add_argument("--preset", default="", help="settings that the attack declares, such as 'paper': as in the "
                        "paper, where the defaults are quicker; what --set says goes before them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=16, help="images computed together")
    parser.add_argument("--numerics", default="fast", help="fast, reference or draft")
    parser.add_argument("--max-queries", type=int, help="most forward passes an image")
    parser.add_argument("--surrogate", default="", help="a model, or several with commas, whose gradients are used")
    parser.add_argument("--mask", default="", metavar="NAME or FILE.png",
                        help="the part of the image that may change: lesion, lung, cam, or a PNG's path (all that is "
                             "not black)")
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    parser.add_argument("--out", help="folder for the files")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _add_params(parser: argparse.ArgumentParser, cls: type) -> None:
    """An option for everything that the data class declares."""
    for p in params.params_of(cls):
        option = "--" + p.name.replace("_", "-")
        parser.add_argument(option, dest=p.name, default=p.default, help=f"{p.help} (default {p.default})")


def _parser() -> argparse.ArgumentParser:
    from engine.attacks.networks.style_spec import StyleSpec
    from engine.training.spec import TrainSpec

    parser = _Parser(prog="python -m engine", description="Adversarial attacks on medical-image classifiers.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="what there is")
    listing.add_argument("what", choices=LISTS)
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)
    attack = commands.add_parser("attack", help="attack images of a data set")
    attack.add_argument("--attack", required=True)
    attack.add_argument("--eps", help=f"budget in [0,1] (default {DEFAULT_EPS}); some attacks have none")
    _add_attack_options(attack)
    attack.set_defaults(run=_attack)
    curve = commands.add_parser("curve", help="accuracy against epsilon")
    curve.add_argument("--attack", required=True, help="one or more, with commas")
    curve.add_argument("--eps", default="0,0.5/255,1/255,2/255,4/255,8/255", help="budgets, with commas")
    _add_attack_options(curve)
    curve.set_defaults(run=_curve)
    minimal = commands.add_parser("minimal", help="smallest epsilon that fools the model, image by image")
    minimal.add_argument("--attack", required=True)
    minimal.add_argument("--high", default="16/255", help="the largest budget tried, in [0,1] (default 16/255)")
    minimal.add_argument("--tolerance", default="0.05/255", help="how exactly it is to be known (default 0.05/255)")
    _add_attack_options(minimal)
    minimal.set_defaults(run=_minimal)
    train = commands.add_parser("train", help="train a classifier")
    train.add_argument("--dataset", required=True)
    train.add_argument("--arch", required=True)
    train.add_argument("--name", required=True, help="what the trained model is called")
    train.add_argument("--defense", help="a defense at training time")
    train.add_argument("--tests", default="test", help="splits to evaluate on, with commas")
    train.add_argument("--limits", default="", help="what a reader of the card must know")
    train.add_argument("--start-from", default="", help="a checkpoint of the same architecture to begin with")
    train.add_argument("--device", default="auto")
    train.add_argument("--json", action="store_true")
    _add_params(train, TrainSpec)
    train.set_defaults(run=_train)
    style = commands.add_parser("train-style", help="train a style network, for the attack stm")
    style.add_argument("--name", required=True, help="what it is called; give it to stm as --set style=NAME")
    style.add_argument("--json", action="store_true")
    _add_params(style, StyleSpec)
    style.set_defaults(run=_train_style)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status (2: bad input, 130: interrupted)."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except EngineError as error:
        print(f"python -m engine: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Cancelled):
        print("python -m engine: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
