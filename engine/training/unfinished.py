"""The best epoch so far, on the disk while a training goes on: a full disk or a killed process does not cost it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import nn

from engine.errors import Cancelled, EngineError
from engine.zoo import checkpoints
from engine.zoo.cards import Card, card_path

ENDING = ".unfinished"


@contextlib.contextmanager
def kept_meanwhile(path: Path, name: str) -> Iterator[Callable[[nn.Module, Card], None]]:
    """Gives a function that keeps a network and its card beside the checkpoint `path`, as the model NAME.unfinished.

    That is gone once the training is through or cancelled. Where it ends early otherwise, it stays, and the EngineError
    says so.
    """
    place = path.with_name(f"{path.stem}{ENDING}{path.suffix}")
    last: list[Card] = []

    def keep(module: nn.Module, card: Card) -> None:
        checkpoints.save(place, module, card)
        last[:] = [card]

    try:
        yield keep
    except Cancelled:
        if last:
            _remove(place)
        raise
    except EngineError as error:
        if not last:
            raise
        epochs = len(last[0].training["history"])
        raise EngineError(f"{error}. The weights of epoch {epochs} are kept: the model {name}{ENDING}, which "
                          "--start-from takes, too") from None
    _remove(place)


def _remove(place: Path) -> None:
    for one in (place, card_path(place)):
        with contextlib.suppress(OSError):  # it stays as what it says it is
            one.unlink()
