"""How far a picture is from all that its model was trained on, in the features that the model decides by.

A sample of the training split is looked at once for each model, and kept. Does not import torch at once.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from engine.data import Dataset
from engine.data.splits import evenly
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.datasets.checking import contents_of
from engine.experiments.datasets.predicting import TOGETHER, readable
from engine.experiments.onepicture.suited import trained_on
from engine.experiments.sources import Source, opened, picture
from engine.work.kinds import Bench, Task, kind
from engine.work.results import Result
from engine.work.store import Payload
from engine.zoo.registry import model_card, model_digest
from engine.zoo.variants import EXPORTED

if TYPE_CHECKING:
    from engine.zoo.classifier import Classifier

TRAINING, HELD_OUT = 240, 120  # images of the training split, and others of the same set that show what is usual
USUAL = 99  # per cent of the held-out images that are nearer than what is called unlike
FEWEST = 20  # images of either kind, below which nothing is said


@dataclass(frozen=True)
class Learning:
    """Which model, and the splits of its own data set; digests identify both."""

    model: str
    weights: str
    dataset: str
    split: str
    held_out: str
    contents: str

    def canonical(self) -> dict[str, Any]:
        return {"weights": self.weights, "contents": self.contents}


@dataclass(frozen=True, eq=False)
class Usual(Result):
    """Directions [N, D] of the training images' features; `edge` is the distance within which the held-out images
    lie, but for one in a hundred."""

    edge: float
    held_out: int
    features: Annotated[np.ndarray, Field(exclude=True)]


@dataclass(frozen=True)
class Looking:
    """Which picture is compared, by its digest, with what."""

    source: Source
    image: str
    learning: Learning

    def canonical(self) -> dict[str, Any]:
        return {"image": self.image, "learning": self.learning.canonical()}


@dataclass(frozen=True)
class Distance(Result):
    """How far the picture is from the training images as a whole, and within which distance others of their set lie."""

    distance: float
    edge: float

    @property
    def unlike(self) -> bool:
        return self.distance > self.edge


def learning_task(model: str, device: str = "auto") -> Task | None:
    """The job whose payload `Usual.of` reads; None where what the model was trained on is not here, or not known."""
    card = model_card(model)
    info = trained_on(card)
    if info is None or card.arch == EXPORTED or info.name != card.dataset or card.split not in info.splits:
        return None
    held_out = next((name for name in _others(card.split) if name in info.splits), "")
    try:
        splits = [opened(info.name, name) for name in (card.split, held_out)] if held_out else []
    except EngineError:
        return None
    if not splits or min(map(len, splits)) < FEWEST:
        return None
    spec = Learning(model, model_digest(model), info.name, card.split, held_out,
                    "/".join(contents_of(data) for data in splits))
    return Task("usual", spec, f"what {model} has seen", device)


def _others(split: str) -> tuple[str, str]:
    """Splits beside a training split that a model did not learn from."""
    return split.replace("train", "test"), split.replace("train", "validation")


@kind("usual", Learning, reads=Usual.of)
def _learn(asked: Learning, bench: Bench) -> Generator[None, None, Payload]:
    bench.progress.report(0.0, "loading PyTorch and the model")
    load_libraries()
    model = _placed(asked.model, bench.device)
    found: list[np.ndarray] = []
    samples = [(opened(asked.dataset, asked.split), TRAINING), (opened(asked.dataset, asked.held_out), HELD_OUT)]
    for data, most in samples:
        numbers, some = evenly(range(len(data)), most), []
        for start in range(0, len(numbers), TOGETHER):
            done = sum(len(features) for features in found) + start
            bench.progress.report(done / (TRAINING + HELD_OUT), f"image {done:,} of {TRAINING + HELD_OUT:,}")
            some.append(_seen(model, data, numbers[start:start + TOGETHER]))
            yield
        found.append(np.concatenate([each for each in some if len(each)] or [np.empty((0, 1), np.float32)]))
    if min(map(len, found)) < FEWEST:
        raise EngineError(f"too few pictures of {asked.dataset} can be read to say what is usual among them")
    training, held_out = found
    edge = float(np.percentile(distances(held_out, training), USUAL))
    return Usual(edge, len(held_out), training.astype(np.float32)).payload()


def _seen(model: Classifier, data: Dataset, numbers: list[int]) -> np.ndarray:
    _, images = readable(data, numbers)
    return _features(model, images) if len(images) else np.empty((0, 0), np.float32)


def distances(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """How far pictures' features [M, D] are from the training images' [N, D] as a whole: Mahalanobis' distance, with
    their covariance shrunk as Ledoit and Wolf do, since there are fewer images than features (Lee et al. 2018,
    arXiv:1807.03888)."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    training = training.astype(np.float64)
    centre = training.mean(axis=0)
    _, scales, axes = np.linalg.svd(training - centre, full_matrices=False)
    variances = scales**2 / len(training)
    shrunk = float(ledoit_wolf_shrinkage(training))
    floor = max(shrunk * float(variances.sum()) / training.shape[1], 1e-12)
    apart = features - centre
    along = (apart @ axes.T)**2
    # What lies along no direction in which training images differ has the smallest variance.
    rest = np.maximum((apart**2).sum(axis=1) - along.sum(axis=1), 0)
    squares = (along / ((1 - shrunk) * variances + floor)).sum(axis=1) + rest / floor
    return np.asarray(np.sqrt(squares / training.shape[1]))


def looking_task(source: Source, usual: Task) -> Task:
    """The job whose payload `Distance.of` reads; raises EngineError."""
    return Task("unlike", Looking(source, picture(source).digest, usual.spec), "comparing the picture", usual.device)


@kind("unlike", Looking, reads=Distance.of)
def _look(asked: Looking, bench: Bench) -> Payload:
    usual = Usual.of(bench.result(Task("usual", asked.learning, "", bench.device)))
    bench.progress.report(0.9, "comparing the picture")
    load_libraries()
    (features,) = _features(_placed(asked.learning.model, bench.device), picture(asked.source).image[None])
    return Distance(float(distances(features[None], usual.features)[0]), usual.edge).payload()


def _placed(model: str, device: str) -> Classifier:
    from engine.device import choose
    from engine.serving.prepare import placed
    from engine.zoo.registry import load_model

    return placed(load_model(model), choose(device))


def _features(model: Classifier, images: np.ndarray) -> np.ndarray:
    """The directions [N, D] of what the network's last layer is given of images [N, C, H, W]."""
    import torch

    from engine.device import exact
    from engine.zoo.architectures import ARCHITECTURES
    from engine.zoo.hooks import hooked

    found: list[torch.Tensor] = []

    def note(layer: object, inputs: tuple[torch.Tensor, ...], output: object) -> None:
        found.append(inputs[0].flatten(1).clone())

    head = model.module.get_submodule(ARCHITECTURES[model.arch].head)
    with torch.no_grad(), exact(), hooked({"head": head}, lambda _: note):
        model(torch.from_numpy(images).to(model.device))
    return np.asarray(torch.nn.functional.normalize(found[-1], dim=1).cpu().numpy())


def seconds(pace: float) -> float:
    """How long it takes to learn what is usual, at so many seconds an image."""
    return pace * (TRAINING + HELD_OUT)
