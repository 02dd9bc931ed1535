"""A model as it is served: a classifier behind its defenses at inference time. Attacks and verdicts ask this, and
nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.serving.defense import Client, Defense, is_random
from engine.serving.draws import Draws, Stream, key_of
from engine.serving.prepare import Prepared
from engine.zoo.classifier import Classifier

_Drawing = tuple[Defense, Draws]  # a defense, and its random numbers of one call
COPIES_AT_ONCE = 16  # rows that pass the classifier together where a defense looks at several copies of an image


@dataclass(frozen=True)
class Query:
    """One row of a call: whose it is, and which of that client's queries."""

    client: Client
    number: int


@dataclass(frozen=True)
class Answer:
    """Logits [R, K], and which rows were refused, bool [R] (None: there is nobody who refuses). The logits of a refused
    row are NaN."""

    logits: Tensor
    refused: Tensor | None = None


class Served:
    """`classifier` behind `defenses`, whose random numbers come from `seed`.

    Without defenses a call is a forward pass of the classifier and nothing beside it. A query that is refused has been
    made all the same: the row goes through the classifier with the others, so that neither the size of the batches nor
    the counts depend on who was refused, and its answer is withheld.
    """

    def __init__(self, classifier: Classifier, defenses: Sequence[Defense] = (), seed: int = 0, *,
                 refusing: bool = True) -> None:
        self.classifier = classifier
        self.defenses = tuple(defenses)
        self.classes = classifier.classes
        self._seed, self._refusing = seed, refusing

    @classmethod
    def of(cls, model: Served | Classifier) -> Served:
        """The same; a classifier alone is one that is served without defenses."""
        return model if isinstance(model, Served) else cls(model)

    @property
    def bare(self) -> Served:
        """The classifier without its defenses: what an oblivious attacker takes the whole for."""
        return Served(self.classifier)

    @property
    def at_home(self) -> Served:
        """The copy of an attacker who has it all: nobody refuses him there."""
        return Served(self.classifier, self.defenses, self._seed, refusing=False)

    @property
    def device(self) -> torch.device:
        return self.classifier.device

    @property
    def random(self) -> bool:
        """Whether the same image may be answered in several ways."""
        return is_random(self.defenses)

    @property
    def original(self) -> Classifier:
        """The classifier as its owner gave it, layers and all."""
        return self.classifier.original if isinstance(self.classifier, Prepared) else self.classifier

    def queries(self, clients: Sequence[Client], rows: Sequence[int]) -> list[Query]:
        """The next query of client `rows[i]`, for every row, noted as asked; empty where there are no defenses, which
        alone would ask."""
        return [_next(clients[row]) for row in rows] if self.defenses else []

    def answer(self, images: Tensor, queries: Sequence[Query]) -> Answer:
        """What comes back of images [R, C, H, W] in [0,1]; gradients go through it."""
        if not self.defenses:
            return Answer(self.classifier(images).float())
        streams = self._streams(queries)
        outer = self._drawing(streams, range(self._outer))
        arriving, refused = self._entered(images, queries, outer)
        logits = _outwards(outer, self._inside(arriving, streams))
        return Answer(logits if refused is None else logits.masked_fill(refused[:, None], torch.nan), refused)

    def behind(self, images: Tensor, queries: Sequence[Query]) -> Tensor:
        """What the classifier gets to see of images [R, C, H, W], or would of one that is refused; of several copies
        the first."""
        return _inwards(self._drawing(self._streams(queries), range(len(self.defenses))), images)

    def refusals(self, images: Tensor, queries: Sequence[Query]) -> Tensor:
        """Which of images [R, C, H, W] get no answer, bool [R]; the classifier is not asked for one."""
        refused = self._entered(images, queries, self._drawing(self._streams(queries), range(self._outer)))[1]
        return torch.zeros(len(images), dtype=torch.bool) if refused is None else refused.cpu()

    @property
    def looks(self) -> int:
        """How many images the classifiers of its detectors look at to judge one query."""
        return sum(defense.looks for defense in self.defenses)

    def suspicion(self, images: Tensor, queries: Sequence[Query]) -> Tensor:
        """How far above its threshold each of images [R, C, H, W] lies for the detector that minds it most, [R], with a
        gradient; asked only where there are detectors. The defenses in front of one draw what they drew for `answer`.
        """
        found: list[Tensor] = []
        for defense, own in self._drawing(self._streams(queries), range(self._outer)):
            if (one := defense.suspicion(images)) is not None:
                found.append(one)
            images = through(defense, defense.incoming, images, own)
        return torch.stack(found).amax(dim=0)

    @property
    def _outer(self) -> int:
        """How many defenses stand before the first that looks at several copies; all, where none does."""
        return next((place for place, defense in enumerate(self.defenses) if defense.copies > 1), len(self.defenses))

    def _streams(self, queries: Sequence[Query]) -> list[Stream]:
        return [Stream(key_of(self._seed, q.client.session, q.client.identity), q.number) for q in queries]

    def _drawing(self, streams: Sequence[Stream], places: range) -> list[_Drawing]:
        return [(self.defenses[place], Draws(streams, place)) for place in places]

    def _entered(self, images: Tensor, queries: Sequence[Query],
                 defenses: Sequence[_Drawing]) -> tuple[Tensor, Tensor | None]:
        """What `defenses`, the first of all, let through of the images, and which they refuse."""
        refused: Tensor | None = None
        for place, (defense, own) in enumerate(defenses):
            if self._refusing:
                refused = _refused(defense, place, images.detach(), queries, refused)
            images = through(defense, defense.incoming, images, own)
        return images, refused

    def _inside(self, images: Tensor, streams: Sequence[Stream]) -> Tensor:
        """The logits [R, K] that the outer defenses get to see."""
        if self._outer == len(self.defenses):
            return self.classifier(images).float()
        several = self.defenses[self._outer]
        at_once = max(1, COPIES_AT_ONCE // max(1, len(images)))
        answers = [self._copies(images, streams, range(first, min(first + at_once, several.copies)))
                   for first in range(0, several.copies, at_once)]
        return several.merged(torch.cat(answers))

    def _copies(self, images: Tensor, streams: Sequence[Stream], copies: range) -> Tensor:
        """What the first defense that looks at several copies hears of `copies`, [copies, R, K]."""
        def said(arriving: Tensor) -> Tensor:
            inner = self._drawing([replace(stream, copy=copy) for copy in copies for stream in streams],
                                  range(self._outer, len(self.defenses)))
            arriving = _inwards(inner, arriving.repeat(len(copies), 1, 1, 1))
            logits = _outwards(inner, self.classifier(arriving).float())
            return logits.unflatten(0, (len(copies), len(images)))

        if len(copies) == self.defenses[self._outer].copies:
            return said(images)
        return _Again.apply(images, said)


def _next(client: Client) -> Query:
    client.asked += 1
    return Query(client, client.asked - 1)


@torch.no_grad()
def _refused(defense: Defense, place: int, images: Tensor, queries: Sequence[Query],
             before: Tensor | None) -> Tensor | None:
    """Which rows are refused by this defense or were `before` it, which it then does not see."""
    arriving = torch.arange(len(images)) if before is None else (~before).nonzero()[:, 0].cpu()
    callers = [queries[row].client.caller(queries[row].number, place) for row in arriving.tolist()]
    found = defense.refuses(images if before is None else images[arriving.to(images.device)], callers)
    if found is None:
        return before
    refused = torch.zeros(len(images), dtype=torch.bool, device=images.device) if before is None else before.clone()
    refused[arriving.to(images.device)] = found.to(images.device)
    return refused


def through(defense: Defense, hook: Callable[[Tensor, Draws], Tensor], values: Tensor, draws: Draws) -> Tensor:
    """What the defense makes of `values`; where it has no gradient, that of what comes out is passed on as it is."""
    if defense.info.differentiable or not values.requires_grad:
        return hook(values, draws)
    return _StraightThrough.apply(values, hook(values.detach(), draws))


def _inwards(defenses: Sequence[_Drawing], images: Tensor) -> Tensor:
    """What the defenses, the first of which sees it first, let through."""
    for defense, own in defenses:
        images = through(defense, defense.incoming, images, own)
    return images


def _outwards(defenses: Sequence[_Drawing], logits: Tensor) -> Tensor:
    """What the defenses, the last of which hears it first, make of an answer."""
    for defense, own in reversed(defenses):
        logits = through(defense, defense.outgoing, logits, own)
    return logits


class _StraightThrough(torch.autograd.Function):
    """The second argument forwards; backwards the first stands for it."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, after: Tensor) -> Tensor:
        if before.shape != after.shape:
            raise ValueError(f"a defense without a gradient made {list(after.shape)} of {list(before.shape)}; declare "
                             "it differentiable, or keep the shape")
        return after.view_as(after)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class _Again(torch.autograd.Function):
    """`work(values)`, which is done once more when a gradient is asked for: nothing of it has to be kept until then."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.work = work
        ctx.save_for_backward(values)
        return work(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        with torch.enable_grad():
            values = ctx.saved_tensors[0].detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(ctx.work(values), values, gradients[0])
        return gradient, None
