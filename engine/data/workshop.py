"""`made:KIND,SETTING=VALUE,...`: a phantom made to order, and made again from its name whenever that is opened.

Its random numbers are those of the test split's phantoms: who it is, the disease and the exposure each have a number of
their own, so that with equal numbers and everything else as drawn it is that phantom itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.data import phantom, phantom_ct_scan, phantom_histology_tile
from engine.data.base import DATASETS, Dataset, DatasetEntry
from engine.data.phantom_common import PhantomSet, Rng, Series
from engine.data.phantom_ct import PhantomCt
from engine.data.phantom_cxr import PhantomCxr
from engine.data.phantom_histology import PhantomHistology
from engine.errors import EngineError, UnknownName
from engine.params import Param, Value, build, params_of, values_of
from engine.registry import Registry

PREFIX = "made:"
SPLIT = "test"
SHOWS = "shows"
NUMBERS = ("anatomy", "disease", "exposure")


@dataclass(frozen=True)
class Kit:
    """How one kind of phantom is made: its numbered series, what can be changed of it, and what the three numbers are
    called."""

    dataset: Callable[[str], PhantomSet[Any]]
    series: Series
    knobs: type
    composed: Callable[[Sequence[Rng], int, Any], Any]
    titles: tuple[str, str, str]

    @property
    def most(self) -> int:
        """The highest number."""
        return self.series.sizes[SPLIT] - 1

    @property
    def params(self) -> tuple[Param, ...]:
        """The knobs."""
        return params_of(self.knobs)


KITS: Registry[Kit] = Registry("kind of phantom")
KITS.add("phantom-cxr", Kit(PhantomCxr, phantom.SERIES, phantom.Knobs, phantom.composed,
                            ("Patient", "Course of the disease", "Exposure")))
KITS.add("phantom-ct", Kit(PhantomCt, phantom_ct_scan.SERIES, phantom_ct_scan.Knobs, phantom_ct_scan.composed,
                           ("Patient and height", "Course of the disease", "Scan")))
KITS.add("phantom-histology", Kit(
    PhantomHistology, phantom_histology_tile.SERIES, phantom_histology_tile.Knobs, phantom_histology_tile.composed,
    ("Surroundings", "Epithelium or tumour", "Stain and camera")))


@dataclass(frozen=True)
class Order:
    """A phantom that is wanted: its kind, class, the numbers of `NUMBERS`, and the knobs that are not as drawn."""

    kind: str
    shows: str
    numbers: tuple[int, int, int]
    knobs: tuple[tuple[str, Value], ...] = ()

    @property
    def name(self) -> str:
        """The name of the data set that holds it."""
        named = {SHOWS: self.shows, **dict(zip(NUMBERS, self.numbers, strict=True)), **dict(self.knobs)}
        return PREFIX + ",".join([self.kind, *(f"{name}={_text(value)}" for name, value in named.items())])


def _text(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def order(kind: str, shows: str, numbers: Sequence[int], knobs: Mapping[str, object]) -> Order:
    """A checked order; raises EngineError."""
    kit = KITS[kind]
    if shows not in kit.series.classes:
        raise UnknownName(f"class of {kind}", shows, kit.series.classes)
    for name, number in zip(NUMBERS, numbers, strict=True):
        if not 0 <= number <= kit.most:
            raise EngineError(f"{name} must lie between 0 and {kit.most}, not {number}")
    built: Any = build(kit.knobs, knobs)
    changed = {p.name: value for p in kit.params if (value := values_of(built)[p.name]) != p.default}
    return Order(kind, shows, (numbers[0], numbers[1], numbers[2]), tuple(changed.items()))


def read(name: str) -> Order:
    """The order that a data set's name is; raises EngineError."""
    kind, *rest = name.removeprefix(PREFIX).split(",")
    pairs, kit = dict(_pair(text) for text in rest), KITS[kind]
    numbers = [_whole(one, pairs.pop(one, "0")) for one in NUMBERS]
    return order(kind, pairs.pop(SHOWS, kit.series.classes[0]), numbers, pairs)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise EngineError(f"a phantom made to order is named {PREFIX}phantom-cxr,shows=Pneumonia,anatomy=8, for one; "
                          f"'{text}' has no =")
    return name.strip(), value.strip()


def _whole(name: str, text: str) -> int:
    if not text.isdecimal():
        raise EngineError(f"{name} must be a whole number, not '{text}'")
    return int(text)


def made(wanted: Order) -> Dataset:
    """The data set with that phantom alone."""
    kit = KITS[wanted.kind]
    label = kit.series.classes.index(wanted.shows)
    # A stream of every phantom that lends its numbers: the first of one, the second of another, the third of a third.
    streams = [kit.series.streams(SPLIT, number)[place] for place, number in enumerate(wanted.numbers)]
    shown = kit.composed(streams, label, build(kit.knobs, dict(wanted.knobs)))
    return kit.dataset(SPLIT).alone(entry(wanted.name.removeprefix(PREFIX)).info, label, shown)


def entry(text: str) -> DatasetEntry:
    """The data set made:TEXT: the phantom as its test split, and the other phantoms of its kind to learn from; raises
    EngineError."""
    wanted = read(text)
    base = DATASETS[wanted.kind]
    splits = {SPLIT: "The phantom that was made to order.", "train": base.info.splits["train"]}
    info = replace(base.info, name=wanted.name, title=f"{base.info.title}, made to order",
                   sentence=f"One phantom made to order: {wanted.shows}.", splits=splits)
    return DatasetEntry(info, lambda split: made(wanted) if split == SPLIT else base.load(split))
