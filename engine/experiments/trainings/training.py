"""A training as long work: stopped or killed, it goes on where it was; what it gives holds as long as the model is as
it was then. Does not import torch."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine import digest
from engine.data import Dataset, find
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.datasets.checking import contents_of
from engine.experiments.sources import opened
from engine.params import params_of, values_of
from engine.training.defenses import applied, defense_of
from engine.training.spec import IMAGENET, SCRATCH, TrainSpec, chosen_of
from engine.training.unfinished import unfinished
from engine.work.kinds import Bench, Task, kind
from engine.work.specs import canonical, from_json
from engine.work.store import Payload
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.cards import Card
from engine.zoo.registry import model_card, model_digest, models, trained_path


@dataclass(frozen=True)
class Training:
    """What is trained; `contents` identifies the pictures and `start` the weights to begin with."""

    spec: TrainSpec
    contents: str
    start: str = ""

    def canonical(self) -> dict[str, Any]:
        """Who asked for it, page or command line, decides nothing."""
        spec = replace(self.spec, command="", start_from=_start(self.spec))
        return {"spec": canonical(spec), "contents": self.contents, "start": self.start}


@dataclass(frozen=True, eq=False)
class Trained:
    """The model that came of a training, and of every split on its card the odds [N, K] that it gives the pictures with
    these `numbers` [N]."""

    name: str
    odds: dict[str, np.ndarray]
    numbers: dict[str, np.ndarray]

    @staticmethod
    def of(payload: Payload) -> Trained:
        """Raises EngineError where the model was deleted, renamed or trained anew since."""
        name = str(payload.facts["model"])
        if model_digest(name) != payload.facts["weights"]:
            raise EngineError(f"{name} is another model now")
        splits = [str(split) for split in payload.facts["splits"]]
        return Trained(name, {split: payload.arrays[_odds(split)] for split in splits},
                       {split: payload.arrays[_numbers(split)] for split in splits})

    @property
    def card(self) -> Card:
        return model_card(self.name)


def _odds(split: str) -> str:
    return f"odds_{split}"


def _start(spec: TrainSpec) -> str:
    """What it begins with; random weights have two names."""
    return "" if spec.start_from == SCRATCH else spec.start_from


def _numbers(split: str) -> str:
    return f"numbers_{split}"


def training_task(spec: TrainSpec, device: str = "auto") -> Task:
    """The job that trains it, with pictures and weights as they are now, whose payload `Trained.of` reads; raises
    EngineError for what can be seen without computing."""
    spec = applied(spec)
    trained_path(spec.name)
    _ = find(spec.dataset), ARCHITECTURES[spec.arch]
    start = "" if spec.start_from in ("", SCRATCH, IMAGENET) else model_digest(spec.start_from)
    return Task("training", Training(spec, _contents(spec), start), f"training of {spec.name}", device)


def _contents(spec: TrainSpec) -> str:
    splits = dict.fromkeys((spec.split, spec.validation, *spec.tests))
    return digest.of_spec({split: contents_of(opened(spec.dataset, split)) for split in splits})


def check_name(spec: TrainSpec) -> None:
    """Raises EngineError where there is such a model already, which this one would take the place of."""
    trained_path(spec.name)
    if any(entry.name == spec.name for entry in models()):
        raise EngineError(f"there is a model '{spec.name}' already; choose another name, or delete that one first")


def made_alike(card: Card, spec: TrainSpec) -> bool:
    """Whether the model of that card was trained as the spec says."""
    spec = applied(spec)
    settings, said = {p.name: p.default for p in params_of(TrainSpec)}, card.training
    return ((card.dataset, card.arch, card.split, said.get("start_from", "").replace(SCRATCH, ""),
             said.get("validation"), said.get("defense", {}).get("written", ""))
            == (spec.dataset, spec.arch, spec.split, _start(spec), spec.validation, spec.defense)
            and settings | said.get("settings", {}) == values_of(spec))


def spec_of(values: Mapping[str, Any]) -> TrainSpec:
    """A training's settings from JSON; raises EngineError."""
    return from_json(TrainSpec, values)


def epochs_done(spec: TrainSpec) -> int:
    """How many epochs there are to go on from, of a training that was stopped and had the same settings."""
    left = unfinished(trained_path(spec.name))
    try:
        same = left is not None and _deciding(spec_of(left.spec)) == _deciding(spec)
    except EngineError:
        return 0
    return len(left.history) if left is not None and same else 0


def _deciding(spec: TrainSpec) -> TrainSpec:
    """Without what is only said of it."""
    return replace(applied(spec), command="", tests=(), limits="", storage="float16", start_from=_start(spec))


def command_of(spec: TrainSpec) -> str:
    """The command line that trains it."""
    defense = defense_of(spec.defense)
    default = TrainSpec(dataset=spec.dataset, arch=spec.arch, name=spec.name,
                        **({} if defense is None else {**defense.suited, **defense.settings}))  # type: ignore[arg-type]
    given = {"dataset": spec.dataset, "arch": spec.arch, "name": spec.name}
    given |= {name: getattr(spec, name) for name in ("split", "validation", "start_from", "defense", "limits")
              if getattr(spec, name) != getattr(default, name)}
    if spec.tests != default.tests:
        given["tests"] = ",".join(spec.tests)
    given |= {p.name: f"{value:g}" if isinstance(value, float) else str(value) for p in params_of(TrainSpec)
              if (value := getattr(spec, p.name)) != getattr(default, p.name)}
    return shlex.join(["python", "-m", "engine", "train",
                       *(word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value))])


@dataclass(frozen=True)
class Mistake:
    """A picture that the model is wrong about: its number, its class, what the model says, and how sure it is."""

    index: int
    shows: str
    says: str
    odds: float


def mistakes(trained: Trained, dataset: Dataset) -> list[Mistake]:
    """The pictures of a split that the model is wrong about, those first of which it is the surest."""
    odds, numbers = trained.odds[dataset.split], trained.numbers[dataset.split]
    says, shows = odds.argmax(axis=1), dataset.labels[numbers]
    wrong = np.flatnonzero(says != shows)
    ordered = wrong[np.argsort(-odds[wrong, says[wrong]], kind="stable")]
    return [Mistake(int(numbers[i]), dataset.classes[shows[i]], dataset.classes[says[i]], float(odds[i, says[i]]))
            for i in ordered]


@kind("training", Training, reads=Trained.of)
def _train(asked: Training, bench: Bench) -> Generator[None, None, Payload]:
    spec = asked.spec
    bench.progress.report(0.0, "loading PyTorch")
    load_libraries()
    from engine.training.train import training

    if training_task(spec, bench.device).spec != asked:
        raise EngineError("the images or the model to begin with have changed since this was asked for; ask again")
    path = trained_path(spec.name)
    done = yield from training(spec, path, bench.progress, bench.device, bench.publish, bench.note)
    return Payload({"model": spec.name, "weights": model_digest(spec.name), "splits": list(done.odds)},
                   {**{_odds(split): odds for split, odds in done.odds.items()},
                    **{_numbers(split): chosen_of(spec, split, opened(spec.dataset, split).labels)
                       for split in done.odds}})
