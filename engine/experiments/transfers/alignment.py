"""How alike the input gradients of models are on the same images: the cosine between them (Demontis et al. 2019, "Why
Do Adversarial Attacks Transfer?"). Does not import torch."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from engine import digest
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.sources import seen
from engine.experiments.sweeps import Names, coarse_to_fine
from engine.experiments.transfers.transfer import classes_of, names_for
from engine.work.kinds import Bench, Task, kind
from engine.work.results import Result
from engine.work.store import Payload
from engine.zoo.registry import model_digest

BATCH = 16


@dataclass(frozen=True)
class Aligning:
    """The models' gradients on the images `indices` of a split; `names` are what the first model calls the data set's
    classes, where it calls them otherwise, and `contents` identifies images and weights."""

    dataset: str
    split: str
    indices: tuple[int, ...]
    models: tuple[str, ...]
    names: Names = ()
    contents: str = ""

    def canonical(self) -> dict[str, Any]:
        """What it is made of decides, not what that is called."""
        return {"contents": self.contents}

    def unchanged(self) -> Aligning:
        """The same, if what it names is still what it was when it was asked for; raises EngineError."""
        if _contents(self) != self.contents:
            raise EngineError("the images or a model have changed since this was asked for; ask for it again")
        return self

    def pieces(self) -> list[Aligning]:
        """The same batch by batch."""
        parts = [replace(self, indices=self.indices[start:start + BATCH])
                 for start in range(0, len(self.indices), BATCH)]
        return [replace(part, contents=_contents(part)) for part in parts]


@dataclass(frozen=True, eq=False)
class Alignment(Result):
    """`cosines` [P, N]: for every pair of different models, in the order of `pairs`, the cosine of their gradients on
    every image; NaN where one of them is 0 everywhere."""

    models: tuple[str, ...]
    cosines: Annotated[np.ndarray, Field(exclude=True)]

    def __post_init__(self) -> None:
        if self.cosines.ndim != 2 or len(self.cosines) != len(self.pairs):
            raise EngineError("the cosines and the models do not fit together")

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The numbers of the two models of every pair."""
        return list(combinations(range(len(self.models)), 2))

    def mean(self, one: int, other: int) -> Cosine:
        """Of two of the models, by their numbers."""
        if one == other:
            return Cosine(1.0, 1.0, 1.0, self.cosines.shape[1])
        values = self.cosines[self.pairs.index((min(one, other), max(one, other)))]
        return _mean(values[~np.isnan(values)])

    def matrix(self) -> list[list[Cosine]]:
        """Every model with every other, and with itself."""
        numbers = range(len(self.models))
        return [[self.mean(one, other) for other in numbers] for one in numbers]

    def summary(self) -> dict[str, Any]:
        """JSON-able."""
        whole = self.matrix()
        return {"models": list(self.models), "cosine": [[c.mean for c in row] for row in whole],
                "low": [[c.low for c in row] for row in whole], "high": [[c.high for c in row] for row in whole],
                "n": [[c.of for c in row] for row in whole]}


@dataclass(frozen=True)
class Cosine:
    """A mean over `of` images with its 95 % interval (Student's t); None where there is no image."""

    mean: float | None
    low: float
    high: float
    of: int


def _mean(values: np.ndarray) -> Cosine:
    if not len(values):
        return Cosine(None, -1.0, 1.0, 0)
    mean = float(values.mean())
    if len(values) == 1:
        return Cosine(mean, -1.0, 1.0, 1)
    from scipy.stats import t  # half a second that a page's first drawing can do without

    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return Cosine(mean, max(-1.0, mean - half), min(1.0, mean + half), len(values))


def alignment_task(dataset: str, split: str, indices: Sequence[int], models: Sequence[str], names: Names = (),
                   device: str = "auto") -> Task:
    """The long job whose payload `Alignment.of` reads; raises EngineError for what can be seen without computing."""
    asked = Aligning(dataset, split, tuple(indices), tuple(models), names)
    if len(asked.models) < 2:
        raise EngineError("gradients of two models at least are compared; name another model")
    for model in asked.models:
        classes_of(model, asked.models[0])
    asked = replace(asked, contents=_contents(asked))
    return Task("alignment", asked, f"gradients of {', '.join(asked.models)} on {len(asked.indices)} images of "
                                    f"{dataset}/{split}", device)


def _contents(asked: Aligning) -> str:
    first = seen(asked.dataset, asked.split, asked.models[0], asked.names)
    return digest.of_spec({"images": first.digest_of(asked.indices),
                           "models": [[model, model_digest(model)] for model in asked.models]})


@kind("cosines", Aligning, reads=Alignment.of)
def _cosines(asked: Aligning, bench: Bench) -> Payload:
    """Of one batch."""
    bench.progress.report(0.0, "loading PyTorch and the models")
    load_libraries()
    from engine.experiments.transfers.aligning import cosines

    names = [names_for(model, asked.models[0], asked.names) for model in asked.models]
    return Alignment(asked.models, cosines(asked.unchanged(), names, bench)).payload()


@kind("alignment", Aligning, reads=Alignment.of)
def _alignment(asked: Aligning, bench: Bench) -> Generator[None, None, Payload]:
    pieces = asked.unchanged().pieces()
    found: dict[int, Alignment] = {}
    for number, place in enumerate(coarse_to_fine(len(pieces))):
        task = Task("cosines", pieces[place], f"gradients of {', '.join(asked.models)}", bench.device)
        found[place] = Alignment.of(bench.piece(number, len(pieces)).result(task))
        bench.publish(_joined([found[place] for place in sorted(found)]))
        yield
    return _joined([found[place] for place in sorted(found)]).payload()


def _joined(parts: Sequence[Alignment]) -> Alignment:
    return Alignment(parts[0].models, np.concatenate([part.cosines for part in parts], axis=1))
