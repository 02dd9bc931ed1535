"""What an attacker may ask of a model, as types: gradients, scores, or only decisions.

Each object answers for one batch of images, counts queries (forward passes) and gradients per image, and refuses to
go beyond the query budget. `rows` says which image of the batch each row of a call belongs to; without it row i is
image i, so attacks can query several probes per image, or only the images still in play.

Counters live on the model's device and are read when the attack is over: a look at every step would make a GPU wait.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from engine.serving.prepare import Prepared
from engine.zoo.classifier import Classifier

Objective = Callable[[Tensor, Tensor], Tensor]  # (logits [R, K], rows [R]) -> value per row [R], to be increased


class QueryBudgetSpent(RuntimeError):
    """An attack asked for more queries than it was given; a mistake of the attack, which must look at `left`."""


@dataclass(frozen=True)
class Ascent:
    """The gradient of an objective with respect to the images, and what its forward pass showed on the way.

    All three belong to the caller, who may overwrite them.
    """

    gradient: Tensor  # [R, C, H, W], contiguous, finite
    logits: Tensor  # [R, K]
    value: Tensor  # [R]


class Oracle:
    """Common ground of the three threat models: the counters and the budget. `size` is the number of images.

    `rows_at_once` bounds how many rows the model sees together, whatever a call holds: memory stays bounded, and the
    rounding of convolutions does not depend on how many probes an attack sends.
    """

    def __init__(self, classifier: Classifier, size: int, max_queries: int | None = None,
                 rows_at_once: int | None = None) -> None:
        self._classifier = classifier
        self.rows_at_once = rows_at_once or size
        self._all = torch.arange(size, device=classifier.device)
        self._limit = max_queries
        self.queries = torch.zeros_like(self._all)
        self.classes = len(classifier.classes)

    def apart(self, size: int) -> Self:
        """The same model for `size` other images, to learn from: what is spent on them is not counted here."""
        return type(self)(self._classifier, size, None, self.rows_at_once)

    @property
    def left(self) -> Tensor:
        """Queries each image has left, int64 [size]."""
        return (sys.maxsize if self._limit is None else self._limit) - self.queries

    def _count(self, images: Tensor, rows: Tensor | None) -> Tensor:
        """Book one query per row of `images`; returns the rows. Raises QueryBudgetSpent."""
        rows = self._all if rows is None else rows
        if len(rows) != len(images):
            raise ValueError(f"{len(images)} images belong to {len(rows)} rows")
        booked = _booked(self.queries, rows)
        if self._limit is not None and bool((booked > self._limit).any()):
            raise QueryBudgetSpent(f"more than {self._limit} queries for one image")
        self.queries = booked
        return rows

    @torch.no_grad()
    def _forward(self, images: Tensor, rows: Tensor | None) -> Tensor:
        self._count(images, rows)
        return torch.cat([self._classifier(some).float() for some in images.split(self.rows_at_once)])


def _booked(counter: Tensor, rows: Tensor) -> Tensor:
    return counter.index_add(0, rows, torch.ones_like(rows))


class WhiteBox(Oracle):
    """The attacker has the model itself.

    `lesson` counts what all oracles made by `apart` saw together: gradients, those that were 0 everywhere, and those
    that held NaN or infinity.
    """

    def __init__(self, classifier: Classifier, size: int, max_queries: int | None = None,
                 rows_at_once: int | None = None) -> None:
        super().__init__(classifier, size, max_queries, rows_at_once)
        self.gradients = torch.zeros_like(self._all)
        self._zero = torch.zeros_like(self._all)
        self._broken = torch.zeros_like(self._all)
        self.lesson = self._all.new_zeros(3)
        self._learning = False

    def apart(self, size: int) -> Self:
        other = super().apart(size)
        other.lesson, other._learning = self.lesson, True
        return other

    @property
    def zero_gradients(self) -> int:
        """How many gradients so far were 0 in every entry."""
        return int(self._zero.sum())

    @property
    def nan_gradients(self) -> int:
        """How many gradients so far held NaN or infinity."""
        return int(self._broken.sum())

    def logits(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits [R, K] of images [R, C, H, W]; one query a row."""
        return self._forward(images, rows)

    @property
    def model(self) -> Classifier:
        """The model as its owner gave it, layers and all. What is asked of it goes through `inspect`, to be counted."""
        return self._classifier.original if isinstance(self._classifier, Prepared) else self._classifier

    def inspect(self, look: Callable[[Classifier, Tensor, Tensor], Tensor], images: Tensor, rows: Tensor | None = None,
                gradients: int = 1) -> Tensor:
        """What `look(model, some images, their rows)` sees inside the model, a row each.

        It may spend one forward pass and `gradients` (0 or 1) backward passes a row.
        """
        rows = self._count(images, rows)
        if gradients:
            self.gradients = _booked(self.gradients, rows)
        return torch.cat([look(self.model, some, of) for some, of in zip(images.split(self.rows_at_once),
                                                                         rows.split(self.rows_at_once), strict=True)])

    @torch.enable_grad()
    def gradient(self, images: Tensor, objective: Objective, rows: Tensor | None = None) -> Ascent:
        """The objective's gradient with respect to images [R, C, H, W]; one query and one gradient a row.

        Entries that are not finite become 0 and are counted, as are rows whose whole gradient is 0. `images` is only
        read, and may be changed in place afterwards.
        """
        rows = self._count(images, rows)
        self.gradients = _booked(self.gradients, rows)
        pieces = [self._ascent(some, objective, of) for some, of in zip(images.split(self.rows_at_once),
                                                                        rows.split(self.rows_at_once), strict=True)]
        if len(pieces) == 1:
            return pieces[0]
        return Ascent(torch.cat([p.gradient for p in pieces]), torch.cat([p.logits for p in pieces]),
                      torch.cat([p.value for p in pieces]))

    def _ascent(self, images: Tensor, objective: Objective, rows: Tensor) -> Ascent:
        images = images.detach().requires_grad_(True)
        logits = self._classifier(images).float()
        value = objective(logits, rows)
        (gradient,) = torch.autograd.grad(value.sum(), images)
        return Ascent(self._checked(gradient.contiguous(), rows), logits.detach(), value.detach())

    def _checked(self, gradient: Tensor, rows: Tensor) -> Tensor:
        largest = torch.linalg.vector_norm(gradient, float("inf"), dim=(1, 2, 3))
        broken = ~largest.isfinite()
        self._zero = self._zero.index_add(0, rows, (largest == 0).long())
        self._broken = self._broken.index_add(0, rows, broken.long())
        if self._learning:
            self.lesson += torch.stack([torch.ones_like(broken), largest == 0, broken]).sum(dim=1)
        # Where a look costs nothing it saves a pass over the gradient; an accelerator would have to wait for it.
        if gradient.device.type != "cpu" or bool(broken.any()):
            gradient = gradient.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
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
