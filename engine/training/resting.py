"""A network that is only looked at for a moment."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def resting(module: nn.Module) -> Iterator[None]:
    """While this lasts all layers are in eval mode; then each is again in the mode that it was in, for not all of a
    network that learns need be in the same."""
    learning = [layer for layer in module.modules() if layer.training]
    module.eval()
    try:
        yield
    finally:
        for layer in learning:
            layer.training = True
