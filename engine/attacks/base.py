"""What every attack is: a declaration, typed parameters and one loop. The runner does the rest.

Importing this file, or what is declared (engine.attacks.declared), does not import torch, so that a page can list
attacks at once. The loops are in the modules of the declarations' names, which are imported when first needed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from engine.attacks.norms import NORMS
from engine.errors import EngineError, UnknownName
from engine.papers import Paper
from engine.params import Value
from engine.registry import Registry

if TYPE_CHECKING:
    from torch import Generator, Tensor, device


class Knowledge(Enum):
    """What the attacker knows of the target model; the order is the order on the page."""

    WHITE_BOX = "The attacker has the model"
    TRANSFER = "The attacker has another model"
    SCORE = "The attacker sees probabilities"
    DECISION = "The attacker sees only the decision"


@dataclass(frozen=True)
class AttackInfo:
    """An attack's declaration, from which pages, options, glossary and tests are made.

    `formula` is LaTeX; `sentence` is plain words; `look_for` tells a reader what to notice in the pictures. `bounded`
    attacks stay within eps; the others look for the smallest change in one of `norms`, or have a limit of their own
    among their parameters. A `patched` attack is bounded but for a region of its own choice. `others` is how many
    further images of each class the attacker needs to have. `builds_on` are sources of what it is put together from.
    `presets` are further settings by name, those of PRESETS, each given as what differs from the defaults.
    `version` goes up when the same settings give other results than before. `plans` says what of its way an attack
    that counts queries chooses by how many it may ask in all.
    """

    name: str
    title: str
    sentence: str
    formula: str
    paper: Paper
    knowledge: Knowledge
    norms: tuple[str, ...]
    look_for: str
    targeted: bool = True
    bounded: bool = True
    patched: bool = False
    others: int = 0
    builds_on: tuple[Paper, ...] = ()
    presets: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    version: int = 1
    plans: str = ""

    def preset(self, name: str) -> Mapping[str, Value]:
        """The settings of that name; raises EngineError."""
        if name not in self.presets:
            raise UnknownName(f"preset of {self.title}", name, self.presets)
        return self.presets[name]


# What a declaration may offer beside its defaults.
PAPER_PRESET = "paper"
PRESETS = {PAPER_PRESET: "As in the paper"}


@dataclass(frozen=True)
class Cost:
    """What an attack spends per image, known before it runs."""

    gradients: int
    queries: int

    @property
    def passes(self) -> int:
        """How often an image passes the model at most: every gradient has its query."""
        return max(self.gradients, self.queries)


@dataclass(frozen=True)
class Goal:
    """Away from `labels` (untargeted), or towards `targets`; both int64 [N]."""

    labels: Tensor
    targets: Tensor | None = None

    def objective(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Cross-entropy to be increased: of the true class, or minus that of the target. Per row [R]."""
        wanted = self.labels if self.targets is None else self.targets
        likely = logits.log_softmax(dim=1).gather(1, wanted[rows][:, None])[:, 0]
        return -likely if self.targets is None else likely

    def margin(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """How far beyond the decision boundary each row lies, in logits: above 0 where the goal is reached. [R]."""
        own = self._own(rows)
        lead = logits.gather(1, own)[:, 0] - _others(logits, own)
        return -lead if self.targets is None else lead

    def held_back(self, logits: Tensor, rows: Tensor, by: Tensor) -> Tensor:
        """The logits [R, K] with the margin of each row at most minus `by` [R]: its own class ahead of all others by so
        much, or its target behind them."""
        own = self._own(rows)
        now, others = logits.gather(1, own)[:, 0], _others(logits, own)
        held = now.maximum(others + by) if self.targets is None else now.minimum(others - by)
        return logits.scatter(1, own, held[:, None])

    def _own(self, rows: Tensor | None) -> Tensor:
        """The class that each row is about, [R, 1]."""
        own = self.labels if self.targets is None else self.targets
        return (own if rows is None else own[rows])[:, None]

    def reached(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Whether each row's prediction is where the attacker wants it, bool [R]."""
        return self.reached_by(logits.argmax(dim=1), rows)

    def reached_by(self, predicted: Tensor, rows: Tensor | None = None) -> Tensor:
        """The same of predicted classes [R]; a query that was refused (-1) is where no attacker wants it."""
        wanted = self.labels if self.targets is None else self.targets
        wanted = wanted if rows is None else wanted[rows]
        return (predicted != wanted) & (predicted >= 0) if self.targets is None else predicted == wanted

    def only(self, rows: Tensor) -> Goal:
        """The goal of some of the images: row i of the new one is row `rows[i]` of this one."""
        return Goal(self.labels[rows], None if self.targets is None else self.targets[rows])

    def to(self, device: device | str) -> Goal:
        """The same on another device."""
        return Goal(self.labels.to(device), None if self.targets is None else self.targets.to(device))

    def of(self, labels: Tensor) -> Goal:
        """The same goal for other images, of classes `labels`."""
        return Goal(labels, None if self.targets is None else self.targets[:1].expand(len(labels)))


def _others(logits: Tensor, own: Tensor) -> Tensor:
    """The highest logit of the classes but `own` [R, 1], [R]."""
    return logits.scatter(1, own, float("-inf")).amax(dim=1)


def decided(scores: Tensor) -> Tensor:
    """The class of each row of scores [R, K], and -1 of a row that is NaN: that query was refused."""
    return scores.argmax(dim=1).masked_fill(scores.isnan().any(dim=1), -1)


@dataclass(frozen=True)
class Budget:
    """How far an attack may go: a norm ("linf" or "l2") and a radius `eps` in [0,1] intensity; None: as far as it
    likes."""

    norm: str
    eps: float | None

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise EngineError(f"norm must be one of {', '.join(NORMS)}, not '{self.norm}'")
        largest = NORMS[self.norm].largest
        if self.eps is None:
            return
        if largest is None:
            raise EngineError(f"there is no eps in {self.norm}: attacks that count pixels have a limit of their own")
        if not 0 <= self.eps <= largest:
            raise EngineError(f"eps must lie between 0 and {largest:g} for {self.norm}, not {self.eps:g} "
                              "(write 2/255 for two grey levels)")

    def around(self, clean: Tensor, mask: Tensor | None = None, *, patched: bool = False) -> Ball:
        """The images within this budget of `clean` [N, C, H, W], and equal to it where `mask` [N, 1, H, W] is False.

        For a `patched` attack any pixel may become black or white: it keeps to eps by itself, outside its patch.
        """
        anywhere = self.eps is None or self.norm != "linf" or patched
        reach = clean.new_full((1, 1, 1, 1), 1.0 if anywhere else self.eps)  # type: ignore[arg-type]
        if mask is not None:
            reach = reach * mask
        return Ball(self, clean, (clean - reach).clamp_(min=0.0), (clean + reach).clamp_(max=1.0), mask)


def length(images: Tensor, order: float = 2.0) -> Tensor:
    """The norm of each image as [N, 1, 1, 1]; `order` 0 counts the entries that are not 0."""
    return images.norm(order, dim=(1, 2, 3), keepdim=True)


def unit(gradient: Tensor) -> Tensor:
    """The gradient with L2 length 1 per image; 0 where it is 0."""
    # The squares of a sure model's tiny gradients vanish in float32: first make the largest entry 1.
    gradient = gradient.div_(length(gradient, float("inf")).clamp_min_(1e-37))
    return gradient.div_(length(gradient).clamp_min_(0.5))


@dataclass(frozen=True)
class Ball:
    """All images within the budget of `clean` and within [0,1], which differ from it where `free` is True (None:
    anywhere); made by Budget.around.

    The bounds are made once, so that an Linf projection is one pass over the images. They freeze what is not free
    already; but whatever is measured (a gradient to be made a unit one, a random start, a probe) has to be `freed_`
    first, or most of its length lies where nothing may change.
    """

    budget: Budget
    clean: Tensor
    lower: Tensor
    upper: Tensor
    free: Tensor | None = None

    @property
    def eps(self) -> float:
        """The radius, of which only a bounded attack may ask."""
        assert self.budget.eps is not None, "this attack has no budget"
        return self.budget.eps

    @property
    def norm(self) -> str:
        return self.budget.norm

    @property
    def entries(self) -> Tensor | int:
        """How many entries of each image may change: [N, 1, 1, 1], or one number for all."""
        if self.free is None:
            return self.clean[0].numel()
        return self.free.sum(dim=(1, 2, 3), keepdim=True) * self.clean.shape[1]

    def only(self, rows: Tensor) -> Ball:
        """The ball of some of the images: row i of the new one is row `rows[i]` of this one."""
        free = None if self.free is None else self.free[rows]
        return Ball(self.budget, self.clean[rows], self.lower[rows], self.upper[rows], free)

    def to(self, device: device | str) -> Ball:
        """The same on another device."""
        free = None if self.free is None else self.free.to(device)
        return Ball(self.budget, self.clean.to(device), self.lower.to(device), self.upper.to(device), free)

    def freed_(self, direction: Tensor, rows: Tensor | None = None) -> Tensor:
        """`direction` [R, C, H, W] with 0, in place, wherever image `rows[i]` (default i) may not change."""
        if self.free is None:
            return direction
        return direction.mul_(self.free if rows is None else self.free[rows])

    def l1_normalised_(self, gradient: Tensor, rows: Tensor | None = None) -> Tensor:
        """The gradient, in place, with mean absolute value 1 over what may change of each image; 0 where it is 0."""
        ball = self if rows is None or self.free is None else self.only(rows)
        mean = length(ball.freed_(gradient), 1).div_(ball.entries).clamp_min_(1e-37)
        return gradient.div_(mean)

    def add_momentum(self, velocity: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        """Add the gradient, divided by its mean absolute value, to the decaying velocity; returns a copy of it."""
        return velocity.mul_(momentum).add_(self.l1_normalised_(gradient)).clone()

    def project_(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """Move `images` in place to the nearest allowed ones; row i belongs to clean image `rows[i]` (default i)."""
        if rows is not None:
            return self.only(rows).project_(images)
        if self.norm == "l2" and self.budget.eps is not None:
            difference = self.freed_(images.sub_(self.clean))
            images = difference.mul_((self.eps / length(difference).clamp_min_(1e-12)).clamp_max_(1.0)).add_(self.clean)
        return images.clamp_(self.lower, self.upper)


@dataclass
class Standing:
    """Where every image of the batch stands: its iterate, and what the model said when it last saw that image."""

    images: Tensor
    logits: Tensor
    value: Tensor
    reached: Tensor

    @classmethod
    def unknown(cls, images: Tensor, classes: int) -> Standing:
        """Before the model has seen anything: worse than whatever comes."""
        value = images.new_full((len(images),), float("-inf"))
        return cls(images, images.new_zeros(len(images), classes), value, value.isfinite())

    def see(self, rows: Tensor, images: Tensor, logits: Tensor, value: Tensor, reached: Tensor) -> None:
        """Note the iterates `images` of `rows` and the model's answer; the others keep what is known of them."""
        if images is not self.images:
            self.images.index_copy_(0, rows, images)
        self.logits = self.logits.index_copy(0, rows, logits)
        self.value = self.value.index_copy(0, rows, value)
        self.reached = self.reached.index_copy(0, rows, reached)

    def better(self, other: Standing) -> Standing:
        """Of every image the standing that reached the goal, or else has the higher objective."""
        takes = (other.reached & ~self.reached) | ((other.reached == self.reached) & (other.value > self.value))
        images = other.images.where(takes.view(-1, 1, 1, 1), self.images)
        return Standing(images, other.logits.where(takes[:, None], self.logits),
                         other.value.where(takes, self.value), other.reached | self.reached)


@dataclass(frozen=True)
class Others:
    """Images that the attacker has beside the attacked ones, float32 [M, C, H, W] in [0,1], with their classes [M]."""

    images: Tensor
    labels: Tensor

    def to(self, device: device | str) -> Others:
        """The same on another device."""
        return Others(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Draw:
    """Random numbers of that shape for each image: uniform in [-1, 1), or standard normal."""

    shape: tuple[int, ...]
    normal: bool = False


class Run(ABC):
    """The runner as an attack sees it: randomness, what else the attacker has, progress and cancel."""

    others: Others

    @abstractmethod
    def drawn(self, draws: Iterable[Draw], like: Tensor, rows: Tensor | None = None) -> Iterator[Tensor]:
        """The numbers [R, *shape] of one draw after another, on the device of `like` and of its kind.

        They are the same as if each were asked for by itself, but reach an accelerator together: a step that takes
        several asks for all of them at once. Take all of them, before any others are asked for. Rows as in `noise`.
        """

    @abstractmethod
    def noise(self, like: Tensor, rows: Tensor | None = None) -> Tensor:
        """Uniform in [-1, 1), shaped like `like`; row i belongs to image `rows[i]` of the batch (default i, for all).

        An image's numbers depend only on the seed, on its identity and on its earlier draws, wherever it stands. What
        follows the first dimension is free: [N, 5] gives each image five numbers. Give the same tensor of `rows` again
        where it is the same: it has to be read from the device once.
        """

    @abstractmethod
    def normal(self, like: Tensor, rows: Tensor | None = None) -> Tensor:
        """Standard normal, otherwise as `noise`."""

    @abstractmethod
    def record(self, step: int, steps: int, images: Tensor, logits: Tensor, value: Tensor) -> None:
        """Iterate number `step` of `steps` with its logits and objective, for progress and replay; raises Cancelled.

        All of the batch, in order. Call it at least once, and once a step, with what the step's own forward pass
        showed. `images` may be changed in place afterwards; `logits` and `value` are kept as they are.
        """

    @abstractmethod
    def walk(self, images: Tensor, queries: Tensor, done: float) -> None:
        """For attacks that see no logits: the best images so far [N, C, H, W] once image i has spent `queries[i]`.

        Both may lie on the host. `done` is the share of the work done. Call it at the start, after every round (of some
        tens of queries at most) and at the end; raises Cancelled. `images` may be changed in place afterwards.
        """

    @abstractmethod
    def nearer(self, index: int, image: Tensor, queries: int) -> None:
        """For attacks that see decisions alone: `image` [1, C, H, W] fools the model in the place of image `index` of
        the batch, on which `queries` were spent by then, and none that is known lies nearer."""

    @abstractmethod
    def note(self, text: str, images: int = 1) -> None:
        """Tell the user `text`, which is so of `images` images of the batch: it ends among the result's warnings."""

    @abstractmethod
    def learned(self, fit: Callable[[], dict[str, Tensor]], show: Sequence[str] = ()) -> dict[str, Tensor]:
        """What `fit` once learned from `others` with these settings, seed and model; kept, so that it is learned once.

        While it learns, `fit` calls `learning`. It must not look at the attacked images, asks `target.apart`, and
        draws from `generator` only. What is named in `show` goes into the result's trace.
        """

    @abstractmethod
    def generator(self) -> Generator:
        """Random numbers for `fit`, on the CPU: the same at every call, and of no image's."""

    @abstractmethod
    def learning(self, step: int, steps: int, **losses: float | Tensor) -> None:
        """Progress of `fit`, with the losses to be drawn as curves (or none this time); raises Cancelled.

        Losses of single steps are given as the tensors they are: reading them would make an accelerator wait.
        """


class Attack(ABC):
    """An attack. Subclasses are frozen, keyword-only data classes whose fields are made by engine.params.param."""

    info: ClassVar[AttackInfo]

    def run(self, target: Any, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        """Adversarial images for `clean` [N, C, H, W]; `target` is the threat-model object of `info.knowledge`."""
        return _implementation(type(self))(self, target, clean, goal, ball, run)

    @abstractmethod
    def cost(self) -> Cost:
        """Gradients and queries per image."""

    @property
    def straight(self) -> bool:
        """Whether all it asks the model for is the gradient at the clean images: one then serves every eps."""
        return False

    def hasty(self) -> dict[str, Value]:
        """Settings, of those it has, with which it leaves an image alone as soon as that is fooled; empty where there
        are none, or it always does."""
        return {}

    def files(self) -> dict[str, str]:
        """Digests of the files, beside models and images, that decide what this attack does; raises EngineError."""
        return {}

    def learning_cost(self, images: int) -> Cost:
        """Gradients and queries to learn from so many further images, once, before the first attack."""
        return Cost(gradients=0, queries=0)


# Like Attack.run, with the attack in front.
Implementation = Callable[[Any, Any, "Tensor", Goal, Ball, Run], "Tensor"]
Implementing = TypeVar("Implementing", bound=Callable[..., Any])

_IMPLEMENTATIONS: dict[type[Attack], Implementation] = {}
DECLARED = "engine.attacks.declared."


def implements(declared: type[Attack]) -> Callable[[Implementing], Implementing]:
    """Decorator of what runs `declared`, and whatever is derived from it and has nothing of its own: a function, or a
    class that is made of the attack and has `run`.

    It stands in the module of the same name as the declaration's, one package higher.
    """
    def note(implementation: Implementing) -> Implementing:
        if isinstance(implementation, type):
            _IMPLEMENTATIONS[declared] = lambda attack, *asked: implementation(attack).run(*asked)
        else:
            _IMPLEMENTATIONS[declared] = implementation
        return implementation

    return note


@cache
def _implementation(attack: type[Attack]) -> Implementation:
    """The function that runs `attack`, from a module that is imported for it."""
    for cls in attack.__mro__:
        import_module(cls.__module__.replace(DECLARED, "engine.attacks."))
        if cls in _IMPLEMENTATIONS:
            return _IMPLEMENTATIONS[cls]
    raise NotImplementedError(f"nothing implements {attack.__name__}")


ATTACKS: Registry[type[Attack]] = Registry("attack")


def register(cls: type[Attack]) -> type[Attack]:
    """Class decorator: list the attack under its name."""
    ATTACKS.add(cls.info.name, cls)
    return cls
