"""Random numbers that belong to something: to an image, or to one query about it, wherever it is computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.serving.crossing import sent


def key_of(*parts: int | str) -> int:
    """128 bits that depend on every part and on nothing else."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:16])


@dataclass(frozen=True)
class Stream:
    """Where the numbers of one query come from: `key` is that of seed and client, `number` the query's, `copy` that of
    the image where a defense looks at several."""

    key: int
    number: int
    copy: int = 0

    def at(self, place: int) -> np.random.Generator:
        """Its numbers for the defense at `place`."""
        # A counter-based generator: every copy, place and number is a stretch of its own of the key's stream.
        return np.random.Generator(np.random.Philox(key=self.key, counter=[0, self.copy, place, self.number]))


class Draws:
    """The random numbers of one defense for the rows of one call; each row's are its query's own."""

    def __init__(self, streams: Sequence[Stream], place: int) -> None:
        self._streams, self._place = streams, place
        self._generators: list[np.random.Generator] = []

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal, shaped like `like` [R, ...]."""
        return self._drawn(like, lambda generator, shape: generator.standard_normal(shape, dtype=np.float32))

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform in [0, 1), shaped like `like` [R, ...]."""
        return self._drawn(like, lambda generator, shape: generator.random(shape, dtype=np.float32))

    def _drawn(self, like: Tensor, one: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]) -> Tensor:
        if len(like) != len(self._streams):
            raise ValueError(f"random numbers for {len(like)} rows of {len(self._streams)} queries")
        # Made once, so that what goes out is drawn on from where coming in ended.
        self._generators = self._generators or [stream.at(self._place) for stream in self._streams]
        rows = [torch.from_numpy(one(generator, tuple(like.shape[1:]))) for generator in self._generators]
        return sent(torch.stack(rows), like.device).to(like.dtype) if rows else like.detach().clone()
