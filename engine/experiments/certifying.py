"""How far images can be moved for certain without changing what a smoothed model says: votes on noisy copies, counted
as work that is kept, and the certified accuracy that they prove. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.sources import opened, seen
from engine.metrics.certificate import Certificate, certificate, check
from engine.metrics.rates import Share
from engine.work.kinds import Bench, Task, kind
from engine.work.store import Payload
from engine.zoo.registry import load_model, model_digest

AT_ONCE = 4  # images whose votes are counted, and kept, together


@dataclass(frozen=True)
class Ballot:
    """The votes on noisy copies of the images `indices` of a split: `choosing` draws of each choose a class, and
    `counting` others count. The digests of images and weights show that both are the same later."""

    dataset: str
    split: str
    indices: tuple[int, ...]
    model: str
    sigma: float
    choosing: int
    counting: int
    seed: int
    images: str
    weights: str

    def canonical(self) -> dict[str, Any]:
        """The digests decide, not the names."""
        return {name: getattr(self, name) for name in ("sigma", "choosing", "counting", "seed", "images", "weights")}

    @property
    def title(self) -> str:
        """For people."""
        return (f"votes of {self.model} on {len(self.indices)} images of {self.dataset}/{self.split}, sigma "
                f"{self.sigma:g}")


@dataclass(frozen=True)
class Votes:
    """How often noisy copies of each image were given each class, int64 [N, K], by those draws that choose a class and
    by those that count."""

    choosing: np.ndarray
    counting: np.ndarray


def votes_of(payload: Payload) -> Votes:
    return Votes(payload.arrays["choosing"], payload.arrays["counting"])


@kind("votes", Ballot, reads=votes_of)
def _votes(ballot: Ballot, bench: Bench) -> Payload:
    """The votes of a ballot; the noise depends on the image and the seed."""
    bench.progress.report(0.0, "loading PyTorch and the model")
    load_libraries()
    import torch

    from engine import device as devices
    from engine import digest
    from engine.defenses.certifying import CHOOSING, COUNTING, votes
    from engine.serving.prepare import placed

    dataset = opened(ballot.dataset, ballot.split)
    if dataset.digest_of(ballot.indices) != ballot.images or model_digest(ballot.model) != ballot.weights:
        raise EngineError("the images or the model have changed since this was asked for; ask for it again")
    images, model = dataset.images(ballot.indices), placed(load_model(ballot.model), devices.choose(bench.device))
    identities = [digest.of_arrays(image) for image in images]
    draws = {CHOOSING: ballot.choosing, COUNTING: ballot.counting}
    halfway = ballot.choosing / (ballot.choosing + ballot.counting)
    parts = {CHOOSING: bench.progress.part(0.0, halfway), COUNTING: bench.progress.part(halfway, 1.0)}
    with devices.exact():
        found = {purpose: votes(model, torch.from_numpy(images), identities, draws[purpose], sigma=ballot.sigma,
                                purpose=purpose, seed=ballot.seed, progress=parts[purpose]) for purpose in draws}
    return Payload({}, found)


@dataclass(frozen=True)
class Certified:
    """What is proven of a model smoothed with `sigma` on some images: the certificate, and the true classes."""

    model: str
    sigma: float
    found: Certificate
    labels: np.ndarray

    def facts(self, radii: Sequence[float]) -> dict[str, Any]:
        """JSON-able: the certified accuracy at each radius, with its 95 % interval, and what else a reader asks."""
        right = self.found.classes == self.labels
        return {"model": self.model, "sigma": self.sigma, "n": len(self.labels),
                "abstained": int(self.found.abstained.sum()),
                "accuracy_smoothed": Share(int(right.sum()), len(right)).facts(),
                "radius_median": float(np.median(np.where(right, self.found.radii, 0.0))) if len(right) else None,
                "certified": [{"radius": radius, **Share(int((right & (self.found.radii >= radius)).sum()),
                                                         len(right)).facts()} for radius in radii]}

    def rows(self) -> list[dict[str, Any]]:
        """An image each."""
        return [{"label": int(label), "class": int(said), "radius": float(radius), "share": float(share)}
                for label, said, radius, share in zip(self.labels, self.found.classes, self.found.radii,
                                                      self.found.shares, strict=True)]


def certified(dataset: str, split: str, indices: Sequence[int], model: str, sigma: float, bench: Bench, *,
              choosing: int = 100, counting: int = 1000, alpha: float = 0.001, seed: int = 0,
              names: Sequence[tuple[str, str]] = ()) -> Certified:
    """What votes prove of a model on those images with confidence 1 - `alpha`; those known are not counted again.
    Raises EngineError and Cancelled."""
    check(sigma, alpha, choosing, counting)
    chosen = seen(dataset, split, model, names)
    weights = model_digest(model)
    parts = [tuple(indices[start:start + AT_ONCE]) for start in range(0, len(indices), AT_ONCE)]
    found = []
    for number, part in enumerate(parts):
        ballot = Ballot(dataset, split, part, model, sigma, choosing, counting, seed, chosen.digest_of(part), weights)
        found.append(votes_of(bench.piece(number, len(parts)).result(
            Task("votes", ballot, ballot.title, bench.device))))
    proven = certificate(np.concatenate([one.choosing for one in found]),
                         np.concatenate([one.counting for one in found]), sigma, alpha)
    return Certified(model, sigma, proven, chosen.labels[list(indices)])
