"""Transfer: what was made on one model, or on several, shown to others. Does not import torch."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine import digest
from engine.attacks import ATTACKS
from engine.attacks.spec import AttackSpec, has_gradients
from engine.data.classmap import ClassMap, fits, match
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.gathered import payload_of_runs, runs_of
from engine.experiments.sources import opened
from engine.experiments.sweeps import Names, Step, Sweep, performed, sweep_of
from engine.experiments.units import Unit, images_of, images_task, rows_of, rows_task
from engine.work.kinds import Bench, Task, kind
from engine.work.store import Payload
from engine.zoo.registry import model_card, model_digest

JOINT = ","  # between the models of a source that is an ensemble
TOGETHER, OTHERS = "together", "others"  # which ensembles there can be: of all models, or for every model of all others


@dataclass(frozen=True)
class Shown:
    """The adversarial images of a unit, as every one of `targets` sees them; `weights` are the targets' digests.

    The unit's images are made on its surrogate, or else on its own model.
    """

    unit: Unit
    targets: tuple[str, ...]
    weights: tuple[str, ...]

    @property
    def source(self) -> str:
        return self.unit.attack.surrogate or self.unit.model

    def told(self, target: str) -> AttackSpec:
        """The attack as that target would be told of it: made on a surrogate, and its goal in the target's classes."""
        attack = self.unit.attack
        goal = attack.target
        if goal is not None:
            goal = classes_of(target, self.unit.model).places[goal]
        return replace(attack, target=goal, surrogate=self.source)

    def names(self, target: str) -> Names:
        """What that target calls the data set's classes."""
        return names_for(target, self.unit.model, self.unit.names)


def shown_task(shown: Shown, device: str = "auto") -> Task:
    """The job whose payload `runs_of` turns into the rows of every target, in their order."""
    return Task("shown", shown, f"{shown.unit.title}, shown to {', '.join(shown.targets)}", device)


@kind("shown", Shown, reads=runs_of)
def _shown(shown: Shown, bench: Bench) -> Payload:
    """The images are made once, whoever is shown them. What they cost is counted once: in the rows of the model that
    they were made on, as its attacker sees them, or where that is not among the targets, in those of the first."""
    unit = shown.unit
    images, _ = images_of(bench.part(0.0, 0.9).result(images_task(unit, bench.device)))
    made = rows_of(bench.result(rows_task(unit, bench.device)))
    bench.progress.report(0.9, "loading the targets")
    load_libraries()
    from engine.experiments.transfers.showing import seen_by

    runs = [made if target == unit.model else seen_by(shown, target, made, images, bench.device)
            for target in shown.targets]
    if unit.model not in shown.targets:
        runs[0] = replace(runs[0], queries=made.queries, gradients=made.gradients, refusals=made.refusals,
                          tally=made.tally, seconds=runs[0].seconds + made.seconds)
    return payload_of_runs(runs)


