"""What a model says of every image of a split as it is, to look for those that it gets wrong. No torch."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.data import Dataset
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.datasets.checking import contents_of
from engine.experiments.sources import opened, seen
from engine.work.kinds import Bench, Task, kind
from engine.work.store import Payload
from engine.zoo.registry import model_digest

TOGETHER = 16  # images that the model looks at together
UNREAD = -1  # instead of a class, where the picture cannot be read


@dataclass(frozen=True)
class Predicting:
    """Which model looks at which split; digests identify both. `names` are what the model calls the classes, where they
    are called otherwise."""

    dataset: str
    split: str
    model: str
    contents: str
    weights: str
    names: tuple[tuple[str, str], ...] = ()

    def canonical(self) -> dict[str, Any]:
        return {"contents": self.contents, "weights": self.weights}


@dataclass(frozen=True, eq=False)
class Predicted:
    """The number of the model's class for every image (or UNREAD), and how sure it is."""

    predicted: np.ndarray
    confidence: np.ndarray

    @staticmethod
    def of(payload: Payload) -> Predicted:
        return Predicted(payload.arrays["predicted"], payload.arrays["confidence"])


def predicting_task(dataset: str, split: str, model: str, names: tuple[tuple[str, str], ...] = (),
                    device: str = "auto") -> Task:
    """The job whose payload `Predicted.of` reads; raises EngineError."""
    spec = Predicting(dataset, split, model, contents_of(opened(dataset, split)), model_digest(model), names)
    return Task("predictions", spec, f"{model} on {dataset}/{split}", device)


def labels_seen(dataset: Dataset, model: str, names: tuple[tuple[str, str], ...] = ()) -> np.ndarray | None:
    """The numbers of the images' true classes among the model's, or None where it does not know all of them."""
    try:
        return seen(dataset.info.name, dataset.split, model, names).labels
    except EngineError:
        return None


@kind("predictions", Predicting, reads=Predicted.of)
def _predict(asked: Predicting, bench: Bench) -> Generator[None, None, Payload]:
    bench.progress.report(0.0, "loading PyTorch and the model")
    load_libraries()
    import torch

    from engine.device import choose, exact
    from engine.serving.prepare import placed
    from engine.zoo.registry import load_model

    dataset = opened(asked.dataset, asked.split)
    if (contents_of(dataset), model_digest(asked.model)) != (asked.contents, asked.weights):
        raise EngineError("the images or the model have changed since this was asked for; ask for it again")
    model = placed(load_model(asked.model), choose(bench.device))
    predicted, confidence = np.full(len(dataset), UNREAD, np.int64), np.zeros(len(dataset), np.float32)
    for start in range(0, len(dataset), TOGETHER):
        bench.progress.report(start / len(dataset), f"{start:,} of {len(dataset):,} images")
        numbers, images = readable(dataset, range(start, min(start + TOGETHER, len(dataset))))
        if numbers:
            with torch.no_grad(), exact():
                odds = model(torch.from_numpy(images).to(model.device)).softmax(dim=1).cpu().numpy()
            predicted[numbers], confidence[numbers] = odds.argmax(axis=1), odds.max(axis=1)
        yield
    return Payload({}, {"predicted": predicted, "confidence": confidence})


def readable(dataset: Dataset, numbers: Iterable[int]) -> tuple[list[int], np.ndarray]:
    """The numbers of those of the images that can be read, and these."""
    known, images = [], []
    for number in numbers:
        try:
            images.append(dataset.image(number))
        except EngineError:
            continue
        known.append(number)
    return known, np.stack(images) if images else np.empty(0)
