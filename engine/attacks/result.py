"""What an attack run leaves behind: images, numbers and everything needed to repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.attacks.rows import Rows, Tally, lock

if TYPE_CHECKING:
    import torch

MILESTONES = (100, 250, 1_000, 5_000, 10_000, 20_000)  # queries at which a walk is looked at
FRAMES = (10, 25, 50, *MILESTONES)  # and at which its images are kept


@dataclass(frozen=True)
class Finds:
    """Each time that an attack knew an image which fools the model and lies nearer, in the norm of the run, than those
    before: `image` [E] numbers the attacked image, `queries` [E] were spent on it by then, and the nearer one lies
    `linf`, `l2` and `l0` [E] from the clean one, as in Rows. In the order of images, and of queries."""

    image: np.ndarray
    queries: np.ndarray
    linf: np.ndarray
    l2: np.ndarray
    l0: np.ndarray

    def __post_init__(self) -> None:
        lock(self)

    def of(self, image: int) -> Finds:
        """Those of one image, which is then the only one."""
        own = self.image == image
        return Finds(self.image[own] - image, *(getattr(self, f.name)[own] for f in fields(Finds)[1:]))

    @staticmethod
    def joined(pieces: Sequence[tuple[Finds, int]]) -> Finds:
        """Those of several runs as of one, each with the number of its images."""
        starts = np.cumsum([0, *(count for _, count in pieces)])
        columns = {f.name: np.concatenate([getattr(finds, f.name) for finds, _ in pieces]) for f in fields(Finds)}
        columns["image"] = np.concatenate([finds.image + start for (finds, _), start in
                                           zip(pieces, starts[:-1], strict=True)])
        return Finds(**columns)


@dataclass(frozen=True)
class Walk:
    """The way of an attack that sees no logits: `queries` spent [T, N] and `distances` from the clean images in the
    norm of the run [T, N]; `film` holds the images at FRAMES [F, N, C, H, W] (or None: not kept). `finds` has each
    of its steps to the query where the attack sees decisions alone, and nothing where it sees more."""

    queries: np.ndarray
    distances: np.ndarray
    film: np.ndarray | None
    finds: Finds

    def __post_init__(self) -> None:
        lock(self)

    def of(self, image: int) -> Walk:
        """That of one image."""
        own = slice(image, image + 1)
        return Walk(self.queries[:, own], self.distances[:, own], None if self.film is None else self.film[:, own],
                    self.finds.of(image))


@dataclass(frozen=True)
class Trace:
    """The iterates on the way: logits [T, N, K], objective [T, N], images [S, N, C, H, W] (or None: not kept).

    `kept` [S] numbers the iterates whose images are kept: all, or some spread evenly over a long run. `walk` is
    there where the attack saw no logits, and `curves` holds what it learned by, a list of losses a name. `learned` are
    the things learned that can be looked at, such as a "pattern" [C, H, W] that is added to every image.
    """

    logits: np.ndarray
    objective: np.ndarray
    images: np.ndarray | None
    kept: tuple[int, ...] = ()
    walk: Walk | None = None
    curves: dict[str, tuple[float, ...]] = field(default_factory=dict)
    learned: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lock(self)
        for value in self.learned.values():
            value.setflags(write=False)

    def of(self, image: int) -> Trace:
        """That of one image."""
        own = slice(image, image + 1)
        return replace(self, logits=self.logits[:, own], objective=self.objective[:, own],
                       images=None if self.images is None else self.images[:, own],
                       walk=None if self.walk is None else self.walk.of(image))


@dataclass(frozen=True, kw_only=True)
class AttackResult(Rows):
    """N attacked images with what is known of them (Rows). Images are float32 [N, C, H, W] in [0,1]; rounding to 8 bits
    may go beyond the budget by half a grey level. Arrays are read-only."""

    clean: np.ndarray
    adversarial: np.ndarray
    adversarial_8bit: np.ndarray
    trace: Trace

    @property
    def rows(self) -> Rows:
        """Everything but the images."""
        return Rows(**{f.name: getattr(self, f.name) for f in fields(Rows)})

    def of(self, image: int) -> AttackResult:
        """What is known of one image, as it came out in the company of the others; all of them took `seconds`."""
        total, own = len(self.labels), slice(image, image + 1)
        arrays = {f.name: getattr(self, f.name)[own] for f in fields(self) if f.type == "np.ndarray"}
        together = (f"of {total} images attacked together, {count}: {text}" for text, count in self.tally.notes.items())
        return replace(self, **arrays, identities=self.identities[own], digests=self.digests[own],
                       trace=self.trace.of(image), tally=Tally(said=(*self.tally.said, *together)))


class TensorResult:
    """An AttackResult whose arrays are tensors on `device`: what who attacks tensors gets back.

    Everything else (summary, spec, trace, warnings ...) is the result's own, and `arrays` is that result itself, with
    NumPy arrays. A tensor is made when it is first asked for; it is a copy, and may be written to.
    """

    def __init__(self, arrays: AttackResult, device: torch.device) -> None:
        self.arrays = arrays
        self.device = device

    def __getattr__(self, name: str) -> Any:
        """Only called for what is not known yet: a tensor is then kept under its name."""
        if name in ("arrays", "device"):  # not there before __init__, as when the object is copied or unpickled
            raise AttributeError(name)
        value = getattr(self.arrays, name)
        if isinstance(value, np.ndarray):
            import torch

            value = torch.tensor(value, device=self.device)
            setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.arrays)})
