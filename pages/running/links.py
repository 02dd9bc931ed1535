"""From a run to the page that makes such runs, with the same settings."""

from dataclasses import dataclass

from engine import device as devices
from engine.attacks import ATTACKS
from engine.errors import EngineError
from engine.experiments.kept import Kept, device_of
from engine.experiments.pictures import spec_of
from engine.experiments.repeating import Asked, asked, chosen
from engine.experiments.selection import Selection
from engine.experiments.transfer import as_asked
from engine.experiments.walks import QUERIES
from pages.ui import shell
from pages.ui.controls import SCALES


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
    "curve": Maker("Epsilon curve", "epsilon", "Epsilon"),
    "curves": Maker("Epsilon curve", "epsilon", "Epsilon"),
    "transfer": Maker("Transfer", "transfer", "Transfer"),
    "query-curve": Maker("Query curve", "blackbox", "Black box", asks=True),
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
    try:
        what = asked(spec_of(kept))
    except EngineError:  # of another version
        return None
    return None if what is None else (maker, texts(what, device_of(kept.runs[0]), maker.asks))


def texts(what: Asked, device: str, asks: bool = False) -> dict[str, str]:
    """The settings as the pages about whole data sets name them in their addresses; one that `asks` has the number of
    queries by itself."""
    first = what.attacks[0]
    named = {"dataset": what.dataset, "split": what.split, "images": _images(chosen(what)),
             "models": ",".join(what.models), "attacks": ",".join(what.names),
             "seeds": ",".join(map(str, what.seeds)), "numerics": first.numerics,
             "device": "auto" if device == devices.resolved() else device}
    single, ensemble = as_asked(what.sources)
    if single and single != what.models:
        named["sources"] = ",".join(single)
    if ensemble:
        named["ensemble"] = ensemble
    if len({norm for name in what.names for norm in ATTACKS[name].info.norms}) > 1:
        named["norm"] = first.norm
    if what.budgets and first.norm in SCALES:
        scale = SCALES[first.norm]
        named[scale.setting] = ",".join(scale.text(eps * scale.factor) for eps in what.budgets)
    own = QUERIES if asks and what.queries is not None else ""
    if own:
        named["queries"] = str(what.queries)
    return named | {f"set.{attack}.{name}": str(value) for attack, settings in what.changed(own).items()
                    for name, value in settings.items()}


def _images(selection: Selection) -> str:
    if selection.limit is not None:
        return str(selection.limit)
    return " ".join(f"#{index}" for index in selection.indices) or "all"
