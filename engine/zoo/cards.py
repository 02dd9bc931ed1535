"""Model cards: the facts beside every checkpoint, readable without PyTorch."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import digest
from engine.disk import read_json, replacing
from engine.errors import EngineError, UnknownName
from engine.home import home
from engine.zoo.variants import HEADS, OWN, Variant

STORAGES = ("float16", "uint8", "float32")
_LARGEST = 4096


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a reader must know about a trained model before believing anything measured on it.

    `mean` and `std` (one value, or one a channel) are what the network was trained with, and so is `size`, the side
    that pictures are brought to (0: taken as they are); `head` (one of HEADS) and `channels` say which network of the
    architecture it is. Where `findings` name its outputs, which do not exclude each other, `classes` are the two
    answers to whether one of them, the `finding`, is there: no and yes. `evaluations` holds, for each split, what the
    weights on disk achieve; `round_trip` what storing them changed.
    """

    name: str = ""
    arch: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int = 0
    head: str = OWN
    channels: int = 3
    findings: tuple[str, ...] = ()
    finding: str = ""
    dataset: str = ""
    split: str = ""
    seed: int = 0
    command: str = ""
    storage: str = "float16"
    evaluations: dict[str, dict[str, Any]] = field(default_factory=dict)
    round_trip: dict[str, Any] = field(default_factory=dict)
    limits: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def card_path(weights: Path) -> Path:
    """Where the card of the checkpoint `weights` lies."""
    return weights.with_suffix(".json")


def adopted_card_path(weights: Path) -> Path:
    """Where the card is kept that a stranger's checkpoint was given here, by what is in that; raises OSError."""
    return home() / "cards" / f"{digest.of_unchanged_file(weights)}.json"


def found_card_path(weights: Path) -> Path:
    """The card that holds for the checkpoint `weights`: the one beside it, or the one that it was given here."""
    beside = card_path(weights)
    if not beside.exists():
        with contextlib.suppress(OSError):  # no such checkpoint: whoever reads the card says so
            if (given := adopted_card_path(weights)).exists():
                return given
    return beside


def read_card(weights: Path) -> Card:
    """The card of the checkpoint `weights`; raises EngineError where it is missing, broken or incomplete."""
    path = found_card_path(weights)
    try:
        facts = read_json(path.read_bytes())
    except FileNotFoundError:
        raise EngineError(f"{weights.name} has no card: put {path.name} with {', '.join(REQUIRED)} beside it, or "
                          "attack it from the command line first, which needs none") from None
    except OSError as error:
        raise EngineError(f"{path.name} cannot be read ({error.strerror}); check its permissions") from None
    except EngineError as error:
        raise EngineError(f"{path.name} is no card: {error}; write it anew with {', '.join(REQUIRED)}") from None
    if not isinstance(facts, Mapping):
        raise EngineError(f"{path.name} is not a model card: it must be an object with {', '.join(REQUIRED)}")
    return _card(path.name, {"name": weights.stem, **facts})


def write_card(path: Path, card: Card) -> None:
    """Put the card there, whole or not at all; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as new:
        new.write_text(card_text(card), encoding="utf-8")


def card_text(card: Card) -> str:
    """The card as JSON, ending with a newline."""
    return json.dumps(dataclasses.asdict(card), indent=2, ensure_ascii=False) + "\n"


def _card(file: str, facts: Mapping[str, Any]) -> Card:
    for name in REQUIRED:
        if name not in facts:
            raise EngineError(f"{file} lacks '{name}'; a card needs {', '.join(REQUIRED)}")
    for name, value in facts.items():
        if name not in _FIELDS:
            raise UnknownName(f"field in {file}:", name, _FIELDS)
        accepts, wanted = _RULES.get(_FIELDS[name].type, _OBJECT)
        if not accepts(value):
            raise EngineError(f"'{name}' in {file} must be {wanted}")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
    card = Card(**values)
    if problem := problem_of(card):
        raise EngineError(f"{file}: {problem}")
    return card


def network_text(card: Card) -> str:
    """Which network it is, for people."""
    return Variant(card.arch, len(card.findings or card.classes), card.head, card.channels).text


def problem_of(card: Card) -> str | None:
    """What contradicts itself in `card`."""
    if len(card.classes) < 2 or len(set(card.classes)) < len(card.classes):
        return "'classes' must name at least two different classes"
    if card.head not in HEADS:
        return f"'head' must be one of {', '.join(HEADS)}"
    if card.channels not in (1, 3):
        return "'channels' must be 1 or 3"
    if any(len(values) not in (1, card.channels) for values in (card.mean, card.std)):
        return "'mean' and 'std' must have one value, or one for each of three channels (of grey pictures, one)"
    if min(card.std) <= 0:
        return "'std' must be above 0"
    if card.findings and (card.findings.count(card.finding) != 1 or not card.finding or len(card.classes) != 2):
        return "'finding' must be one of 'findings', and 'classes' two: that it is not there, and that it is"
    if not 0 <= card.size <= _LARGEST:
        return f"'size' must be 0 or the side of a picture, up to {_LARGEST}"
    if card.storage not in STORAGES:
        return f"'storage' must be one of {', '.join(STORAGES)}"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _list_of(accepts: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(map(accepts, value))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_OBJECT: tuple[Callable[[object], bool], str] = (lambda value: isinstance(value, Mapping), "an object")
_RULES: dict[Any, tuple[Callable[[object], bool], str]] = {
    str: (_is_text, "text"),
    int: (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    tuple[str, ...]: (_list_of(_is_text), "a list of texts"),
    tuple[float, ...]: (_list_of(_is_number), "a list of finite numbers"),
}
_FIELDS = {f.name: f for f in dataclasses.fields(Card)}
REQUIRED = tuple(f.name for f in dataclasses.fields(Card)
                 if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING)
