"""How a run is asked for again: the command line's words, from what was asked for. Does not import torch."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.spec import AttackSpec
from engine.data import DATASETS
from engine.errors import EngineError
from engine.experiments.pictures import sweep_in
from engine.experiments.selection import Selection
from engine.experiments.sources import opened
from engine.params import params_of

# Of each kind of run the command that makes it.
COMMANDS = {"evaluation": "evaluate", "curve": "curve", "curves": "curve", "transfer": "transfer",
            "query-curve": "query-curve"}


@dataclass(frozen=True)
class Asked:
    """What long work was asked for, whatever its kind."""

    dataset: str
    split: str
    indices: tuple[int, ...]
    models: tuple[str, ...]
    sources: tuple[str, ...]
    attacks: tuple[AttackSpec, ...]

    @property
    def names(self) -> list[str]:
        """The attacks' names, each once."""
        return list(dict.fromkeys(spec.attack for spec in self.attacks))

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(spec.seed for spec in self.attacks))

    @property
    def budgets(self) -> list[float]:
        return sorted({spec.eps for spec in self.attacks if spec.eps is not None})

    def changed(self) -> dict[str, dict[str, Any]]:
        """By attack, its own settings that are not the default."""
        found: dict[str, dict[str, Any]] = {}
        for spec in self.attacks:
            own = {p.name: p.default for p in params_of(ATTACKS[spec.attack])}
            found.setdefault(spec.attack, {}).update(
                {name: value for name, value in spec.params.items() if value != own.get(name)})
        return found


def asked(spec: Any) -> Asked | None:
    """What a spec asks for; None for one of another form."""
    of = sweep_in(spec) or spec
    try:
        models = getattr(of, "targets", None) or of.models
        return Asked(of.dataset, of.split, tuple(of.indices), tuple(models), tuple(getattr(of, "sources", ())),
                     tuple(of.attacks))
    except AttributeError:
        return None


def chosen(what: Asked) -> Selection:
    """The selection that gives the images, by their number where they are spread evenly; a data set that is not one of
    the registered ones is not opened."""
    count = len(what.indices)
    if what.dataset in DATASETS:
        try:
            data = opened(what.dataset, what.split)
        except EngineError:
            return Selection(indices=what.indices)
        if what.indices == tuple(range(len(data))):
            return Selection()
        if what.indices == Selection(limit=count).of(data):
            return Selection(limit=count)
    return Selection(indices=what.indices)


def command(kind: str, spec: Any, classes: Sequence[str], device: str = "auto") -> str:
    """The command that repeats a run; "" where there is none. Options that have their default are left out."""
    what = asked(spec)
    if what is None or kind not in COMMANDS:
        return ""
    first = what.attacks[0]
    options = {"dataset": what.dataset, "split": what.split, "model": ",".join(what.models)}
    if what.sources and set(what.sources) != set(what.models):
        options["sources"] = ",".join(what.sources)
    options["attack"] = ",".join(what.names)
    if what.budgets:
        options["eps"] = ",".join(NORMS[first.norm].text(eps) for eps in what.budgets)
    if first.norm != ATTACKS[first.attack].info.norms[0]:
        options["norm"] = first.norm
    for name in ("surrogate", "mask"):
        if value := getattr(first, name):
            options[name] = value
    if first.target is not None and first.target < len(classes):
        options["target"] = classes[first.target]
    if first.numerics != "fast":
        options["numerics"] = first.numerics
    if device not in ("auto", ""):
        options["device"] = device
    if reading := _reading(spec):
        options["reading"] = reading
    words = [f"--{name} {shlex.quote(value)}" for name, value in options.items()]
    return " ".join([f"python -m engine {COMMANDS[kind]}", *words, *_images(chosen(what)), *_settings(what),
                     f"--seed {','.join(map(str, what.seeds))}"])


def _reading(spec: Any) -> str:
    """How a curve is read, where that was asked for."""
    readings: Sequence[str] = getattr(spec, "readings", ())
    return ",".join(readings)


def _images(selection: Selection) -> list[str]:
    if selection.limit is not None:
        return [f"--limit {selection.limit}"]
    return [f"--index {' '.join(map(str, selection.indices))}"] if selection.indices else []


def _settings(what: Asked) -> list[str]:
    several = len(what.names) > 1
    pairs = [f"{attack}.{name}={value}" if several else f"{name}={value}"
             for attack, settings in what.changed().items() for name, value in settings.items()]
    return [f"--set {' '.join(map(shlex.quote, pairs))}"] if pairs else []
