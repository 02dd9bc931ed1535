"""What an attacker may ask of a served model, as types: gradients, scores, or only decisions.

Each object answers for one batch of images, counts queries (forward passes) and gradients per image, and refuses to
go beyond the query budget. `rows` says which image of the batch each row of a call belongs to; without it row i is
image i, so attacks can query several probes per image, or only the images still in play.

The served model may refuse a query. It is spent then, and counted among `refusals`; what the attacker learns is that
it was refused, which is no success of any attack: a decision of REFUSED (-1), or a row of scores that are all NaN.

Nobody who attacks with gradients need make an accelerator wait: the counters of a white box live on its device and are
read when the attack is over, and `looks` says when an attack may see which images are done. An attacker without
gradients waits for every answer anyway: those counters, and the rows, live on the host.

Where a defense is random, an attacker who knows of it asks every question `draws` times, each of which is a query, and
takes the answers together: the mean of gradients, logits or probabilities, or the class said most often. What was
refused is left out of that, and the whole is refused only where every draw was.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, TypeVar, overload

import torch
from torch import Tensor

from engine.serving.crossing import Listed, sent
from engine.serving.defense import Client
from engine.serving.evading import Aim, aside, excess
from engine.serving.served import Answer, Query, Served
from engine.zoo.classifier import Classifier

Objective = Callable[[Tensor, Tensor], Tensor]  # (logits [R, K], rows [R]) -> value per row [R], to be increased
T = TypeVar("T", bound="Oracle")

LOOK_EVERY = 8  # steps between two looks at an accelerator, once it has been looked at after 1, 2 and 4

REFUSED = -1  # the decision of a query that got no answer


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

    def add_(self, other: "Ascent") -> None:
        for mine, more in zip(self._all(), other._all(), strict=True):
            mine.add_(more)

    def copy(self) -> "Ascent":
        return Ascent(*(mine.clone() for mine in self._all()))

    def div_(self, count: int) -> None:
        for mine in self._all():
            mine.div_(count)

    def _all(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.gradient, self.logits, self.value


class FirstLook:
    """The gradient at one batch of images, for several attackers in turn who have the same goal and all ask for it:
    the first one pays, the others are told the same."""

    def __init__(self) -> None:
        self._known: tuple[Tensor, Ascent] | None = None

    def recall(self, images: Tensor) -> Ascent | None:
        """What is known of exactly these images, to be overwritten."""
        if self._known is None or not torch.equal(self._known[0], images):
            return None
        return self._known[1].copy()

    def note(self, images: Tensor, ascent: Ascent) -> None:
        """Remember the first answer, if this is it."""
        if self._known is None:
            self._known = images.clone(), ascent.copy()


class _Book:
    """What is spent on every image of a batch, int64 [N] each, and who asks for it; shared by all that look at it."""

    def __init__(self, clients: Sequence[Client], limit: int | None, device: torch.device) -> None:
        self.clients, self.limit = list(clients), limit
        self.pupils: list[Client] = []  # who asks about images that the attack learns from
        zeros = torch.zeros(len(self.clients), dtype=torch.int64, device=device)
        self.device = device
        self._most = 0  # no image has been asked about more often than this
        self.queries, self.refusals, self.gradients = zeros, zeros.clone(), zeros.clone()
        self.zero, self.broken = zeros.clone(), zeros.clone()

    def query(self, rows: Tensor, times: int) -> None:
        """Book `times` queries for each of `rows`. Raises QueryBudgetSpent."""
        booked = _booked(self.queries, rows, times)
        if self.limit is not None:
            # The counters are looked at only where the budget might be exceeded.
            self._most += times * len(rows)
            if self._most > self.limit:
                self._most = int(booked.max())
            if self._most > self.limit:
                raise QueryBudgetSpent(f"more than {self.limit} queries for one image")
        self.queries = booked

    def further_clients(self, size: int) -> list[Client]:
        """Who asks about `size` further images: the same at each call, so that no draw comes twice."""
        self.pupils += [Client(str(number), "lesson") for number in range(len(self.pupils), size)]
        return self.pupils[:size]


class Oracle:
    """Common ground of the three threat models: the counters and the budget. `size` is the number of images,
    `identities` [size] name them for the served model's random draws (by default by their numbers).

    `rows_at_once` bounds how many rows the model sees together, whatever a call holds: memory stays bounded, and the
    rounding of convolutions does not depend on how many probes an attack sends. `draws` is how often every question is
    asked where a defense is random.
    """

    shows: ClassVar[int] = 0  # how much an answer tells, in the order of the threat models
    _aim: Aim | None = None  # of one who has the model: there an image that would be refused reaches nothing
    _watch: Callable[[Tensor, Tensor], None] | None = None  # is shown logits [R, K] and rows [R] behind each answer

    def __init__(self, served: Served | Classifier, size: int, max_queries: int | None = None,
                 rows_at_once: int | None = None, identities: Sequence[str] | None = None, draws: int = 1) -> None:
        self._served = Served.of(served)
        self._draws = draws if self._served.random else 1
        self.rows_at_once = rows_at_once or size
        self.classes = len(self._served.classes)
        clients = [Client(name) for name in (map(str, range(size)) if identities is None else identities)]
        if len(clients) != size:
            raise ValueError(f"{size} images have {len(clients)} identities")
        self._book = _Book(clients, max_queries, self._at_work)
        self._part: Tensor | None = None  # which images of the book these are; None: all
        self._all = torch.arange(size, device=self._at_work)
        self._listed = Listed()

    @property
    def device(self) -> torch.device:
        """Where the images are to be that it is asked about."""
        return self._served.device

    @property
    def _at_work(self) -> torch.device:
        """Where counters and rows live."""
        return torch.device("cpu")

    @property
    def far(self) -> bool:
        """Whether a look at what the model said means to wait for it: everywhere but on the CPU."""
        return self.device.type != "cpu"

    def looks(self, step: int) -> bool:
        """Whether an attack should look, after `step` (from 0), which images are done, to leave them out.

        Always where it is not `far`; otherwise after 1, 2, 4 and 8 steps, and from then on after every LOOK_EVERY.
        Until the next look an attack goes on with all of them, and keeps those that are done as they are.
        """
        done = step + 1
        return not self.far or done in (1, 2, 4) or done % LOOK_EVERY == 0

    def apart(self, size: int) -> Self:
        """The same model for `size` other images, to learn from: what is spent on them is not counted here."""
        other = self._view(type(self))
        other._book = _Book(self._book.further_clients(size), None, self._book.device)
        other._book.pupils = self._book.pupils
        other._part, other._all = None, torch.arange(size, device=self._book.device)
        return other

    @overload
    def part(self, rows: Tensor) -> Self: ...
    @overload
    def part(self, rows: Tensor, kind: type[T]) -> T: ...

    def part(self, rows: Tensor, kind: type[Any] | None = None) -> Any:
        """The same for the images `rows` of this batch alone, with the same counters, budget and clients; as a threat
        model of another `kind`, if that shows no more than this one."""
        kind = kind or type(self)
        if kind.shows > self.shows:
            raise ValueError(f"{kind.__name__} shows more than {type(self).__name__}")
        view = self._view(kind)
        view._part = rows if self._part is None else self._part[rows]
        view._all = torch.arange(len(rows), device=rows.device)
        return view

    def _view(self, kind: type[T]) -> T:
        """Another look at all that this one has."""
        view = kind.__new__(kind)
        vars(view).update(vars(self))
        return view

    @property
    def queries(self) -> Tensor:
        """Queries spent on each image, int64 [size]."""
        return self._of(self._book.queries)

    @property
    def refusals(self) -> Tensor:
        """How many of them were refused, int64 [size]."""
        return self._of(self._book.refusals)

    @property
    def each(self) -> int:
        """How many queries a question costs."""
        return self._draws

    @property
    def left(self) -> Tensor:
        """Questions each image has left, int64 [size]."""
        return ((sys.maxsize if self._book.limit is None else self._book.limit) - self.queries) // self._draws

    def _of(self, counter: Tensor) -> Tensor:
        return counter if self._part is None else counter[self._part]

    def _count(self, images: Tensor, rows: Tensor | None, times: int = 1) -> tuple[Tensor, Tensor]:
        """Book `times` queries per row of `images`; returns the rows, as numbered here and in the book. Raises
        QueryBudgetSpent."""
        rows = self._all if rows is None else sent(rows, self._book.device)
        if len(rows) != len(images):
            raise ValueError(f"{len(images)} images belong to {len(rows)} rows")
        booked = rows if self._part is None else self._part[rows]
        self._book.query(booked, times)
        return rows, booked

    @torch.no_grad()
    def _answers(self, images: Tensor, rows: Tensor | None) -> list[Answer]:
        """What is answered, once for every draw."""
        rows, booked = self._count(images, rows, self._draws)
        answers = [self._asked(images, rows, booked) for _ in range(self._draws)]
        if self._watch is not None:
            self._watch(_mean([answer.logits for answer in answers]), rows)
        return answers

    def _asked(self, images: Tensor, rows: Tensor, booked: Tensor) -> Answer:
        """The served model's answer to what is booked already."""
        size = self.rows_at_once
        answers = [self._answer(some, of, own) for some, of, own in zip(
            images.split(size), booked.split(size), _split(self._queries(rows), len(images), size), strict=True)]
        return self._noted(_joined(answers), booked)

    def _answer(self, images: Tensor, booked: Tensor, queries: Sequence[Query]) -> Answer:
        """The served model's answer, or what one who has the model makes of it."""
        answer = self._served.answer(images, queries)
        if self._aim is None or not self._served.looks:
            return answer
        return replace(answer, logits=self._wary(self._aim, answer.logits, images, booked, queries))

    def _wary(self, aim: Aim, logits: Tensor, images: Tensor, booked: Tensor, queries: Sequence[Query]) -> Tensor:
        """Logits in which an image reaches the aim no farther than it stays below the detectors' thresholds. They look
        at those alone that reach it at all."""
        margin = aim.margin(logits, booked)
        rows = (margin > 0).nonzero()[:, 0]
        if len(rows) == 0:
            return logits
        seen, reaching, looks = images[rows], booked[rows], self._served.looks
        self._book.query(reaching, looks)
        if logits.requires_grad:
            (along,) = torch.autograd.grad(margin[rows].sum(), images, retain_graph=True)
            self._book.gradients = _booked(self._book.gradients, reaching, looks + 1)
            seen = aside(seen, along[rows])
        suspicion = self._served.suspicion(seen, [queries[row] for row in rows.tolist()])
        return logits.index_copy(0, rows, aim.held_back(logits[rows], reaching, excess(suspicion)))

    def _queries(self, rows: Tensor) -> list[Query]:
        """The next queries of the clients of `rows`; without defenses nobody asks for them, nor reads the rows."""
        if not self._served.defenses:
            return []
        numbers = self._listed(rows)
        if self._part is not None:
            part = self._listed(self._part)
            numbers = [part[number] for number in numbers]
        return self._served.queries(self._book.clients, numbers)

    def _noted(self, answer: Answer, booked: Tensor) -> Answer:
        if answer.refused is not None:
            self._book.refusals = self._book.refusals.index_add(0, booked, answer.refused.to(booked))
        return answer


