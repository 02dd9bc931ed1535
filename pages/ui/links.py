"""Long work as the address of the page that asks for it."""

from dataclasses import fields

from engine.attacks import ATTACKS
from engine.experiments.queries.walks import QUERIES
from engine.experiments.runs.repeating import Asked, chosen
from engine.experiments.selection import Selection
from engine.experiments.transfers.transfer import as_asked
from engine.params import values_of
from engine.training.defenses import defense_of
from engine.training.spec import SCRATCH, TrainSpec
from pages.ui import defending
from pages.ui.controls import SCALES


def texts(what: Asked, device: str, asks: bool = False) -> dict[str, str]:
    """The settings as the pages about whole data sets name them in their addresses; one that `asks` has the number of
    queries by itself. Raises EngineError where they cannot be set there."""
    first = what.attacks[0]
    named = {"dataset": what.dataset, "split": what.split, "images": _images(chosen(what)),
             "models": ",".join(what.models), "attacks": ",".join(what.names),
             "seeds": ",".join(map(str, what.seeds)), "numerics": first.numerics,
             "device": device}
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
    if not what.checks:
        named["checks"] = "no"
    named |= defending.texts(what.attacks)
    return named | {f"set.{attack}.{name}": str(value) for attack, settings in what.changed(own).items()
                    for name, value in settings.items()}


def _images(selection: Selection) -> str:
    if selection.limit is not None:
        return str(selection.limit)
    return " ".join(f"#{index}" for index in selection.indices) or "all"


def of_training(spec: TrainSpec) -> dict[str, str]:
    """A training as the page about that names its settings."""
    own = {"start": spec.start_from or SCRATCH, "test": spec.tests[0]}
    other = {f.name: str(getattr(spec, f.name)) for f in fields(spec)
             if f.name not in ("start_from", "tests", "command", "limits", "defense")}
    if (defense := defense_of(spec.defense)) is None:
        return own | other
    return own | other | {"defense": defense.info.name,
                          **{f"defense.{name}": str(value) for name, value in values_of(defense).items()}}
