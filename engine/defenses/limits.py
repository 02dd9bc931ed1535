"""Defenses that look at who asks what: a limit on queries, and an eye for queries that are nearly the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from engine.defenses.base import register
from engine.papers import Paper
from engine.params import param
from engine.serving.defense import DETECTION, Caller, Defense, DefenseInfo

if TYPE_CHECKING:
    from torch import Tensor


@register
@dataclass(frozen=True, kw_only=True)
class QueryLimit(Defense):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="query-limit",
        title="Query limit",
        sentence="Answers each client so many times and no more, whatever it sends.",
        paper=Paper("Ilyas, Engstrom, Athalye, Lin", "Black-box Adversarial Attacks with Limited Queries and "
                    "Information", 2018, "https://arxiv.org/abs/1804.08598"),
        formula=r"f(x_i) \text{ for } i \le q, \text{ no answer for } i > q",
        cost="nothing",
        ours="The paper names the limit as what an attacker faces. Here an attack on one image is one client, and each "
             "verdict comes from a client of its own, who asks once.",
        once=True,
    )

    most: int = param(1000, title="Most queries", low=0, high=1_000_000, step=100, unit=" queries",
                      help="How many queries of a client are answered; 0 answers nobody.")

    def refuses(self, images: Tensor, callers: Sequence[Caller]) -> Tensor:
        import torch

        return torch.tensor([caller.number >= self.most for caller in callers], dtype=torch.bool)

    def caution(self) -> str | None:
        return None if self.most else "a limit of 0 answers nobody, not even an honest first query"


@register
@dataclass(frozen=True, kw_only=True)
class Stateful(Defense):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="stateful",
        title="Stateful detection",
        sentence="Remembers what each client asked and refuses images that are nearly the same as an earlier one, as "
                 "those of an attacker are who tries out small changes.",
        paper=Paper("Li, Shan, Wenger, Zhang, Zheng, Zhao", "Blacklight: Scalable Defense for Neural Networks against "
                    "Query-Based Black-Box Attacks", 2022, "https://arxiv.org/abs/2006.14042"),
        kind=DETECTION,
        formula=r"\max_{j < i} \lvert S(x_i) \cap S(x_j) \rvert > t: \text{ no answer}, \quad "
                r"S(x) = \text{the } k \text{ largest hashes of } w \text{ pixels in a row of } \lfloor x / q \rfloor",
        cost="a fingerprint of every image, compared with those that are remembered",
        ours="The values are ours: the paper's could not be verified. Each client is remembered by itself, only its "
             "latest queries, and equal pieces of one picture (black background) count once.",
    )

    window: int = param(1000, title="Memory", low=1, high=100_000, step=100, unit=" queries",
                        help="How many of a client's latest queries are remembered.")
    step: float = param(50 / 255, title="Grey step", low=1 / 255, high=1.0, step=1 / 255, unit="/255",
                        help="Greys within one step count as the same: changes smaller than it are overlooked.")
    length: int = param(50, title="Piece", low=1, high=1000, step=1, unit=" pixels",
                        help="How many pixels in a row make a piece, of which a hash is taken; longer pieces are "
                             "rarer, and more easily changed.")
    kept: int = param(50, title="Fingerprint", low=1, high=1000, step=1, unit=" hashes",
                      help="How many hashes, the largest, are a picture's fingerprint.")
    alike: float = param(0.25, title="Alike", low=0.0, high=1.0, step=0.05,
                         help="A picture that shares more than this part of its fingerprint with an earlier one is "
                              "refused.")

    def refuses(self, images: Tensor, callers: Sequence[Caller]) -> Tensor:
        import torch

        from engine.defenses.fingerprints import fingerprints

        found = []
        for own, caller in zip(fingerprints(images, self.step, self.length, self.kept), callers, strict=True):
            earlier = caller.memory.setdefault("fingerprints", deque(maxlen=self.window))
            found.append(any(len(own & other) > self.alike * len(own) for other in earlier))
            earlier.append(own)
        return torch.tensor(found, dtype=torch.bool)
