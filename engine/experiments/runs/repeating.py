"""How a run is asked for again: the command line's words, from what was asked for. Does not import torch."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.spec import AttackSpec
from engine.data import DATASETS, Dataset
from engine.errors import EngineError
from engine.experiments import defended
from engine.experiments.defending.judging import without_checks
from engine.experiments.queries.walks import QUERIES
from engine.experiments.runs.kept import Kept
from engine.experiments.runs.pictures import spec_of, sweep_in
from engine.experiments.selection import Selection
from engine.experiments.sources import opened
from engine.experiments.transfers.transfer import as_asked
from engine.params import params_of

# Of each kind of run the command that makes it.
COMMANDS = {"evaluation": "evaluate", "curves": "curve", "transfer": "transfer", "query-curve": "query-curve",
            "defend": "defend"}
_ASKING = "query-curve"  # the kind that has an option for the queries
_CHECKING = "defend"  # the kind whose command adds attacks of its own, unless it is told not to


@dataclass(frozen=True)
class Asked:
    """What long work was asked for, whatever its kind; `checks`: with the attacks that its command adds of its own,
    where it adds any."""

    dataset: str
    split: str
    indices: tuple[int, ...]
    models: tuple[str, ...]
    sources: tuple[str, ...]
    attacks: tuple[AttackSpec, ...]
    checks: bool = True

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

    @property
    def queries(self) -> int | None:
        """How often each image may be asked about, where it is that which all attacks that ask have in common."""
        limits = {spec.params.get(QUERIES) for spec in self.attacks} - {None}
        one = next(iter(limits)) if len(limits) == 1 else None
        return one if isinstance(one, int) else None

    def changed(self, without: str = "") -> dict[str, dict[str, Any]]:
        """By attack, its own settings that are not the default, but for that called `without`."""
        found: dict[str, dict[str, Any]] = {}
        for spec in self.attacks:
            own = {p.name: p.default for p in params_of(ATTACKS[spec.attack])}
            found.setdefault(spec.attack, {}).update(
                {name: value for name, value in spec.params.items() if value != own.get(name) and name != without})
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


def asked_of(kept: Kept) -> Asked | None:
    """What a run was asked for; None where this version does not know it, or it is about no sweep."""
    try:
        return _as_chosen(kept.entry.kind, asked(spec_of(kept)))
    except EngineError:
        return None


def _as_chosen(kind: str, what: Asked | None) -> Asked | None:
    """The same as somebody chose it, without the attacks that the command adds."""
    if what is None or kind != _CHECKING:
        return what
    chosen, checks = without_checks(what.attacks)
    return replace(what, attacks=chosen, checks=checks)


def split_of(kept: Kept) -> Dataset | None:
    """The split that a run's images come from, where it is here. Of an imported run nothing is opened: it may name any
    folder, and nobody has checked what it says."""
    what = None if kept.imported else asked_of(kept)
    try:
        return None if what is None else opened(what.dataset, what.split)
    except EngineError:
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
    """The command that repeats a run, or the commands, a line each; "" where there is none. Options that have their
    default are left out."""
    what = _as_chosen(kind, asked(spec))
    if what is None or kind not in COMMANDS:
        return ""
    first = what.attacks[0]
    options = {"dataset": what.dataset, "split": what.split, "model": ",".join(what.models)}
    single, ensemble = as_asked(what.sources)
    if single and set(single) != set(what.models):
        options["sources"] = ",".join(single)
    if ensemble:
        options["ensemble"] = ensemble
    options["attack"] = ",".join(what.names)
    if what.budgets:
        norms = {spec.eps: NORMS[spec.norm] for spec in what.attacks}  # the first may have no budget, and another norm
        options["eps"] = ",".join(norms[eps].text(eps) for eps in what.budgets)
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
    own = QUERIES if kind == _ASKING and what.queries is not None else ""
    if own:
        options["queries"] = str(what.queries)
    words = [f"--{name} {shlex.quote(value)}" for name, value in options.items()]
    words += [*defended.words(what.attacks), *([] if what.checks else ["--no-checks"])]
    line = " ".join([f"python -m engine {COMMANDS[kind]}", *words, *_images(chosen(what)),
                     *_settings(what.changed(own)), f"--seed {','.join(map(str, what.seeds))}"])
    # A command reads a curve in one way.
    return "\n".join(f"{line} --reading {reading}" for reading in getattr(spec, "readings", ())) or line


def _images(selection: Selection) -> list[str]:
    if selection.limit is not None:
        return [f"--limit {selection.limit}"]
    return [f"--index {' '.join(map(str, selection.indices))}"] if selection.indices else []


def _settings(changed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    pairs = [f"{attack}.{name}={value}" if len(changed) > 1 else f"{name}={value}"
             for attack, settings in changed.items() for name, value in settings.items()]
    return [f"--set {' '.join(map(shlex.quote, pairs))}"] if pairs else []
