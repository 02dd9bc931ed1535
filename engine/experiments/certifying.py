"""How far images can be moved for certain without changing what a smoothed model says: votes on noisy copies, counted
as work that is kept, and the certified accuracy that they prove. Does not import torch."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine import digest
from engine.attacks.base import Cost
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.onepicture import pace
from engine.experiments.sources import opened, seen
from engine.experiments.sweeps import Names, coarse_to_fine
from engine.metrics.certificate import Certificate, certificate, check
from engine.metrics.rates import Share
from engine.params import param
from engine.work.executors import Here
from engine.work.kinds import Bench, Task, kind
from engine.work.store import Payload
from engine.zoo.registry import load_model, model_digest

AT_ONCE = 4  # images whose votes are counted, and kept, together


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """How a certificate is drawn: the settings that a page lets choose and the command line has as options."""

    sigma: float = param(0.12, title="Sigma", low=0.0, high=2.0, step=0.01,
                         help="The noise's standard deviation; the whole grey range is 1. More noise can prove larger "
                              "radii, and costs accuracy where the model was not trained on it.")
    choosing: int = param(100, title="Draws that choose", low=1, high=100_000, step=10,
                          help="n0 in the paper: noisy copies of each image by which its class is chosen.")
    draws: int = param(1000, title="Draws that count", low=1, high=1_000_000, step=100,
                       help="n in the paper, which takes 100,000: further noisy copies that count the votes for that "
                            "class. The more, the larger the radius that can be proven.")
    alpha: float = param(0.001, title="Alpha", low=0.0, high=1.0, step=0.001,
                         help="The risk, for each image, that what is said to be proven is wrong.")


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
    by those that count; and what the model says of the image without noise, int64 [N]."""

    choosing: np.ndarray
    counting: np.ndarray
    bare: np.ndarray

    @staticmethod
    def joined(pieces: Sequence[Votes]) -> Votes:
        return Votes(*(np.concatenate([getattr(one, name) for one in pieces]) for name in _ARRAYS))


_ARRAYS = ("choosing", "counting", "bare")


def votes_of(payload: Payload) -> Votes:
    """The votes of a ballot; raises KeyError for what is none."""
    return Votes(*(payload.arrays[name] for name in _ARRAYS))


@kind("votes", Ballot, version=2, reads=votes_of)
def _votes(ballot: Ballot, bench: Bench) -> Payload:
    """The votes of a ballot; the noise depends on the image and the seed."""
    bench.progress.report(0.0, "loading PyTorch and the model")
    load_libraries()
    import torch

    from engine import device as devices
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
    with devices.exact(), torch.no_grad():
        bare = model(torch.from_numpy(images).to(model.device)).argmax(dim=1).cpu().numpy()
        found = {purpose: votes(model, torch.from_numpy(images), identities, draws[purpose], sigma=ballot.sigma,
                                purpose=purpose, seed=ballot.seed, progress=parts[purpose]) for purpose in draws}
    return Payload({}, {**found, "bare": bare})


