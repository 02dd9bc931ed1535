"""python -m engine train: train a classifier."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict

from engine import params
from engine.cli.options import add_params, bench
from engine.cli.output import print_json, ready, remark
from engine.cli.parser import Commands
from engine.errors import EngineError


def add(commands: Commands) -> None:
    from engine.training.defenses import TRAINING_DEFENSES
    from engine.training.spec import TrainSpec

    parser = commands.add_parser("train", help="train a classifier")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--name", required=True, help="what the trained model is called")
    parser.add_argument("--defense", default="", metavar="NAME[:key=value,...]",
                        help=f"a defense at training time: {', '.join(TRAINING_DEFENSES)}; 'list defenses' says what "
                             "each takes")
    parser.add_argument("--split", default="train", help="the split that it learns from")
    parser.add_argument("--validation", default="validation", help="the split by which the best epoch is chosen")
    parser.add_argument("--tests", default="test", help="splits to evaluate on, with commas")
    parser.add_argument("--limits", default="", help="what a reader of the card must know")
    parser.add_argument("--start-from", default="", help="weights to begin with: scratch (default), imagenet, or a "
                        "model of the same architecture")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    add_params(parser, TrainSpec)
    # What nobody says is the defense's to say.
    parser.set_defaults(**{p.name: None for p in params.params_of(TrainSpec)})
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from engine.defenses import DEFENSES
    from engine.experiments.trainings.training import epochs_done, training_task
    from engine.training.defenses import NOTHING, defense_of
    from engine.training.spec import TrainSpec
    from engine.zoo.architectures import ARCHITECTURES
    from engine.zoo.registry import model_card, trained_path

    _ = ARCHITECTURES[arguments.arch]
    if (name := arguments.defense.partition(":")[0]) in DEFENSES:
        raise EngineError(f"{name} is a defense at inference time: train without it, and put it in front of the "
                          f"trained model (attack --defense {name})")
    defense = defense_of(arguments.defense)
    own = {**({} if defense is None else defense.suited),
           **{p.name: p.check(value) for p in params.params_of(TrainSpec)
              if (value := getattr(arguments, p.name)) is not None}}
    spec = TrainSpec(dataset=arguments.dataset, arch=arguments.arch, name=arguments.name, split=arguments.split,
                     validation=arguments.validation, tests=tuple(arguments.tests.split(",")),
                     limits=arguments.limits, start_from=arguments.start_from, defense=arguments.defense,
                     command="python -m engine " + shlex.join(sys.argv[1:]), **own)  # type: ignore[arg-type]
    # Before the images are read: a wrong name is told at once.
    task, path, here = training_task(spec, arguments.device), ready(trained_path(arguments.name)), bench(arguments)
    if here.recall(task) is not None:
        remark(f"{spec.name} was trained like that before, and is kept as it is")
    elif done := epochs_done(spec):
        remark(f"the training goes on after epoch {done} of {spec.epochs}")
    for line in NOTHING.cautions() if defense is None else defense.cautions():
        remark(line)
    here.result(task)
    card = model_card(spec.name)
    if arguments.json:
        return print_json(asdict(card))
    print(f"{card.name} is kept in {path}")
    for split, scores in card.evaluations.items():
        print(f"  {split}: accuracy {scores['accuracy']:.1%}, recall "
              + ", ".join(f"{name} {value:.1%}" for name, value in scores["recall"].items()))
    for warning in card.training.get("warnings", ()):
        print(f"  warning: {warning}")
