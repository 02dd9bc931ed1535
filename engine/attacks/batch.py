"""What an attack sees of the runner while one batch is under way, and what it leaves of it."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from engine.attacks.base import Attack, Draw, Knowledge, Others, Run, length
from engine.attacks.norms import NORMS
from engine.attacks.result import FRAMES, Finds, Trace, Walk
from engine.attacks.rows import sizes, troubles
from engine.attacks.spec import AttackSpec, has_gradients
from engine.errors import EngineError
from engine.progress import Offer, Preview
from engine.serving.crossing import Listed, fetched, sent
from engine.serving.draws import key_of
from engine.serving.served import Served
from engine.serving.threat import DecisionBased, FirstLook, Oracle, ScoreBased, WhiteBox

MOST_IMAGES = 64  # iterates of one run that are kept as images
MOST_SENT = 2**25  # random numbers that are drawn and sent together, unless it is a single draw

# What an attacker without a model asks.
ORACLES: dict[Knowledge, type[Oracle]] = {Knowledge.SCORE: ScoreBased, Knowledge.DECISION: DecisionBased}


@dataclass(frozen=True)
class Lesson:
    """What an attack learned: arrays by name, the `curves` of its losses, and of the gradients it took how many there
    were, how many were 0 everywhere, and how many held NaN or infinity."""

    arrays: Mapping[str, np.ndarray]
    curves: Mapping[str, Sequence[float]]
    gradients: tuple[int, int, int]


class Memory(Protocol):
    """Where lessons are kept for the next run, under what decides them, JSON-able."""

    def recall(self, learning: Mapping[str, Any]) -> Lesson | None:
        """What was learned before, or None."""

    def keep(self, learning: Mapping[str, Any], lesson: Lesson) -> None:
        """Keep it; raises EngineError where that cannot be done."""


class Learned:
    """What an attack learned before: kept for the next batch, and in the memory, if there is one, for the next run."""

    def __init__(self, learning: Mapping[str, Any], memory: Memory | None = None) -> None:
        self._learning, self._memory = learning, memory
        self._lesson: Lesson | None = None
        self.note = ""

    def fetch(self, fit: Callable[[], dict[str, Tensor]], curves: Callable[[], dict[str, list[float]]],
              oracle: Oracle) -> Lesson:
        """The arrays that `fit` gave now or earlier, with the `curves` of its losses there are then; it asked what is
        apart from `oracle`."""
        if self._lesson is None and self._memory is not None:
            self._lesson = self._memory.recall(self._learning)
        if self._lesson is None:
            arrays = {name: value.detach().cpu().numpy() for name, value in fit().items()}
            total, zero, bad = oracle.learning_counts.tolist() if isinstance(oracle, WhiteBox) else (0, 0, 0)
            self._lesson = Lesson(arrays, curves(), (total, zero, bad))
            self._keep(self._lesson)
        return self._lesson

    def _keep(self, lesson: Lesson) -> None:
        if self._memory is None:
            return
        try:
            self._memory.keep(self._learning, lesson)
        except EngineError as error:
            self.note = f"what was learned is not kept: {error}"

    def warnings(self) -> Iterator[str]:
        """What the lesson's gradients lacked, and where it is not kept."""
        if self._lesson is not None:
            yield from troubles(*self._lesson.gradients, "while learning, ")
        if self.note:
            yield self.note


@dataclass(frozen=True)
class Setting:
    """What all batches of a run have in common; `target` is what the attack asks. `looks` has the gradient at the clean
    images of each batch, by their identities, where several runs share it."""

    spec: AttackSpec
    attack: Attack
    target: Served
    others: Others
    device: torch.device
    keep_steps: bool
    learned: Learned
    looks: dict[tuple[str, ...], FirstLook] | None = None

    @property
    def max_queries(self) -> int | None:
        """A black-box attack may spend what it declares, or less where the spec says so."""
        if has_gradients(self.attack.info.knowledge):
            return self.spec.max_queries
        declared = self.attack.cost().queries
        return declared if self.spec.max_queries is None else min(declared, self.spec.max_queries)

    def oracle(self, identities: Sequence[str]) -> Oracle:
        """What the attack asks about the images of one batch."""
        asked = self.target, len(identities), self.max_queries, self.spec.batch, identities
        if has_gradients(self.attack.info.knowledge):
            look = None if self.looks is None else self.looks.setdefault(tuple(identities), FirstLook())
            return WhiteBox(*asked, draws=self.spec.draws, first_look=look)
        return ORACLES[self.attack.info.knowledge](*asked, draws=self.spec.draws)