@dataclass(frozen=True)
class Transfer:
    """Every attack (with its budget and seed) made on every source and shown to every target, on the images `indices`
    of one split. A source is a model, or an ensemble of several with JOINT between them.

    `names` are what the first target calls the data set's classes, where it calls them otherwise; the others are
    matched to it by name, and a goal among the attacks counts its classes. `contents` identifies images, weights and
    all else that decides the rows (`transfer_of`).
    """

    dataset: str
    split: str
    indices: tuple[int, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    attacks: tuple[AttackSpec, ...]
    names: Names = ()
    contents: str = ""

    def canonical(self) -> dict[str, Any]:
        """What it is made of decides, not where that lies."""
        return {"contents": self.contents}

    @property
    def title(self) -> str:
        """For people."""
        attacks = ", ".join(dict.fromkeys(ATTACKS[spec.attack].info.title for spec in self.attacks))
        return (f"{attacks} on {len(self.indices)} images of {self.dataset}/{self.split}, from "
                f"{', '.join(self.sources)} to {', '.join(self.targets)}")

    @property
    def models(self) -> tuple[str, ...]:
        """Every model once: the targets, then what sources are made of besides."""
        return tuple(dict.fromkeys((*self.targets, *(one for source in self.sources for one in members(source)))))

    @property
    def images(self) -> tuple[str, ...]:
        """What the images are called, in their order; raises EngineError."""
        dataset = opened(self.dataset, self.split)
        return tuple(dataset.item_name(index) for index in self.indices)

    def made_on(self, source: str) -> Sweep:
        """The attacks as they are made on that source; raises EngineError."""
        model = self.targets[0] if JOINT in source else source
        attacks = tuple(replace(attack, surrogate=source if JOINT in source else "",
                                target=self._goal(attack.target, model)) for attack in self.attacks)
        return sweep_of(self.dataset, self.split, self.indices, (model,), attacks,
                        names_for(model, self.targets[0], self.names))

    def _goal(self, target: int | None, model: str) -> int | None:
        return None if target is None else classes_of(model, self.targets[0]).places[target]

    def making(self, run: int) -> tuple[Sweep, AttackSpec]:
        """What run number `run` was shown: the sweep on its source, and which of the attacks there; raises
        EngineError."""
        attack, pair = divmod(run, len(self.sources) * len(self.targets))
        sweep = self.made_on(self.sources[pair // len(self.targets)])
        return sweep, sweep.attacks[attack]

    def run(self, attack: int, source: int, target: int) -> int:
        """The number of a run, by those of its attack, source and target."""
        return (attack * len(self.sources) + source) * len(self.targets) + target

    def steps(self, device: str) -> list[Step]:
        """The work piece by piece, one attack on all sources before the next; raises EngineError."""
        weights = tuple(map(model_digest, self.targets))
        everyone = range(len(self.targets))
        plans = [self.made_on(source).plan() for source in self.sources]
        return [Step(shown_task(Shown(unit, self.targets, weights), device),
                     tuple(self.run(attack, source, target) for target in everyone), place, runs_of)
                for attack in range(len(self.attacks)) for source, plan in enumerate(plans)
                for place, unit in enumerate(plan[attack])]

    def unchanged(self) -> Transfer:
        """The same, if what it names is still what it was when it was asked for; raises EngineError."""
        if _contents(self) != self.contents:
            raise EngineError("the images or a model have changed since this was asked for; ask for it again")
        return self


def transfer_of(dataset: str, split: str, indices: Sequence[int], sources: Sequence[str], targets: Sequence[str],
                attacks: Sequence[AttackSpec], names: Names = ()) -> Transfer:
    """That transfer of images and models as they are now; raises EngineError for what can be seen without computing."""
    asked = Transfer(dataset, split, tuple(indices), tuple(map(_spelled, sources)), tuple(targets), tuple(attacks),
                     names)
    if not (asked.sources and asked.targets):
        raise EngineError("transfer needs at least one source and one target; name models")
    for what, listed in (("source", asked.sources), ("target", asked.targets)):
        if len(set(listed)) < len(listed):
            raise EngineError(f"a {what} is named twice; name each once")
    for model in asked.models:
        classes_of(model, asked.targets[0])
    for attack in asked.attacks:
        if not has_gradients(ATTACKS[attack.attack].info.knowledge):
            raise EngineError(f"{ATTACKS[attack.attack].info.title} asks the very model that it attacks; to see what "
                              "transfers, choose an attack that has a model, such as pgd or mifgsm")
        if attack.surrogate:
            raise EngineError("the sources are the surrogates here; leave the surrogate out")
    return replace(asked, contents=_contents(asked))


def ensembles(models: Sequence[str], kind: str) -> list[str]:
    """The sources that are several of these models: all TOGETHER, or for every model all OTHERS, so that it is fooled
    by what was made without it. Raises EngineError where there are too few for that."""
    least = 3 if kind == OTHERS else 2
    if len(models) < least:
        raise EngineError(f"an ensemble of {'all others' if kind == OTHERS else 'the sources'} needs {least} models at "
                          "least; name more, or leave the ensemble out")
    if kind == TOGETHER:
        return [JOINT.join(models)]
    return [JOINT.join(other for other in models if other != model) for model in models]


def as_asked(sources: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The sources that are one model, and which `ensembles` of them the others are ("": none)."""
    single = tuple(source for source in sources if JOINT not in source)
    joint = [source for source in sources if JOINT in source]
    if not joint:
        return single, ""
    return single, TOGETHER if joint == [JOINT.join(single)] else OTHERS


def members(source: str) -> tuple[str, ...]:
    """The models that a source is made of: one, or those of an ensemble."""
    return tuple(source.split(JOINT))


def _spelled(source: str) -> str:
    """The one way to write a source."""
    return JOINT.join(filter(None, map(str.strip, source.split(JOINT))))


def _contents(transfer: Transfer) -> str:
    """The digest of what decides the rows."""
    return digest.of_spec({"made": [transfer.made_on(source).contents for source in transfer.sources],
                           "targets": [[model, model_digest(model)] for model in transfer.targets]})


def classes_of(model: str, reference: str) -> ClassMap:
    """Which of `model`'s classes each of `reference`'s is; raises EngineError where they are not the same by name."""
    known, own = model_card(reference).classes, model_card(model).classes
    if len(known) != len(own) or not fits(known, own):
        raise EngineError(f"{model} tells apart {', '.join(own)}, and {reference} {', '.join(known)}; transfer needs "
                          "models with the same classes")
    return match(known, own, model)


def names_for(model: str, reference: str, names: Names) -> Names:
    """What `model` calls the data set's classes, of which `names` are what `reference` calls them."""
    named = classes_of(model, reference).names
    return tuple((data, named[name]) for data, name in names)


def transfer_task(transfer: Transfer, device: str = "auto") -> Task:
    """The long job whose payload `runs_of` turns into the rows of every run (`Transfer.run`)."""
    return Task("transfer", transfer, f"transfer: {transfer.title}", device)


@kind("transfer", Transfer, reads=runs_of)
def _transfer(transfer: Transfer, bench: Bench) -> Generator[None, None, Payload]:
    bench.progress.report(0.0, "planning")
    return payload_of_runs((yield from performed(transfer.unchanged().steps(bench.device), bench)))
