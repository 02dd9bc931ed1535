"""Randomized smoothing: what the classifier says of most noisy copies of an image, which can be certified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from engine.defenses.base import register
from engine.defenses.noise import loud
from engine.papers import Paper
from engine.params import param
from engine.serving.defense import Defense, DefenseInfo

if TYPE_CHECKING:
    from torch import Tensor

    from engine.serving.draws import Draws

MEAN, MAJORITY = "mean", "majority"


@register
@dataclass(frozen=True, kw_only=True)
class Smoothing(Defense):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="smoothing",
        title="Randomized smoothing",
        sentence="Asks the model about many noisy copies of every image and answers what it says of most: for that "
                 "answer it can be proven how far an image may be moved without changing it.",
        paper=Paper("Cohen, Rosenfeld, Kolter", "Certified Adversarial Robustness via Randomized Smoothing", 2019,
                    "https://arxiv.org/abs/1902.02918"),
        random=True,
        once=True,
        formula=r"g(x) = \arg\max_c \; \mathbb{P}_{\varepsilon \sim \mathcal{N}(0, \sigma^2 I)}"
                r"\left[f(x + \varepsilon) = c\right], \quad R = \sigma\,\Phi^{-1}\left(\underline{p_A}\right)",
        cost="as many forward passes as there are copies",
        ours="Votes are answered as the logarithm of their shares, half a vote added to each class to keep it finite; "
             "a gradient through them is that of the mean of the probabilities (Salman et al. 2019). Every query has "
             "noise of its own. The certificate, which wants many more draws, is a computation of its own.",
    )

    sigma: float = param(0.12, title="Sigma", low=0.0, high=2.0, step=0.01,
                         help="The noise's standard deviation; the whole grey range is 1. The paper uses 0.12, 0.25, "
                              "0.5 and 1 with models trained on such noise: others lose accuracy quickly.")
    copies: int = param(25, title="Copies", low=2, high=10_000, step=1,
                        help="How many noisy copies the model is asked about for every query.")
    answer: str = param(MAJORITY, title="Answer", choices=(MAJORITY, MEAN),
                        help="'majority' answers with the shares of votes for each class, 'mean' with the mean of the "
                             "probabilities.")

    def incoming(self, images: Tensor, draws: Draws) -> Tensor:
        return images + self.sigma * draws.normal(images)

    def merged(self, logits: Tensor) -> Tensor:
        import torch

        mean = logits.log_softmax(dim=2).logsumexp(dim=0) - torch.tensor(float(len(logits))).log()
        if self.answer == MEAN:
            return mean
        classes = logits.shape[2]
        votes = torch.nn.functional.one_hot(logits.argmax(dim=2), classes).sum(dim=0)
        shares = ((votes + 0.5) / (len(logits) + classes / 2)).log()
        return shares + (mean - mean.detach())

    def caution(self) -> str | None:
        return loud(self.sigma)
