"""What an attacker may ask of a model, as types: gradients, scores, or only decisions.

Each object answers for one batch of images, counts queries (forward passes) and gradients per image, and refuses to
go beyond the query budget. `rows` says which image of the batch each row of a call belongs to; without it row i is
image i, so attacks can query several probes per image, or only the images still in play.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.models.classifier import Classifier

Objective = Callable[[Tensor, Tensor], Tensor]  # (logits [R, K], rows [R]) -> value per row [R], to be increased


class QueryBudgetSpent(RuntimeError):
    """An attack asked for more queries than it was given; a mistake of the attack, which must look at `left`."""


@dataclass(frozen=True)
class Ascent:
    """The gradient of an objective with respect to the images, and what its forward pass showed on the way."""

    gradient: Tensor  # [R, C, H, W], contiguous, finite
    logits: Tensor  # [R, K]
    value: Tensor  # [R]


class Oracle:
    """Common ground of the three threat models: the counters and the budget. `size` is the number of images."""

    def __init__(self, classifier: Classifier, size: int, max_queries: int | None = None) -> None:
        self._classifier = classifier
        self._all = torch.arange(size, device=classifier.device)
        self._limit = sys.maxsize if max_queries is None else max_queries
        self.queries = torch.zeros(size, dtype=torch.int64)
        self.classes = len(classifier.classes)

    @property
    def left(self) -> Tensor:
        """Queries each image has left, int64 [size]."""
        return self._limit - self.queries

    def _count(self, images: Tensor, rows: Tensor | None) -> Tensor:
        """Book one query per row of `images`; returns the rows. Raises QueryBudgetSpent."""
        rows = self._all if rows is None else rows
        if len(rows) != len(images):
            raise ValueError(f"{len(images)} images belong to {len(rows)} rows")
        booked = self.queries + torch.bincount(rows.cpu(), minlength=len(self.queries))
        if int(booked.max()) > self._limit:
            raise QueryBudgetSpent(f"more than {self._limit} queries for one image")
        self.queries = booked
        return rows

    @torch.no_grad()
    def _forward(self, images: Tensor, rows: Tensor | None) -> Tensor:
        self._count(images, rows)
        return self._classifier(images).float()


class WhiteBox(Oracle):
    """The attacker has the model itself."""

    def __init__(self, classifier: Classifier, size: int, max_queries: int | None = None) -> None:
        super().__init__(classifier, size, max_queries)
        self.gradients = torch.zeros(size, dtype=torch.int64)
        self.zero_gradients = 0
        self.nan_gradients = 0

    def logits(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits [R, K] of images [R, C, H, W]; one query a row."""
        return self._forward(images, rows)

    def gradient(self, images: Tensor, objective: Objective, rows: Tensor | None = None) -> Ascent:
        """The objective's gradient with respect to images [R, C, H, W]; one query and one gradient a row.

        Entries that are not finite become 0 and are counted, as are rows whose whole gradient is 0.
        """
        rows = self._count(images, rows)
        self.gradients += torch.bincount(rows.cpu(), minlength=len(self.gradients))
        images = images.detach().requires_grad_(True)
        logits = self._classifier(images).float()
        value = objective(logits, rows)
        (gradient,) = torch.autograd.grad(value.sum(), images)
        return Ascent(self._checked(gradient.contiguous()), logits.detach(), value.detach())

    def _checked(self, gradient: Tensor) -> Tensor:
        largest = gradient.abs().flatten(1).amax(dim=1)
        bad = ~torch.isfinite(largest)
        if bool(bad.any()):
            self.nan_gradients += int(bad.sum())
            gradient = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        self.zero_gradients += int((largest == 0).sum())
        return gradient


class ScoreBased(Oracle):
    """The attacker sees class probabilities only."""

    def scores(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """Probabilities [R, K] of images [R, C, H, W]; one query a row."""
        return self._forward(images, rows).softmax(dim=1)


class DecisionBased(Oracle):
    """The attacker sees the predicted class only."""

    def decide(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """Predicted classes int64 [R] of images [R, C, H, W]; one query a row."""
        return self._forward(images, rows).argmax(dim=1)
