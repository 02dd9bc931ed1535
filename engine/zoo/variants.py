"""The networks of one architecture: how many outputs and channels, and which head. Importing this does not import
torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.zoo.architectures import ARCHITECTURES

if TYPE_CHECKING:
    from torch import nn

OWN, PAPERS = "own", "papers"
EXPORTED = "exported program"  # of no architecture: it says itself what it computes (engine.zoo.exported)
HEADS = (OWN, PAPERS)
WIDTH = 256
LAYERS = ("0", "1", "3")  # the names of the papers' head's norm and dense layers


@dataclass(frozen=True)
class Variant:
    """A network of the architecture `arch` for pictures of so many `channels`.

    Its `head` is the architecture's own, or that of papers on medical pictures: average pool, flatten, batch norm, a
    dense layer of `width` values with ReLU, and the last dense layer. An exported program takes pictures of `size`
    (0: as the architecture says).
    """

    arch: str
    outputs: int
    head: str = OWN
    channels: int = 3
    width: int = WIDTH
    size: int = 0

    @property
    def top(self) -> str:
        """The part that is a new one for other classes."""
        architecture = ARCHITECTURES[self.arch]
        return architecture.head if self.head == OWN else architecture.top or architecture.head

    @property
    def last(self) -> str:
        """The last linear layer."""
        return self.top if self.head == OWN else f"{self.top}.{LAYERS[-1]}"

    @property
    def text(self) -> str:
        """Its name for people."""
        grey = " for grey pictures" if self.channels == 1 else ""
        return f"{self.arch}{grey}{' with the head of papers' if self.head == PAPERS else ''}"

    def build(self) -> nn.Module:
        """The network, untrained."""
        module = ARCHITECTURES[self.arch].build(self.outputs)
        if self.channels != 3:
            _take_channels(module, self.channels)
        if self.head == PAPERS:
            _put_head(module, self)
        return module


def as_many(outputs: int, classes: Sequence[str]) -> bool:
    """Whether a network with so many outputs may tell these classes apart: a single one tells two."""
    return outputs == len(classes) or (outputs, len(classes)) == (1, 2)


def _take_channels(module: nn.Module, channels: int) -> None:
    from torch import nn

    name, first = next((name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d))
    module.set_submodule(name, nn.Conv2d(
        channels, first.out_channels, first.kernel_size, first.stride, first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None))


def _put_head(module: nn.Module, variant: Variant) -> None:
    from torch import nn

    own = module.get_submodule(variant.top)
    features = next(layer.in_features for layer in own.modules() if isinstance(layer, nn.Linear))
    pool = getattr(module, "avgpool", None)
    if isinstance(pool, nn.AdaptiveAvgPool2d) and isinstance(pool.output_size, tuple):  # VGG keeps 7 x 7 otherwise
        features //= math.prod(map(int, filter(None, pool.output_size)))
        module.set_submodule("avgpool", nn.AdaptiveAvgPool2d(1))
    module.set_submodule(variant.top, nn.Sequential(nn.BatchNorm1d(features), nn.Linear(features, variant.width),
                                                    nn.ReLU(), nn.Linear(variant.width, variant.outputs)))