class BatchRun(Run):
    """One batch's view of the runner. Random numbers are drawn on the CPU, for each image from a generator that its
    identity seeds, so that neither the device nor the image's place and company change them."""

    def __init__(self, setting: Setting, identities: Sequence[str], clean: Tensor,
                 report: Callable[[float, str], None], offer: Offer) -> None:
        self.others = setting.others
        self.oracle = setting.oracle(identities)
        self._setting = setting
        self._clean = clean
        self._clean_there: Tensor | None = None
        self._generators = [torch.Generator().manual_seed(image_seed(setting.spec.seed, name)) for name in identities]
        self._listed = Listed()
        self._report = report
        self._offer = offer
        self._logits: list[Tensor] = []
        self._objective: list[Tensor] = []
        self._images: list[Tensor] = []
        self._kept: list[int] = []
        self._queries: list[Tensor] = []
        self._distances: list[Tensor] = []
        self._film: Tensor | None = None
        self._finds: dict[tuple[int, int], dict[str, np.ndarray]] = {}
        self._losses: dict[str, list[float | Tensor]] = {}
        self._curves: dict[str, list[float]] = {}
        self.notes: Counter[str] = Counter()
        self._shown: dict[str, np.ndarray] = {}

    def drawn(self, draws: Iterable[Draw], like: Tensor, rows: Tensor | None = None) -> Iterator[Tensor]:
        images = range(len(self._generators)) if rows is None else self._listed(rows)
        # On the host nothing crosses, and what is drawn one by one stays in the cache.
        most = 0 if like.device.type == "cpu" else MOST_SENT
        for portion in _portions(draws, most // max(1, len(images))):
            yield from self._draw(portion, like, images)

    def _draw(self, draws: Sequence[Draw], like: Tensor, images: Sequence[int]) -> list[Tensor]:
        """The numbers of `draws`, a row for each of `images`, in one piece of memory that crosses at once."""
        shapes = [(len(images), *draw.shape) for draw in draws]
        sizes = [math.prod(shape) for shape in shapes]
        near = torch.empty(sum(sizes), dtype=like.dtype)
        for draw, shape, part in zip(draws, shapes, near.split(sizes), strict=True):
            one = torch.randn if draw.normal else torch.rand
            for row, image in zip(part.view(shape), images, strict=True):
                one(draw.shape, generator=self._generators[image], dtype=like.dtype, out=row)
        parts = sent(near, like.device).split(sizes)
        return [part.view(shape) if draw.normal else part.view(shape).mul_(2).sub_(1)
                for draw, shape, part in zip(draws, shapes, parts, strict=True)]

    def noise(self, like: Tensor, rows: Tensor | None = None) -> Tensor:
        return self._one(Draw(tuple(like.shape[1:])), like, rows)

    def normal(self, like: Tensor, rows: Tensor | None = None) -> Tensor:
        return self._one(Draw(tuple(like.shape[1:]), normal=True), like, rows)

    def _one(self, draw: Draw, like: Tensor, rows: Tensor | None) -> Tensor:
        (numbers,) = self.drawn([draw], like, rows)
        if len(like) != len(numbers):
            raise ValueError(f"random numbers for {len(like)} rows of {len(numbers)} images")
        return numbers

    def walk(self, images: Tensor, queries: Tensor, done: float) -> None:
        self._queries.append(queries.clone())
        order = NORMS[self._setting.spec.norm].order
        self._distances.append(length(images - self._clean_beside(images), order)[:, 0, 0, 0])
        if self._setting.keep_steps:
            now = images.detach().cpu()
            if self._film is None:
                self._film = now[None].repeat(len(FRAMES), *[1] * now.ndim)
            before = torch.tensor(FRAMES)[:, None] >= queries.cpu()
            self._film = now.where(before[:, :, None, None, None], self._film)
        text = f"{int(queries.max())} queries an image"
        self._offer(lambda: _preview(images, text))
        self._report(done, text)

    def nearer(self, index: int, image: Tensor, queries: int) -> None:
        clean = self._clean_beside(image)[index:index + 1]
        self._finds[index, queries] = sizes(clean.numpy(), image.numpy())  # the nearest of one question is the last
        if self._film is not None:
            self._film[[frame >= queries for frame in FRAMES], index] = image

    def _clean_beside(self, images: Tensor) -> Tensor:
        """The clean images where `images` are: black-box attacks work on the host."""
        if images.device == self._clean.device:
            return self._clean
        if self._clean_there is None:
            self._clean_there = self._clean.to(images.device)
        return self._clean_there

    def note(self, text: str, images: int = 1) -> None:
        self.notes[text] += images

    def learned(self, fit: Callable[[], dict[str, Tensor]], show: Sequence[str] = ()) -> dict[str, Tensor]:
        lesson = self._setting.learned.fetch(fit, lambda: _curves(self._losses), self.oracle)
        self._curves = {name: list(values) for name, values in lesson.curves.items()}
        self._shown = {name: lesson.arrays[name].copy() for name in show}
        return {name: torch.tensor(array).to(self._clean.device) for name, array in lesson.arrays.items()}

    def generator(self) -> torch.Generator:
        seeds = np.random.SeedSequence(self._setting.spec.seed, spawn_key=(0,))  # unlike those of any image
        return torch.Generator().manual_seed(int(seeds.generate_state(1, np.uint64)[0] >> np.uint64(1)))

    def learning(self, step: int, steps: int, **losses: float | Tensor) -> None:
        for name, value in losses.items():
            self._losses.setdefault(name, []).append(value)
        readable = self.oracle.looks(step) or not any(isinstance(value, Tensor) for value in losses.values())
        shown = ", ".join(f"{name} {float(value):.3g}" for name, value in losses.items()) if readable else ""
        self._report(0.9 * step / steps, f"learning, step {step} of {steps}{': ' if shown else ''}{shown}")

    def record(self, step: int, steps: int, images: Tensor, logits: Tensor, value: Tensor) -> None:
        # Kept where they are: moving them to the CPU now would make a GPU wait for every step.
        self._logits.append(logits)
        self._objective.append(value)
        if self._setting.keep_steps and step % math.ceil(steps / MOST_IMAGES) == 0:
            self._images.append(fetched(images))
            self._kept.append(len(self._logits) - 1)
        text = f"step {step + 1} of {steps}"
        self._offer(lambda: _preview(images, text, logits))
        self._report((step + 1) / steps, text)

    def trace(self, classes: int) -> Trace:
        n, keep = len(self._clean), self._setting.keep_steps
        curves = {name: tuple(values) for name, values in self._curves.items()}
        if not self._logits:
            images = np.empty((0, *self._clean.shape), np.float32) if keep else None
            return Trace(np.empty((0, n, classes), np.float32), np.empty((0, n), np.float32), images,
                         walk=self._walk(), curves=curves, learned=self._shown)
        return Trace(
            logits=torch.stack(self._logits).cpu().numpy(),
            objective=torch.stack(self._objective).cpu().numpy(),
            images=torch.stack(self._images).numpy() if keep else None,
            kept=tuple(self._kept),
            walk=self._walk(),
            curves=curves,
            learned=self._shown,
        )

    def _walk(self) -> Walk | None:
        if not self._queries:
            return None
        return Walk(torch.stack(self._queries).cpu().numpy(), torch.stack(self._distances).cpu().numpy(),
                    None if self._film is None else self._film.numpy(), _finds(self._finds))


def _finds(found: Mapping[tuple[int, int], Mapping[str, np.ndarray]]) -> Finds:
    """What was found, by the number of the image and the queries spent."""
    order = sorted(found)
    places = np.array(order, np.int64).reshape(-1, 2)

    def column(name: str, dtype: type) -> np.ndarray:
        return np.array([found[place][name][0] for place in order], dtype)

    return Finds(places[:, 0], places[:, 1], column("linf", np.float32), column("l2", np.float64),
                 column("l0", np.int64))


def _curves(losses: dict[str, list[float | Tensor]]) -> dict[str, list[float]]:
    """The losses as numbers, read from the device at once."""
    return {name: torch.stack([v for v in values if isinstance(v, Tensor)]).tolist()
            if isinstance(values[0], Tensor) else [float(value) for value in values] for name, values in losses.items()}


def _preview(images: Tensor, text: str, logits: Tensor | None = None) -> Preview:
    """A copy of the first image, in the range of pictures, which an iterate may leave by a rounding error."""
    return Preview(images[0].detach().float().clamp(0, 1).cpu().numpy(), text,
                   None if logits is None else logits[0].detach().float().softmax(dim=0).cpu().numpy())


def _portions(draws: Iterable[Draw], most: int) -> Iterator[list[Draw]]:
    """`draws` in order, so many together that an image gets no more than `most` numbers, or one by one."""
    portion: list[Draw] = []
    numbers = 0
    for draw in draws:
        own = math.prod(draw.shape)
        if portion and numbers + own > most:
            yield portion
            portion, numbers = [], 0
        portion.append(draw)
        numbers += own
    if portion:
        yield portion


def image_seed(seed: int, identity: str) -> int:
    """What the random numbers of one image begin with."""
    return key_of(seed, identity) % 2**63
