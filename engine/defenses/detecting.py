"""What detectors measure of images, and how they are fitted on clean ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from engine.defenses.filters import BitDepth, Median, NonLocalMeans
from engine.errors import EngineError
from engine.metrics.detection import Detection, detection
from engine.serving.defense import Reference
from engine.serving.draws import Draws
from engine.zoo.classifier import Classifier
from engine.zoo.hooks import hooked

if TYPE_CHECKING:
    from engine.defenses.detectors import Detector

Score = Callable[[Tensor], np.ndarray]  # images [R, C, H, W] -> scores [R], the more suspicious the higher

AT_ONCE = 16  # images that pass the classifier together


@dataclass(frozen=True)
class Fit:
    """A fitted detector: what is scored, above what score an image is refused, and the digest of the clean images."""

    score: Score
    threshold: float
    digest: str

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Scores float64 [R] of images [R, C, H, W], on the CPU."""
        found = [self.score(some) for some in images.split(AT_ONCE)]
        return torch.from_numpy(np.concatenate(found).astype(np.float64)) if found else torch.empty(0)


def fitted(detector: Detector, classifier: Classifier, reference: Reference) -> Fit:
    """The detector's fit on clean images; raises EngineError where they do not do."""
    _check(detector, classifier, reference)
    learning, setting = _halves(reference) if detector.learns else (reference, reference)
    fit = Fit(detector.score(classifier, learning), math.inf, reference.digest)
    clean = np.sort(fit.scores(setting.images.to(classifier.device)).numpy())
    return Fit(fit.score, _threshold(clean, detector), reference.digest)


def _threshold(clean: np.ndarray, detector: Detector) -> float:
    """The score above which not more than that share of clean images to come lies, by all that those at hand tell."""
    place = math.ceil((len(clean) + 1) * (1 - detector.alarms))
    if place > len(clean):
        raise EngineError(f"{len(clean)} clean images cannot tell what so few as {detector.alarms:.1%} exceed; allow "
                          f"{detector.info.title} at least {1 / (len(clean) + 1):.1%} false alarms, or give more")
    return float(clean[place - 1])


def _check(detector: Detector, classifier: Classifier, reference: Reference) -> None:
    title = detector.info.title
    found = torch.bincount(reference.labels[reference.labels >= 0], minlength=len(classifier.classes))
    missing = [name for name, count in zip(classifier.classes, found.tolist(), strict=True) if count < 4]
    if missing:
        raise EngineError(f"{title} needs 4 clean images or more of every class, and there are fewer of "
                          f"{' and '.join(missing[:3])}; give images of each, or leave the detector out")


def _halves(reference: Reference) -> tuple[Reference, Reference]:
    """Every other image of each class, and the rest."""
    first: list[int] = []
    for label in reference.labels.unique().tolist():
        first += (reference.labels == label).nonzero()[::2, 0].tolist()
    others = sorted(set(range(len(reference.labels))) - set(first))
    return reference.only(sorted(first)), reference.only(others)


def roc(fit: Fit, clean: Tensor, attacked: Tensor) -> Detection:
    """How well a fitted detector tells attacked images [M, C, H, W] from clean ones [N, C, H, W], none of which it
    learned from; raises EngineError."""
    return detection(fit.scores(clean).numpy(), fit.scores(attacked).numpy())


# ---- feature squeezing


def squeezing(classifier: Classifier, bits: int, median: int, smooth: bool) -> Score:
    """How much the model's probabilities change at most when an image is made coarser, from 0 to 2."""
    coarser = [BitDepth(bits=bits), Median(size=median), *([NonLocalMeans()] if smooth else [])]
    nothing = Draws((), 0)

    def score(images: Tensor) -> np.ndarray:
        said = classifier(images).softmax(dim=1)
        changes = [(classifier(one.incoming(images, nothing)).softmax(dim=1) - said).abs().sum(dim=1)
                   for one in coarser]
        return torch.stack(changes).amax(dim=0).cpu().numpy()

    return score


# ---- what the network sees


def _features(classifier: Classifier, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What the last layer is given, float64 [N, K], and the classes said, int64 [N]; of a network without a linear
    layer the last feature map, averaged over the picture."""
    given: list[Tensor] = []
    linear = {name: layer for name, layer in classifier.module.named_modules() if isinstance(layer, nn.Linear)}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        given[:] = [inputs[0]]

    if linear:
        with hooked(linear, lambda _: note):
            logits = classifier(images)
    else:
        seen, logits = classifier.features(images)
        given = [seen.flatten(2).transpose(1, 2)]
    features = given[0].double()
    features = features.flatten(1, -2).mean(dim=1) if features.ndim > 2 else features
    return features.cpu().numpy(), logits.argmax(dim=1).cpu().numpy()


@torch.no_grad()
def _learned(classifier: Classifier, reference: Reference) -> list[np.ndarray]:
    """The features of the clean images of each class, in the classes' order."""
    every = np.concatenate([_features(classifier, some.to(classifier.device))[0]
                            for some in reference.images.split(AT_ONCE)])
    labels = reference.labels.numpy()
    return [every[labels == label] for label in range(len(classifier.classes))]


def distance(classifier: Classifier, reference: Reference) -> Score:
    """The squared Mahalanobis distance to the nearest class."""
    from sklearn.covariance import LedoitWolf

    classes = _learned(classifier, reference)
    means = [own.mean(axis=0) for own in classes]
    spread = np.concatenate([own - mean for own, mean in zip(classes, means, strict=True)])
    common = LedoitWolf(assume_centered=True).fit(spread)

    def score(images: Tensor) -> np.ndarray:
        features = _features(classifier, images)[0]
        return np.min([common.mahalanobis(features - mean) for mean in means], axis=0)

    return score


def rarity(classifier: Classifier, reference: Reference, bandwidth: float) -> Score:
    """Minus the log density among the clean images of the class that the model names."""
    from scipy.spatial.distance import pdist
    from sklearn.neighbors import KernelDensity

    classes = _learned(classifier, reference)
    usual = float(np.median(np.concatenate([pdist(own) for own in classes])))
    if usual == 0:
        raise EngineError("the network sees the same in all clean images; a kernel density needs some that differ")
    densities = [KernelDensity(bandwidth=bandwidth * usual).fit(own) for own in classes]

    def score(images: Tensor) -> np.ndarray:
        features, said = _features(classifier, images)
        return _by_class(densities, features, said)

    return score


def _by_class(densities: Sequence[object], features: np.ndarray, said: np.ndarray) -> np.ndarray:
    found = np.empty(len(features))
    for label, density in enumerate(densities):
        if (rows := said == label).any():
            found[rows] = -density.score_samples(features[rows])  # type: ignore[attr-defined]
    return found
