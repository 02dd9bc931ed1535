"""Detectors: each gives every image a score, and refuses those whose score is higher than nearly all clean images have.

They are fitted on clean images of the defender's, at which the threshold is set: so many of the clean images to come
are refused as was chosen, whatever the attack.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from engine.defenses.base import register
from engine.defenses.filters import SQUEEZING
from engine.errors import EngineError
from engine.papers import Paper
from engine.params import param
from engine.serving.defense import DETECTION, Caller, Defense, DefenseInfo, Reference

if TYPE_CHECKING:
    from torch import Tensor

    from engine.defenses.detecting import Fit, Score
    from engine.zoo.classifier import Classifier

OURS = ("The threshold is that score which so many of other clean images exceed as may be refused, and a refused image "
        "gets no answer. An attacker who has the model and knows of this aims below the threshold once the model is "
        "fooled, along the score's gradient, less what would undo the mistake (after Bryniarski et al. 2021).")


@dataclass(frozen=True, kw_only=True)
class Detector(Defense):
    """What detectors have in common. A detector that `learns` does so from one half of the clean images, and its
    threshold is set on the other half."""

    learns: ClassVar[bool] = True
    looks = 1

    alarms: float = param(0.05, title="False alarms", low=0.001, high=0.5, step=0.01,
                          help="The share of clean images that may be refused; the fewer, the more attacks pass.")
    fit: Fit | None = field(default=None, repr=False, compare=False)

    @abstractmethod
    def score(self, classifier: Classifier, reference: Reference) -> Score:
        """What gives images their scores, the more suspicious the higher; learned from clean images, if it learns."""

    def bound(self, classifier: Classifier, reference: Reference) -> Detector:
        from engine.defenses.detecting import fitted

        return replace(self, fit=fitted(self, classifier, reference))

    def refuses(self, images: Tensor, callers: Sequence[Caller]) -> Tensor:
        return self._fit.scores(images) > self._fit.threshold

    def suspicion(self, images: Tensor) -> Tensor:
        return self._fit.suspicion(images)

    @property
    def _fit(self) -> Fit:
        if self.fit is None:
            raise EngineError(f"{self.info.title} has to be fitted on clean images before it can judge others; give "
                              "the defender's reference images")
        return self.fit

    def files(self) -> dict[str, str]:
        return {} if self.fit is None else {f"clean images of {self.info.name}": self.fit.digest}


@register
@dataclass(frozen=True, kw_only=True)
class Squeeze(Detector):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="squeeze",
        title="Feature squeezing",
        sentence="Looks at every image as it is and in coarser copies, and refuses it where the model says something "
                 "else of them: of clean images it hardly does.",
        paper=SQUEEZING,
        kind=DETECTION,
        fitted=True,
        evasion=1,
        formula=r"\max_s \lVert p(x) - p(s(x)) \rVert_1 > t: \text{ no answer}",
        cost="a forward pass for the image, and one for each coarser copy",
        ours=OURS,
    )

    learns: ClassVar[bool] = False

    bits: int = param(5, title="Bits", low=1, high=8, step=1,
                      help="One copy has so many bits a pixel; the paper takes 5 for large colour images.")
    median: int = param(2, title="Median", low=2, high=15, step=1, unit=" pixels",
                        help="Another is median filtered with neighbourhoods of this side.")
    smooth: bool = param(True, title="Non-local means",
                         help="A third is smoothed by non-local means (11-3-4), by far the dearest.")

    @property
    def looks(self) -> int:  # type: ignore[override]
        return 3 + self.smooth

    def score(self, classifier: Classifier, reference: Reference) -> Score:
        from engine.defenses.detecting import squeezing

        return squeezing(classifier, self.bits, self.median, self.smooth)


@register
@dataclass(frozen=True, kw_only=True)
class Mahalanobis(Detector):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="mahalanobis",
        title="Mahalanobis distance",
        sentence="Measures how far what the network sees in an image lies from every class's clean images, and refuses "
                 "what is far from all of them.",
        paper=Paper("Lee, Lee, Lee, Shin", "A Simple Unified Framework for Detecting Out-of-Distribution Samples and "
                    "Adversarial Attacks", 2018, "https://arxiv.org/abs/1807.03888"),
        kind=DETECTION,
        fitted=True,
        evasion=1,
        formula=r"\min_c \, (h(x) - \mu_c)^\top \Sigma^{-1} (h(x) - \mu_c) > t: \text{ no answer}",
        cost="a forward pass, and a distance for each class",
        ours="Of the last layer's features alone, means and the common covariance (Ledoit and Wolf's, as images are "
             "few) from clean validation images; the paper also weighs layers by examples of attacks. " + OURS,
    )

    def score(self, classifier: Classifier, reference: Reference) -> Score:
        from engine.defenses.detecting import distance

        return distance(classifier, reference)


@register
@dataclass(frozen=True, kw_only=True)
class Density(Detector):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="kde",
        title="Kernel density",
        sentence="Estimates how common what the network sees in an image is among clean images of the class that it "
                 "names, and refuses what is rare.",
        paper=Paper("Feinman, Curtin, Shintre, Gardner", "Detecting Adversarial Samples from Artifacts", 2017,
                    "https://arxiv.org/abs/1703.00410"),
        kind=DETECTION,
        fitted=True,
        evasion=1,
        formula=r"-\log \frac{1}{\lvert X_c \rvert} \sum_{z \in X_c} "
                r"K_b\left(h(x) - h(z)\right) > t: \text{ no answer}, \quad c = f(x)",
        cost="a forward pass, and a distance to every clean image of a class",
        ours="Of the last layer's features, from clean validation images instead of the training set; the bandwidth is "
             "told in the median distance between clean images of a class. " + OURS,
    )

    bandwidth: float = param(0.5, title="Bandwidth", low=0.01, high=10.0, step=0.05,
                             help="How wide a kernel is, in the median distance between clean images of one class.")

    def score(self, classifier: Classifier, reference: Reference) -> Score:
        from engine.defenses.detecting import rarity

        return rarity(classifier, reference, self.bandwidth)
