"""Checkpoints of others, which come without a card: what they hold is recognised, and a card is kept for them here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.disk import advice
from engine.errors import EngineError, UnknownName
from engine.zoo.cards import Card, adopted_card_path, card_path, card_text, problem_of, write_card
from engine.zoo.variants import EXPORTED, Variant, as_many
from engine.zoo.xrayvision import FINDINGS, MEAN, SIZE, STD, is_xrayvision

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
    """What somebody says of a checkpoint; what is left out ("" or nothing) is taken as most have it. Where it is
    `multilabel`, the classes do not exclude each other, and `finding` is the one that is looked for."""

    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    multilabel: bool = False
    finding: str = ""

    def __bool__(self) -> bool:
        return self != Said()


@dataclass(frozen=True)
class Named:
    """What the outputs of a network mean: `classes`, and of a multi-label one its `findings` and the one looked for."""

    classes: tuple[str, ...]
    findings: tuple[str, ...] = ()
    finding: str = ""


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

    network = checkpoints.recognised(weights)
    yield (f"{weights.name} has no card and was recognised as {network.text} with {network.outputs} "
           f"output{'s' * (network.outputs > 1)}")
    package = is_xrayvision(network) and not said.classes
    named = _findings(weights.name, network, said, known) if package or said.multilabel or said.finding else \
        _classes(weights.name, network, said, dataset, known)
    if named.findings:
        yield (f"it is asked for {named.finding} only: '{named.classes[1]}' where that is found, else "
               f"'{named.classes[0]}' (--finding)")
    elif not said.classes:
        yield (f"its classes are taken to be those of {dataset}, in that order: {', '.join(named.classes)} "
               "(--classes A,B,...)")
    grey = (mean_of(IMAGENET_MEAN), mean_of(IMAGENET_STD), network.size)
    usual = (MEAN, STD, SIZE) if package else grey if network.channels == 1 else (IMAGENET_MEAN, IMAGENET_STD,
                                                                                  network.size)
    if network.arch == EXPORTED:
        yield f"pictures are brought to {network.size} x {network.size}, as it was exported for; it has no heatmaps"
    if not (said.mean and said.std):
        yield ("its outputs and pictures are taken to be TorchXRayVision's: from -1024 to 1024, "
               f"{SIZE} x {SIZE} (--mean and --std say otherwise)" if package else
               "its pictures are taken to be normalised as ImageNet's are (--mean and --std say otherwise)")
    card = Card(name=weights.stem, arch=network.arch, **vars(named), mean=said.mean or usual[0],
                std=said.std or usual[1], size=usual[2], head=network.head, channels=network.channels,
                limits=NOTHING_SAID)
    if problem := problem_of(card):
        raise EngineError(f"{weights.name}: {problem}")
    if _keep(weights, card):
        yield from _doubts(weights)


def mean_of(values: Sequence[float]) -> tuple[float, ...]:
    """For grey pictures, of a value for each colour."""
    return (round(sum(values) / len(values), 4),)


def _classes(file: str, network: Variant, said: Said, dataset: str, known: Sequence[str]) -> Named:
    classes = said.classes or tuple(known)
    if not as_many(network.outputs, classes):
        whose = "named" if said.classes else f"in {dataset}"
        raise EngineError(f"{file} has {network.outputs} outputs, and {len(classes)} classes are {whose}; name as many "
                          "as it has outputs, in its order: --classes A,B,... (and --finding A where they do not "
                          "exclude each other)")
    return Named(classes)


def _findings(file: str, network: Variant, said: Said, known: Sequence[str]) -> Named:
    """One of its findings: the one that is said, or that is a class of the data set, whose other one is its absence."""
    findings = said.classes or (FINDINGS if is_xrayvision(network) else ())
    if len(findings) != network.outputs:
        raise EngineError(f"{file} has {network.outputs} outputs, and {len(findings)} findings are named; name as many "
                          "as it has outputs, in its order: --classes A,B,...")
    return named_of(findings, said.finding, known)


def named_of(findings: tuple[str, ...], finding: str, known: Sequence[str]) -> Named:
    """What is told apart where one of the findings is looked for, in words of the classes `known` of a data set where
    that is one of two; raises EngineError."""
    places = {name.casefold(): name for name in findings if name}
    asked = [finding] if finding else [name for name in known if name.casefold() in places]
    if len(asked) != 1:
        raise EngineError(f"say which of its findings is looked for (--finding): {', '.join(places.values())}")
    if asked[0].casefold() not in places:
        raise UnknownName("finding", asked[0], places.values())
    chosen, others = places[asked[0].casefold()], [name for name in known if name.casefold() != asked[0].casefold()]
    if len(known) == 2 and len(others) == 1:
        return Named((others[0], next(name for name in known if name not in others)), findings, chosen)
    return Named((f"no {chosen}", chosen), findings, chosen)


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