def _booked(counter: Tensor, rows: Tensor, times: int = 1) -> Tensor:
    return counter.index_add(0, rows, torch.full_like(rows, times))


def _split(queries: Sequence[Query], count: int, size: int) -> list[Sequence[Query]]:
    """Queries in portions like those of `count` images split by `size`; empty ones where nothing is asked of them."""
    return [queries[start:start + size] for start in range(0, max(1, count), size)]


def _mean(values: Sequence[Tensor]) -> Tensor:
    """Over several draws, without those that are NaN: they were refused."""
    return values[0] if len(values) == 1 else torch.stack(list(values)).nanmean(dim=0)


def _majority(said: Tensor) -> Tensor:
    """Of classes int64 [draws, R], REFUSED where there was no answer, the one said most often in each row; of several
    the one that was said first."""
    votes = torch.stack([(said == one).sum(dim=0) for one in said]).masked_fill(said == REFUSED, 0)
    return said.gather(0, votes.argmax(dim=0, keepdim=True))[0]


def _joined(answers: Sequence[Answer]) -> Answer:
    refused = [answer.refused for answer in answers if answer.refused is not None]
    return Answer(torch.cat([answer.logits for answer in answers]), torch.cat(refused) if refused else None)


class WhiteBox(Oracle):
    """The attacker has the served model itself, defenses and all, and nobody refuses him anything at home: refusals are
    up to the verdict. (One who does not know of the defenses, or ignores them, has the classifier alone, Served.bare.)

    Where there are detectors and he has told what he is after (`aiming`), what he sees at home is what the verdict will
    make of it: an image that reaches the aim, but lies above a threshold, looks as if it missed the aim by as much.
    Whatever attack goes on until it succeeds thereby goes on down the detector's score (engine.serving.evading). Each
    image that reaches the aim costs the detectors' own passes, and with a gradient a backward pass more.

    Logits and gradients come through the defenses, straight through those that have no gradient. Where a defense is
    random they are the mean of `draws` answers (expectation over transformation), each of which is a gradient as well
    where one was asked for. `learning_counts` are what all oracles made by `apart` saw together: gradients,
    those that were 0 everywhere, and those that held NaN or infinity.
    """

    shows = 2

    def __init__(self, served: Served | Classifier, size: int, max_queries: int | None = None,
                 rows_at_once: int | None = None, identities: Sequence[str] | None = None, draws: int = 1,
                 first_look: FirstLook | None = None) -> None:
        super().__init__(Served.of(served).at_home, size, max_queries, rows_at_once, identities, draws)
        self._first_look = first_look
        self.learning_counts = self._all.new_zeros(3)
        self._learning = False

    def apart(self, size: int) -> Self:
        other = super().apart(size)
        other._learning, other._aim = True, None
        return other

    def aiming(self, aim: Aim) -> Self:
        """The same, for one who is after `aim`: it knows the images by their numbers in the batch."""
        view = self._view(type(self))
        view._aim = aim
        return view

    @property
    def _at_work(self) -> torch.device:
        return self.device

    @property
    def gradients(self) -> Tensor:
        """Gradients spent on each image, int64 [size]."""
        return self._of(self._book.gradients)

    @property
    def zero_gradients(self) -> int:
        """How many gradients so far were 0 in every entry."""
        return int(self._of(self._book.zero).sum())

    @property
    def nan_gradients(self) -> int:
        """How many gradients so far held NaN or infinity."""
        return int(self._of(self._book.broken).sum())

    @property
    def arch(self) -> str:
        """What the network is called, if it is one that is known by name."""
        return self._served.classifier.arch

    @torch.no_grad()
    def logits(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """Logits [R, K] of images [R, C, H, W]; one query a row and draw."""
        rows, booked = self._count(images, rows, self._draws)
        logits = self._asked(images, rows, booked).logits
        for _ in range(1, self._draws):
            logits += self._asked(images, rows, booked).logits
        return logits if self._draws == 1 else logits.div_(self._draws)

    def watched(self, rows: Tensor, kind: type[T], watch: Callable[[Tensor, Tensor], None]) -> T:
        """A part for an attack that sees less than this one's owner, who is shown by `watch` the logits behind each
        answer, and the rows."""
        view = self.part(rows, kind)
        view._watch = watch
        return view

    def inspect(self, look: Callable[[Classifier, Tensor, Tensor], Tensor], images: Tensor, rows: Tensor | None = None,
                gradients: int = 1) -> Tensor:
        """What `look(classifier, some images, their rows)` sees inside the classifier, layers and all, a row each.

        Behind defenses these are the images that they let through, once, however many draws there are. It may spend
        one forward pass and `gradients` (0 or 1) backward passes a row; nothing of the classifier may be kept.
        """
        rows, booked = self._count(images, rows)
        if gradients:
            self._book.gradients = _booked(self._book.gradients, booked)
        queries = self._queries(rows)
        return torch.cat([look(self._served.original, self._served.behind(some, own), of) for some, of, own in zip(
            images.split(self.rows_at_once), rows.split(self.rows_at_once),
            _split(queries, len(images), self.rows_at_once), strict=True)])

    @torch.enable_grad()
    def gradient(self, images: Tensor, objective: Objective, rows: Tensor | None = None) -> Ascent:
        """The objective's gradient with respect to images [R, C, H, W]; one query and one gradient a row and draw.

        Entries that are not finite become 0 and are counted, as are rows whose whole gradient is 0. `images` is only
        read, and may be changed in place afterwards. What a first look at the batch has shown already costs nothing.
        """
        if self._first_look is not None and (known := self._first_look.recall(images)) is not None:
            return known
        rows, booked = self._count(images, rows, self._draws)
        self._book.gradients = _booked(self._book.gradients, booked, self._draws)
        ascent = self._ascent(images, objective, rows, booked)
        for _ in range(1, self._draws):
            ascent.add_(self._ascent(images, objective, rows, booked))
        if self._draws > 1:
            ascent.div_(self._draws)
        if self._first_look is not None:
            self._first_look.note(images.detach(), ascent)
        return ascent

    def _ascent(self, images: Tensor, objective: Objective, rows: Tensor, booked: Tensor) -> Ascent:
        """The gradient of one draw, of no more than `rows_at_once` rows at a time."""
        size = self.rows_at_once
        queries = _split(self._queries(rows), len(images), size)
        pieces = [self._gradient(some, objective, of, known, own) for some, of, known, own in zip(
            images.split(size), rows.split(size), booked.split(size), queries, strict=True)]
        whole = pieces[0] if len(pieces) == 1 else Ascent(
            torch.cat([p.gradient for p in pieces]), torch.cat([p.logits for p in pieces]),
            torch.cat([p.value for p in pieces]))
        return replace(whole, gradient=self._checked(whole.gradient, booked))

    def _gradient(self, images: Tensor, objective: Objective, rows: Tensor, booked: Tensor,
                  queries: Sequence[Query]) -> Ascent:
        images = images.detach().requires_grad_(True)
        logits = self._answer(images, booked, queries).logits
        value = objective(logits, rows)
        (gradient,) = torch.autograd.grad(value.sum(), images)
        return Ascent(gradient.contiguous(), logits.detach(), value.detach())

    def _checked(self, gradient: Tensor, booked: Tensor) -> Tensor:
        largest = torch.linalg.vector_norm(gradient, float("inf"), dim=(1, 2, 3))
        broken = ~largest.isfinite()
        book = self._book
        book.zero = book.zero.index_add(0, booked, (largest == 0).long())
        book.broken = book.broken.index_add(0, booked, broken.long())
        if self._learning:
            self.learning_counts += torch.stack([torch.ones_like(broken), largest == 0, broken]).sum(dim=1)
        # Where a look costs nothing it saves a pass over the gradient.
        if self.far or bool(broken.any()):
            gradient = gradient.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        return gradient


class ScoreBased(Oracle):
    """The attacker sees class probabilities only."""

    shows = 1

    def scores(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """Probabilities [R, K] of images [R, C, H, W]; one query a row and draw. A refused row is NaN."""
        return _mean([answer.logits.softmax(dim=1) for answer in self._answers(images, rows)])


class DecisionBased(Oracle):
    """The attacker sees the predicted class only."""

    def decide(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """Predicted classes int64 [R] of images [R, C, H, W]; one query a row and draw. Of a refused row REFUSED."""
        said = [_decision(answer) for answer in self._answers(images, rows)]
        return said[0] if len(said) == 1 else _majority(torch.stack(said))


def _decision(answer: Answer) -> Tensor:
    decided = answer.logits.argmax(dim=1)
    return decided if answer.refused is None else decided.masked_fill(answer.refused, REFUSED)
