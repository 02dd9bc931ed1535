"""Which models have seen pictures like one that is brought along, and what to know where one has not. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.data import DATASETS, PATHS, find, imaging
from engine.data.base import DatasetInfo
from engine.data.renamed import PREFIX
from engine.errors import EngineError
from engine.experiments.sources import Picture
from engine.zoo.cards import Card
from engine.zoo.registry import ModelEntry


def trained_on(card: Card) -> DatasetInfo | None:
    """The record of the data set that a model was trained on, where it has one; paths are not looked at."""
    name = card.dataset
    if name.startswith(PREFIX):
        name = name.removeprefix(PREFIX).partition(":")[2]
    if not name or any(prefix in name for prefix in PATHS):
        return None
    if (base := name.partition("@")[0]) in DATASETS:
        return DATASETS[base].info
    try:
        return find(name).info
    except EngineError:  # a data set that another version of this program knew
        return None


def rank(card: Card, kind: str) -> int:
    """How near a model's training comes to real pictures of that kind of imaging: 0 is best."""
    info = trained_on(card)
    if info is None:
        return 1
    if not imaging.alike(imaging.of(info), kind):
        return 3
    return 2 if info.synthetic else 0


def first(entries: Sequence[ModelEntry], kind: str) -> list[ModelEntry]:
    """The models with those first that have seen real pictures of that kind; as they are where it is not known ("")."""
    return list(entries) if not kind else sorted(entries, key=lambda entry: rank(entry.card, kind))


def distance(card: Card, info: DatasetInfo) -> tuple[bool, int]:
    """How far from a data set's pictures those are that a model has seen: the less, the better it suits them."""
    kind = imaging.of(info)
    return card.dataset != info.name, rank(card, kind) if kind else 0


def reservations(card: Card, shown: Picture | DatasetInfo) -> Iterator[str]:
    """What is to be known of the model's verdict on that picture, or on those of a data set, each in a line."""
    info, looks_at = trained_on(card), imaging.of(shown) if isinstance(shown, DatasetInfo) else shown.imaging
    if info is None:
        if not card.dataset:
            yield "nobody said what this model was trained on: whether it has seen such pictures is not known"
        return
    kind = imaging.of(info)
    if looks_at and kind and not imaging.alike(kind, looks_at):
        yield (f"this model has seen pictures of another kind only ({kind}), and none of {looks_at}: what it says "
               "here means nothing")
    elif info.synthetic and not shown.synthetic:
        yield ("this model has seen synthetic pictures only, and of patients it knows nothing; choose another one, "
               "trained on real pictures")
    elif shown.synthetic and not info.synthetic:
        yield "this model has seen real pictures only, and none that are synthetic, as here"
    if info.population and not shown.synthetic and shown.population != info.population:
        yield f"this model has seen pictures of {info.population} only"