@dataclass(frozen=True)
class Certified:
    """What is proven of a model smoothed with `sigma` on some images: the certificate; what the model says of them
    without noise, `bare` [N]; and the true classes."""

    model: str
    sigma: float
    found: Certificate
    bare: np.ndarray
    labels: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Of which images the true class is proven, bool [N]."""
        return self.found.classes == self.labels

    @property
    def median(self) -> float:
        """The radius up to which half of the images are right for certain; 0 where fewer are at all."""
        return float(np.median(np.where(self.right, self.found.radii, 0.0))) if len(self.labels) else 0.0

    @property
    def clean(self) -> Share:
        """How many the model reads correctly without noise."""
        return Share(int((self.bare == self.labels).sum()), len(self.labels))

    def within(self, radius: float) -> Share:
        """How many are right for certain whatever is changed by no more than `radius` (L2)."""
        return Share(int((self.right & (self.found.radii >= radius)).sum()), len(self.labels))

    def facts(self, radii: Sequence[float]) -> dict[str, Any]:
        """JSON-able: the certified accuracy at each radius, with its 95 % interval, and what else a reader asks."""
        return {"model": self.model, "sigma": self.sigma, "n": len(self.labels),
                "abstained": int(self.found.abstained.sum()), "accuracy_clean": self.clean.facts(),
                "accuracy_smoothed": self.within(0.0).facts(),
                "radius_median": self.median if len(self.labels) else None,
                "certified": [{"radius": radius, **self.within(radius).facts()} for radius in radii]}

    def rows(self) -> list[dict[str, Any]]:
        """An image each."""
        return [{"label": int(label), "bare": int(bare), "class": int(said), "radius": float(radius),
                 "share": float(share)}
                for label, bare, said, radius, share in zip(self.labels, self.bare, self.found.classes,
                                                            self.found.radii, self.found.shares, strict=True)]


# ---- certificates of many images, by several models and sigmas


@dataclass(frozen=True)
class Certifying:
    """What votes are to prove of every model smoothed with every sigma, on the images `indices` of one split; `names`
    are what the models call the data set's classes. `contents` identifies images, classes and weights, as they were
    when it was asked for (`certifying_of`)."""

    dataset: str
    split: str
    indices: tuple[int, ...]
    models: tuple[str, ...]
    sigmas: tuple[float, ...]
    choosing: int
    counting: int
    alpha: float
    seed: int = 0
    names: Names = ()
    contents: str = ""

    def canonical(self) -> dict[str, Any]:
        """What it is made of decides, not what that is called."""
        return {name: getattr(self, name) for name in ("sigmas", "choosing", "counting", "alpha", "seed", "contents")}

    @property
    def title(self) -> str:
        """For people."""
        return (f"certificates of {', '.join(self.models)} on {len(self.indices)} images of {self.dataset}/"
                f"{self.split}, sigma {', '.join(f'{sigma:g}' for sigma in self.sigmas)}")

    @property
    def curves(self) -> list[tuple[str, float]]:
        """Model and sigma of every curve, in their order."""
        return [(model, sigma) for model in self.models for sigma in self.sigmas]

    @property
    def parts(self) -> list[tuple[int, ...]]:
        """The images whose votes are counted together."""
        return [self.indices[start:start + AT_ONCE] for start in range(0, len(self.indices), AT_ONCE)]

    @property
    def passes(self) -> int:
        """How often an image passes a model."""
        return len(self.indices) * len(self.curves) * (self.choosing + self.counting + 1)

    def seconds(self, device: str) -> float | None:
        """About how long that takes here, where it is known."""
        paces = [pace.known(model, device) for model in self.models]
        cost = Cost(0, (self.choosing + self.counting) * len(self.sigmas))
        return None if None in paces else len(self.indices) * sum(at.estimate(cost) for at in paces if at is not None)


def certifying_of(dataset: str, split: str, indices: Sequence[int], models: Sequence[str], sigmas: Sequence[float],
                  choosing: int = 100, counting: int = 1000, alpha: float = 0.001, seed: int = 0, names: Names = ()
                  ) -> Certifying:
    """That of images and models as they are now; raises EngineError, also where so few draws cannot prove anything."""
    for sigma in sigmas:
        check(sigma, alpha, choosing, counting)
    asked = Certifying(dataset, split, tuple(indices), tuple(models), tuple(sigmas), choosing, counting, alpha, seed,
                       names)
    if not (asked.indices and asked.models and asked.sigmas):
        raise EngineError("a certificate needs at least one image, one model and one sigma")
    return replace(asked, contents=_contents(asked))


def _contents(asked: Certifying) -> str:
    return digest.of_spec({"runs": [
        {"images": seen(asked.dataset, asked.split, model, asked.names).digest_of(asked.indices),
         "weights": model_digest(model)} for model in asked.models]})


class Growing:
    """The votes there are so far: whoever counts adds to them, pages read meanwhile what they prove."""

    def __init__(self, asked: Certifying) -> None:
        self._asked = asked
        self._labels = [_labels(asked, model) for model, _ in asked.curves]
        self._pieces: list[dict[int, Votes]] = [{} for _ in asked.curves]

    def add(self, curve: int, part: int, votes: Votes) -> None:
        self._pieces[curve][part] = votes

    def payload(self) -> Payload:
        """What is kept of them, all being there."""
        whole = [Votes.joined([pieces[part] for part in sorted(pieces)]) for pieces in self._pieces]
        votes = {f"{name}_{curve}": getattr(one, name) for curve, one in enumerate(whole) for name in _ARRAYS}
        return Payload({"alpha": self._asked.alpha, "curves": [list(curve) for curve in self._asked.curves]},
                       votes | {f"labels_{curve}": labels for curve, labels in enumerate(self._labels)})

    def now(self) -> list[Certified]:
        """What they prove, of every model and sigma of which there are any."""
        found, parts = [], self._asked.parts
        for (model, sigma), pieces, labels in zip(self._asked.curves, map(dict, self._pieces), self._labels,
                                                  strict=True):
            known, places = sorted(pieces), np.split(labels, np.cumsum([len(part) for part in parts])[:-1])
            if known:
                found.append(_certified(model, sigma, self._asked.alpha, Votes.joined([pieces[p] for p in known]),
                                        np.concatenate([places[p] for p in known])))
        return found


def _labels(asked: Certifying, model: str) -> np.ndarray:
    """The true classes of the images, as numbers of the model's."""
    return seen(asked.dataset, asked.split, model, asked.names).labels[list(asked.indices)]


