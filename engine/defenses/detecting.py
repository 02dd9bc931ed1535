"""What detectors measure of images, and how they are fitted on clean ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from engine.defenses.filters import BitDepth, Median, NonLocalMeans
from engine.errors import EngineError
from engine.serving.defense import Reference
from engine.serving.draws import Draws
from engine.serving.served import through
from engine.zoo.classifier import Classifier
from engine.zoo.hooks import hooked

if TYPE_CHECKING:
    from engine.defenses.detectors import Detector

# Images [R, C, H, W] -> scores [R], the more suspicious the higher, with a gradient.
Score = Callable[[Tensor], Tensor]

AT_ONCE = 16  # images that pass the classifier together


@dataclass(frozen=True)
class Fit:
    """A fitted detector: what is scored, above what score an image is refused, the middle score of clean images, and
    their digest."""

    score: Score
    threshold: float
    usual: float
    digest: str

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Scores float64 [R] of images [R, C, H, W], on the CPU."""
        found = [self.score(some) for some in images.split(AT_ONCE)]
        return torch.cat(found).cpu().double() if found else torch.empty(0)

    def suspicion(self, images: Tensor) -> Tensor:
        """How far the scores of images [R, C, H, W] lie above the threshold, [R], with a gradient; in the unit of how
        far that lies above the usual."""
        unit = self.threshold - self.usual or 1.0
        return ((self.score(images) - self.threshold) / unit).to(images)


def fitted(detector: Detector, classifier: Classifier, reference: Reference) -> Fit:
    """The detector's fit on clean images; raises EngineError where they do not do."""
    _check(detector, classifier, reference)
    learning, setting = _halves(reference) if detector.learns else (reference, reference)
    fit = Fit(detector.score(classifier, learning), math.inf, math.nan, reference.digest)
    clean = np.sort(fit.scores(setting.images.to(classifier.device)).numpy())
    return replace(fit, threshold=_threshold(clean, detector), usual=float(np.median(clean)))


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


# ---- feature squeezing


def squeezing(classifier: Classifier, bits: int, median: int, smooth: bool) -> Score:
    """How much the model's probabilities change at most when an image is made coarser, from 0 to 2."""
    coarser = [BitDepth(bits=bits), Median(size=median), *([NonLocalMeans()] if smooth else [])]
    nothing = Draws((), 0)

    def score(images: Tensor) -> Tensor:
        said = classifier(images).softmax(dim=1)
        changes = [(classifier(through(one, one.incoming, images, nothing)).softmax(dim=1) - said).abs().sum(dim=1)
                   for one in coarser]
        return torch.stack(changes).amax(dim=0)

    return score


# ---- what the network sees


def _features(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the last layer is given, float64 [N, K], and the classes said, int64 [N], on the CPU; of a network without a
    linear layer the last feature map, averaged over the picture."""
    given: list[Tensor] = []
    linear = {name: layer for name, layer in classifier.module.named_modules() if isinstance(layer, nn.Linear)}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        given[:] = [inputs[0]]

    if linear:
        with hooked(linear, lambda _: note):
            logits = classifier(images)
    else:
        seen, logits = classifier.feature_map(images)
        given = [seen.flatten(2).transpose(1, 2)]
    features = given[0].cpu().double()
    features = features.flatten(1, -2).mean(dim=1) if features.ndim > 2 else features
    return features, logits.argmax(dim=1).cpu()


@torch.no_grad()
def _learned(classifier: Classifier, reference: Reference) -> list[Tensor]:
    """The features of the clean images of each class, in the classes' order."""
    every = torch.cat([_features(classifier, some.to(classifier.device))[0]
                       for some in reference.images.split(AT_ONCE)])
    return [every[reference.labels.cpu() == label] for label in range(len(classifier.classes))]


def distance(classifier: Classifier, reference: Reference) -> Score:
    """The squared Mahalanobis distance to the nearest class."""
    from sklearn.covariance import LedoitWolf

    classes = _learned(classifier, reference)
    means = torch.stack([own.mean(dim=0) for own in classes])
    spread = torch.cat([own - mean for own, mean in zip(classes, means, strict=True)])
    common = LedoitWolf(assume_centered=True).fit(spread.numpy())
    precision = torch.from_numpy(common.get_precision())

    def score(images: Tensor) -> Tensor:
        away = _features(classifier, images)[0][:, None] - means
        return ((away @ precision) * away).sum(dim=2).amin(dim=1)

    return score


def rarity(classifier: Classifier, reference: Reference, bandwidth: float) -> Score:
    """Minus the log density among the clean images of the class that the model names, by Gaussian kernels."""
    classes = _learned(classifier, reference)
    usual = float(np.median(np.concatenate([torch.pdist(own).numpy() for own in classes])))
    if usual == 0:
        raise EngineError("the network sees the same in all clean images; a kernel density needs some that differ")
    width = bandwidth * usual

    def density(features: Tensor, clean: Tensor) -> Tensor:
        away = (features[:, None] - clean).div(width).square().sum(dim=2)
        volume = features.shape[1] * math.log(width * math.sqrt(2 * math.pi))
        return away.div(-2).logsumexp(dim=1) - math.log(len(clean)) - volume

    def score(images: Tensor) -> Tensor:
        features, said = _features(classifier, images)
        every = torch.stack([density(features, clean) for clean in classes], dim=1)
        return -every.gather(1, said[:, None])[:, 0]

    return score
