"""A checkpoint that somebody brings along from a page: recognised, tried on a few pictures, kept among the models.

Until it is kept its tensors lie in a folder of their own, as safetensors. Does not import torch.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from engine import digest
from engine.data import find
from engine.data.classmap import fits, match
from engine.data.splits import evenly
from engine.device import load_libraries
from engine.disk import advice, replacing
from engine.errors import EngineError
from engine.experiments.datasets.predicting import readable
from engine.experiments.sources import opened
from engine.home import home
from engine.work.kinds import Bench, Task, kind
from engine.work.results import Result
from engine.work.store import Payload
from engine.zoo.adopting import IMAGENET_MEAN, IMAGENET_STD, NOTHING_SAID
from engine.zoo.cards import Card, card_path, problem_of, write_card
from engine.zoo.registry import check_kind, checkpoint_at, models, trained_path
from engine.zoo.variants import OWN, Variant, as_many

MOST_MIB = 1000  # of an uploaded checkpoint: VGG-16 has 528, and an optimiser's state may lie beside it
PICTURES = 16
FORGOTTEN = 24 * 3600  # seconds after which what was brought along and never kept is removed


@dataclass(frozen=True)
class Arrival:
    """A checkpoint at `path`, identified by its `contents`; `named` is its file's name, for people. What was `uploaded`
    is removed when its tensors have been written anew."""

    path: str
    contents: str
    named: str
    uploaded: bool = False


@dataclass(frozen=True)
class Recognised(Result):
    """What the tensors tell."""

    arch: str
    outputs: int
    head: str = OWN
    channels: int = 3
    size: int = 0

    @classmethod
    def told(cls, network: Variant) -> Self:
        return cls(network.arch, network.outputs, network.head, network.channels, network.size)

    @property
    def network(self) -> Variant:
        return Variant(self.arch, self.outputs, self.head, self.channels, size=self.size)


@dataclass(frozen=True)
class Trying:
    """A recognised checkpoint with everything that is said or assumed of it, and the split that it is tried on."""

    contents: str
    named: str
    arch: str
    classes: tuple[str, ...]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    dataset: str = ""
    split: str = ""
    size: int = 0
    head: str = OWN
    channels: int = 3
    findings: tuple[str, ...] = ()
    finding: str = ""

    @property
    def card(self) -> Card:
        """What is known of it before it is tried."""
        return Card(name=Path(self.named).stem, arch=self.arch, classes=self.classes, mean=self.mean, std=self.std,
                    size=self.size, head=self.head, channels=self.channels, findings=self.findings,
                    finding=self.finding, storage="float32", limits=NOTHING_SAID)


@dataclass(frozen=True)
class Tried(Result):
    """`right` of so many `pictures` (None: their classes are not the model's, as `unknown` says), and each doubt in a
    line."""

    pictures: int
    right: int | None
    doubts: tuple[str, ...]
    unknown: str = ""


# ---- what somebody brings


def uploaded(file: io.BufferedIOBase, name: str) -> Arrival:
    """What was uploaded under that name, kept until it is recognised; raises EngineError."""
    check_kind(name)
    _tidy()
    contents = digest.of_open_file(file)
    place = _folder() / f"{contents}{Path(name).suffix}"
    file.seek(0)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as aside, aside.open("wb") as out:
            shutil.copyfileobj(file, out)
    except OSError as error:
        raise EngineError(f"{name} cannot be kept {advice(error)}") from None
    return Arrival(str(place), contents, name, uploaded=True)


def found(path: str) -> Arrival:
    """The checkpoint at that path, which stays where it is; raises EngineError."""
    check_kind(path)
    place = checkpoint_at(path)
    if place is None:
        raise EngineError(f"{path} is a model that is known already; give the path of a checkpoint")
    try:
        return Arrival(str(place), digest.of_unchanged_file(place), place.name)
    except OSError as error:
        raise EngineError(f"{place.name} cannot be read {advice(error)}") from None


def name_for(arrival: Arrival) -> str:
    """What it may be called among the models: by its file's name, and otherwise than those that are there."""
    stem = re.sub(r"[^\w.-]+", "-", Path(arrival.named).stem).strip(".-") or "model"
    taken, wanted = {entry.name for entry in models()}, f"my/{stem}"
    return next(name for name in (wanted, *(f"{wanted}-{n}" for n in range(2, 10**6))) if name not in taken)


# ---- recognised


def recognising_task(arrival: Arrival) -> Task:
    """The job whose payload `Recognised.of` reads."""
    return Task("arrival", arrival, f"reading {arrival.named}")


@kind("arrival", Arrival, keep=False, reads=Recognised.of)
def _recognise(arrival: Arrival, bench: Bench) -> Payload:
    bench.progress.report(0.0, "reading its tensors")
    load_libraries()
    from engine.zoo import checkpoints

    source, place = Path(arrival.path), _place(arrival.contents)
    try:
        if place.exists():
            return Recognised.told(checkpoints.recognised(place)).payload()
        if not source.exists():
            raise EngineError(f"{arrival.named} is not there any more; choose it again")
        return Recognised.told(checkpoints.rewritten(source, place)).payload()
    except EngineError as error:
        raise EngineError(str(error).replace(source.name, arrival.named)) from None
    finally:
        if arrival.uploaded:
            source.unlink(missing_ok=True)


# ---- tried


def trying(arrival: Arrival, known: Recognised, card: Card, dataset: str = "") -> Trying:
    """That checkpoint as `card` has it, to be tried on a data set's own split for that; raises EngineError where what
    is said of it contradicts itself."""
    named, what = (card.findings, "findings") if card.findings else (card.classes, "classes")
    if not as_many(known.outputs, named):
        raise EngineError(f"it has {known.outputs} outputs, and {len(named)} {what} are named; name as many as it has "
                          "outputs, in its order")
    if problem := problem_of(card):
        raise EngineError(problem)
    split = find(dataset).info.default_split if dataset else ""
    return Trying(arrival.contents, arrival.named, known.arch, card.classes, card.mean, card.std, dataset, split,
                  card.size, known.head, known.channels, card.findings, card.finding)


def assumed_classes(known: Recognised, datasets: Iterable[str]) -> tuple[tuple[str, ...], str]:
    """The classes of the first of these data sets that has as many as it has outputs, and that data set's name."""
    for name in datasets:
        if as_many(known.outputs, classes := find(name).info.classes):
            return classes, name
    return (), ""


def trying_task(asked: Trying) -> Task:
    """The job whose payload `Tried.of` reads."""
    return Task("trial", asked, f"trying {asked.named}")


@kind("trial", Trying, keep=False, reads=Tried.of)
def _try(asked: Trying, bench: Bench) -> Payload:
    bench.progress.report(0.0, "trying it")
    load_libraries()
    import torch

    from engine.device import choose, exact
    from engine.serving.prepare import placed
    from engine.zoo import checkpoints
    from engine.zoo.trying import remarks

    model = placed(checkpoints.load_as(_place(asked.contents), asked.card), choose(bench.device))
    images, labels, unknown = _sample(asked)
    bench.progress.report(0.5, "trying it")
    with exact():
        right, doubts = remarks(model, torch.from_numpy(images), labels)
    return Tried(len(images), right, doubts, unknown).payload()


def _sample(asked: Trying) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Pictures to try it on, their labels among its classes, and why these are not known; without a data set noise."""
    if not asked.dataset:
        noise = np.random.default_rng(0).random((PICTURES, 3, 224, 224), np.float32)
        return noise, None, "no data set was chosen to try it on"
    data = opened(asked.dataset, asked.split)
    numbers, images = readable(data, evenly(range(len(data)), PICTURES))
    if not numbers:
        raise EngineError(f"none of the pictures of {asked.dataset}/{asked.split} can be read; choose another data set")
    if not fits(data.classes, asked.classes):
        return images, None, (f"{asked.dataset} tells apart {', '.join(data.classes[:4])}"
                              f"{' and others' if len(data.classes) > 4 else ''}, and the model has other classes")
    places = np.array(match(data.classes, asked.classes, asked.named).places)
    return images, places[data.labels[numbers]], ""


# ---- kept


def keep(asked: Trying, tried: Tried, name: str) -> None:
    """Put it among the models under that name, with a card; raises EngineError, and then nothing is there."""
    to = trained_path(name)
    if any(entry.name == name for entry in models()) or to.exists() or card_path(to).exists():
        raise EngineError(f"there is a model '{name}' already; choose another name")
    card = Card(**{**vars(asked.card), "name": to.stem, "limits": " ".join([NOTHING_SAID, *_found_out(asked, tried)])})
    source = _place(asked.contents)
    try:
        write_card(card_path(to), card)
        try:
            os.replace(source, to)
        except OSError:
            card_path(to).unlink(missing_ok=True)
            raise
    except FileNotFoundError:
        raise EngineError(f"{asked.named} is not there any more; choose it again") from None
    except OSError as error:
        raise EngineError(f"the model {name} cannot be kept {advice(error)}") from None


def _found_out(asked: Trying, tried: Tried) -> list[str]:
    """What the trial told, for the card."""
    lines = [] if tried.right is None else [f"When it came, {tried.right} of {tried.pictures} pictures of "
                                            f"{asked.dataset}/{asked.split} were right."]
    return [*lines, *(f"Doubt: {line.rstrip('.?')}." for line in tried.doubts)]


# ---- where it lies meanwhile


def _folder() -> Path:
    return home() / "arrivals"


def _place(contents: str) -> Path:
    """Where the tensors lie that came with these contents."""
    return _folder() / f"{contents}.tensors.safetensors"


def _tidy() -> None:
    """Remove what nobody kept."""
    with contextlib.suppress(OSError):
        for path in _folder().iterdir():
            if time.time() - path.stat().st_mtime > FORGOTTEN:
                path.unlink(missing_ok=True)
