"""From a run to the page that makes such runs, with the same settings."""

from dataclasses import dataclass

from engine import device as devices
from engine.errors import EngineError
from engine.experiments.runs.kept import Kept, device_of
from engine.experiments.runs.repeating import asked_of
from pages.ui import shell
from pages.ui.links import texts


@dataclass(frozen=True)
class Maker:
    """A page that makes runs of a kind: what the kind is called, the page's file and its title; `asks` where it has a
    control for the number of queries."""

    called: str
    page: str
    title: str
    asks: bool = False


MAKERS = {
    "evaluation": Maker("Evaluation", "evaluate", "Evaluate"),
    "curves": Maker("Epsilon curve", "epsilon", "Epsilon"),
    "transfer": Maker("Transfer", "transfer", "Transfer"),
    "query-curve": Maker("Query curve", "blackbox", "Black box", asks=True),
    "defend": Maker("Defenses", "defend", "Defend", asks=True),
}


def called(kind: str) -> str:
    """A kind of run, for people."""
    return MAKERS[kind].called if kind in MAKERS else kind


def way_back(kept: Kept) -> tuple[Maker, dict[str, str]] | None:
    """The page that makes such runs, and its address for this one; None where there is no such page here, or no such
    settings."""
    maker = MAKERS.get(kept.entry.kind)
    if maker is None or not shell.file(maker.page).exists():
        return None
    what = asked_of(kept)
    if what is None:
        return None
    device = device_of(kept.runs[0])
    try:
        return maker, texts(what, "auto" if device == devices.resolved() else device, maker.asks)
    except EngineError:  # defenses that the page has no controls for
        return None
