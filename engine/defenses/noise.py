"""Defenses that answer every query with noise, so that an attacker who asks cannot tell small differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from engine.defenses.base import register
from engine.papers import Paper, thesis_of_li_yang
from engine.params import param
from engine.serving.defense import Defense, DefenseInfo

if TYPE_CHECKING:
    from torch import Tensor

    from engine.serving.draws import Draws

LOUD = 0.5  # noise whose standard deviation is half of the whole grey range leaves hardly anything of a picture


def loud(sigma: float) -> str | None:
    """What is to be said of noise with that standard deviation on an image."""
    if sigma <= LOUD:
        return None
    return (f"noise with standard deviation {sigma:g} drowns the picture, whose greys lie between 0 and 1: expect "
            "clean accuracy near chance")


@register
@dataclass(frozen=True, kw_only=True)
class RandomNoise(Defense):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="rnd",
        title="RND",
        sentence="Adds fresh Gaussian noise to every image that arrives, so that the small steps of an attacker who "
                 "asks drown in it.",
        paper=Paper("Qin, Fan, Zha, Wu", "Random Noise Defense Against Query-Based Black-Box Attacks", 2021,
                    "https://arxiv.org/abs/2104.11470"),
        random=True,
        formula=r"f\left(\mathrm{clip}_{[0,1]}(x + \sigma\,\alpha)\right), \quad \alpha \sim \mathcal{N}(0, I)",
        cost="a random number for every pixel",
        ours="The noisy image is clipped to [0,1], as the authors' code does.",
    )

    sigma: float = param(0.02, title="Sigma", low=0.0, high=1.0, step=0.005,
                         help="The noise's standard deviation; the whole grey range is 1, so 0.02 is 5.1/255.")

    def incoming(self, images: Tensor, draws: Draws) -> Tensor:
        return (images + self.sigma * draws.normal(images)).clamp(0, 1)

    def caution(self) -> str | None:
        return loud(self.sigma)


@register
@dataclass(frozen=True, kw_only=True)
class DoubleNoise(Defense):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="dnd",
        title="DND",
        sentence="Adds fresh Gaussian noise twice: to every image that arrives, and to the logits that are answered.",
        paper=thesis_of_li_yang(6),
        random=True,
        formula=r"f\left(\mathrm{clip}_{[0,1]}(x + m\,\alpha)\right) + n\,\beta, "
                r"\quad \alpha, \beta \sim \mathcal{N}(0, I)",
        cost="a random number for every pixel and every logit",
        ours="The thesis names no values of m and n; the noisy image is clipped to [0,1].",
    )

    m: float = param(0.02, title="Image noise m", low=0.0, high=1.0, step=0.005,
                     help="The standard deviation of the noise on the image; the whole grey range is 1.")
    n: float = param(0.1, title="Logit noise n", low=0.0, high=100.0, step=0.05,
                     help="The standard deviation of the noise on the logits, which answers of an unsure model "
                          "feel most.")

    def incoming(self, images: Tensor, draws: Draws) -> Tensor:
        return (images + self.m * draws.normal(images)).clamp(0, 1)

    def outgoing(self, logits: Tensor, draws: Draws) -> Tensor:
        return logits + self.n * draws.normal(logits)

    def caution(self) -> str | None:
        return loud(self.m)