def _certified(model: str, sigma: float, alpha: float, votes: Votes, labels: np.ndarray) -> Certified:
    return Certified(model, sigma, certificate(votes.choosing, votes.counting, sigma, alpha), votes.bare, labels)


def certify_task(asked: Certifying, device: str = "auto") -> Task:
    """The long job whose payload `certified_of` reads."""
    return Task("certify", asked, asked.title, device)


def certified_of(payload: Payload) -> list[Certified]:
    """What is proven of every model and sigma; raises EngineError for what is no such result."""
    try:
        return [_certified(model, sigma, payload.facts["alpha"],
                           Votes(*(payload.arrays[f"{name}_{curve}"] for name in _ARRAYS)),
                           payload.arrays[f"labels_{curve}"])
                for curve, (model, sigma) in enumerate(payload.facts["curves"])]
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"this is no certificate ({type(error).__name__})") from None


@kind("certify", Certifying, reads=certified_of)
def _certify(asked: Certifying, bench: Bench) -> Generator[None, None, Payload]:
    """Every curve sees the same images before any sees the next, and the first lie far apart."""
    bench.progress.report(0.0, "planning")
    if asked.contents != _contents(asked):
        raise EngineError("the images or a model have changed since this was asked for; ask for it again")
    growing = Growing(asked)
    bench.publish(growing)
    order = [(curve, part) for part in coarse_to_fine(len(asked.parts)) for curve in range(len(asked.curves))]
    executor = bench.executor or Here()
    for number, payload in executor.results([(_ballot(asked, *one, bench.device),) for one in order], bench):
        growing.add(*order[number], votes_of(payload))
        yield
    return growing.payload()


def _ballot(asked: Certifying, curve: int, part: int, device: str) -> Task:
    (model, sigma), indices = asked.curves[curve], asked.parts[part]
    images = seen(asked.dataset, asked.split, model, asked.names).digest_of(indices)
    ballot = Ballot(asked.dataset, asked.split, indices, model, sigma, asked.choosing, asked.counting, asked.seed,
                    images, model_digest(model))
    return Task("votes", ballot, ballot.title, device)
