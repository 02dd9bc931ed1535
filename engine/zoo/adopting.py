"""Checkpoints of others, which come without a card: what they hold is recognised, and a card is kept for them here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.disk import advice
from engine.errors import EngineError
from engine.zoo.cards import Card, adopted_card_path, card_path, card_text, problem_of, write_card

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# How pictures in [0,1] are mostly prepared for a network, by what that does to them: mean and std.
NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "normalised as ImageNet's": (IMAGENET_MEAN, IMAGENET_STD),
    "brought to [-1, 1]": ((0.5,), (0.5,)),
    "left in [0, 1]": ((0.0,), (1.0,)),
    "brought to 0 to 255": ((0.0,), (1 / 255,)),
}
NOTHING_SAID = "Brought along, with nothing said of its training."


@dataclass(frozen=True)
class Said:
    """What somebody says of a checkpoint; what is left out ("" or nothing) is taken as most have it."""

    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.classes or self.mean or self.std)


def adopt(weights: Path, said: Said, dataset: str, known: Sequence[str]) -> Iterator[str]:
    """Give the checkpoint `weights` a card, unless one lies beside it; yields a line for everything that was assumed.

    Where the classes are not said, they are those `known` of `dataset`. Raises EngineError.
    """
    if card_path(weights).exists():
        if said:
            raise EngineError(f"{weights.name} has a card, which says classes, mean and std; leave them out, or "
                              f"correct {card_path(weights).name}")
        return
    from engine.zoo import checkpoints

    arch, outputs = checkpoints.recognised(weights)
    yield f"{weights.name} has no card and was recognised as {arch} with {outputs} output{'s' * (outputs > 1)}"
    classes = said.classes or tuple(known)
    if not as_many(outputs, classes):
        whose = "named" if said.classes else f"in {dataset}"
        raise EngineError(f"{weights.name} has {outputs} outputs, and {len(classes)} classes are {whose}; name as many "
                          "as it has outputs, in its order: --classes A,B,...")
    if not said.classes:
        yield f"its classes are taken to be those of {dataset}, in that order: {', '.join(classes)} (--classes A,B,...)"
    if not (said.mean and said.std):
        yield "its pictures are taken to be normalised as ImageNet's are (--mean and --std say otherwise)"
    card = Card(name=weights.stem, arch=arch, classes=classes, mean=said.mean or IMAGENET_MEAN,
                std=said.std or IMAGENET_STD, limits=NOTHING_SAID)
    if problem := problem_of(card):
        raise EngineError(f"{weights.name}: {problem}")
    if _keep(weights, card):
        yield from _doubts(weights)


def as_many(outputs: int, classes: Sequence[str]) -> bool:
    """Whether a network with so many outputs may tell these classes apart: a single one tells two."""
    return outputs == len(classes) or (outputs, len(classes)) == (1, 2)


def _keep(weights: Path, card: Card) -> bool:
    """Whether that is news of the checkpoint."""
    try:
        place = adopted_card_path(weights)
        if place.exists() and place.read_text(encoding="utf-8") == card_text(card):
            return False
        write_card(place, card)
        return True
    except OSError as error:
        raise EngineError(f"the card of {weights.name} cannot be kept {advice(error)}") from None


def _doubts(weights: Path) -> Iterator[str]:
    """Whether its answers depend on the picture at all."""
    import torch

    from engine.zoo import checkpoints
    from engine.zoo.trying import unmoved

    noise = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    yield from unmoved(checkpoints.load(weights), noise)
