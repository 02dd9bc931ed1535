"""What a defense at inference time is: it stands between whoever asks and the classifier, and sees every query.

Importing this file does not import torch, so that a page can list defenses at once.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from engine.papers import Paper

if TYPE_CHECKING:
    from torch import Tensor

    from engine.serving.draws import Draws
    from engine.zoo.classifier import Classifier


# What a defense does: change what is asked or answered, or tell attacks from other queries and refuse them.
INFERENCE, DETECTION = "inference", "detection"


@dataclass(frozen=True)
class DefenseInfo:
    """A defense's declaration, from which pages, options, glossary and tests are made.

    `formula` is LaTeX, `sentence` plain words, as are `cost`, what a query costs beside the classifier's own time, and
    `ours`, in what this differs from the source or what was left open there.

    `random`: it uses its draws, so that the same image is not always answered alike. `differentiable`: gradients come
    back through `incoming` and `outgoing`; where they do not, an adaptive attacker passes them on as they are
    (straight-through), so both must then return the shape that they were given. `once`: a second one in the same stack
    would say nothing or something else. `fitted`: it first learns from clean images which the defender has. `evasion`:
    the number of the way by which an attacker who has the model stays below its threshold, raised where that gives
    other results than before; 0: there is none. `gradient`: the number of the way by which gradients come back through
    it, raised likewise.
    """

    name: str
    title: str
    sentence: str
    paper: Paper
    random: bool = False
    differentiable: bool = True
    once: bool = False
    fitted: bool = False
    evasion: int = 0
    gradient: int = 1
    kind: str = INFERENCE
    formula: str = ""
    cost: str = ""
    ours: str = ""


@dataclass(frozen=True)
class Reference:
    """Clean images that the defender has, float32 [M, C, H, W] in [0,1], with their classes int64 [M], none of them
    attacked. `digest` identifies them."""

    images: Tensor
    labels: Tensor
    digest: str

    def only(self, rows: Sequence[int]) -> Reference:
        """Some of them."""
        return Reference(self.images[rows], self.labels[rows], self.digest)

    def showing(self, images: Tensor) -> Reference:
        """The same, as something lets them through."""
        return Reference(images, self.labels, self.digest)


@dataclass(frozen=True)
class Caller:
    """Who sends one row: `number` says which of this client's queries it is (from 0), `memory` is what one defense, and
    no other, remembers of the client."""

    number: int
    memory: dict[str, Any]


@dataclass
class Client:
    """One attacker at one image, or whoever else sends it: what the served model knows between two queries.

    Random draws depend on the seed, the `identity` of the image, the `session` (the attack, or one of the verdicts)
    and the number of the query: not on the batch, its other images, or the device.
    """

    identity: str
    session: str = "attack"
    asked: int = 0
    memories: dict[int, dict[str, Any]] = field(default_factory=dict)

    def caller(self, number: int, place: int) -> Caller:
        """What the defense at `place` learns of this client's query `number`."""
        return Caller(number, self.memories.setdefault(place, {}))


class Defense(ABC):
    """A defense at inference time. Subclasses are frozen, keyword-only data classes whose fields are made by
    engine.params.param; what they remember lies in a caller's memory, never in themselves.

    Several stand in a row: the first sees an image first, and the logits last.
    """

    info: ClassVar[DefenseInfo]
    copies: int = 1  # how many copies of each image it has the classifier, and the defenses behind it, look at
    looks: int = 0  # how many images it has a classifier of its own look at to judge one query

    def bound(self, classifier: Classifier, reference: Reference) -> Defense:
        """The same, having learned from clean images what it needs to know of `classifier`; asked only of those that
        are `fitted`. Raises EngineError."""
        raise NotImplementedError

    def refuses(self, images: Tensor, callers: Sequence[Caller]) -> Tensor | None:
        """Which of the images [R, C, H, W], sent by `callers` [R] in this order, get no answer, bool [R]; None: none
        ever. What the defenses in front refused does not arrive here."""
        return None

    def suspicion(self, images: Tensor) -> Tensor | None:
        """How far above its threshold each of images [R, C, H, W] lies, float32 [R]: 0 at the threshold, above 0 where
        it refuses, with a gradient. None: it has no such measure, or judges more than the image."""
        return None

    def incoming(self, images: Tensor, draws: Draws) -> Tensor:
        """What is passed on of images [R, C, H, W] in [0,1]; the input is only read."""
        return images

    def outgoing(self, logits: Tensor, draws: Draws) -> Tensor:
        """What is answered of logits [R, K]; `draws` go on from those of `incoming`, the input is only read."""
        return logits

    def merged(self, logits: Tensor) -> Tensor:
        """The one answer [R, K] made of those to several copies, [copies, R, K]; asked only where `copies` is above 1.
        """
        raise NotImplementedError

    def caution(self) -> str | None:
        """What somebody who chose these settings should be told before anything runs; None: nothing."""
        return None

    def files(self) -> dict[str, str]:
        """Digests of the files that decide what this defense does, beside its parameters; raises EngineError."""
        return {}


def is_random(defenses: Sequence[Defense]) -> bool:
    """Whether the same image may be answered in several ways."""
    return any(defense.info.random for defense in defenses)
