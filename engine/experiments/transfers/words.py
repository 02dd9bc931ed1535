"""What a transfer found, in plain sentences, and short names for its models. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows
from engine.attacks.spec import AttackSpec
from engine.experiments.defended import front_title
from engine.experiments.transfers.alignment import Alignment, Cosine
from engine.experiments.transfers.transfer import JOINT, Transfer, members
from engine.experiments.transfers.transferred import Cell, Matrix, Relation
from engine.metrics.rates import Share
from engine.zoo.registry import reads_as_file

if TYPE_CHECKING:
    import pandas


def short(models: Sequence[str]) -> dict[str, str]:
    """A short name for each model and ensemble: without the folder that all have in common, a checkpoint by its file
    alone; the whole name where that would not tell them apart."""
    single = list(dict.fromkeys(member for model in models for member in members(model)))
    folders = {PurePath(name).parent for name in single}
    ends = {name: _end(name) if len(folders) == 1 or reads_as_file(name) else name for name in single}
    if len(set(ends.values())) < len(single):
        ends = {name: name for name in single}
    return {model: " + ".join(ends[member] for member in members(model)) for model in models}


def _end(name: str) -> str:
    return PurePath(name).stem if reads_as_file(name) else PurePath(name).name


def attack_title(spec: AttackSpec, others: Sequence[AttackSpec] = ()) -> str:
    """An attack for people, with what its targets stand behind; its seed only where `others` are the same but for
    that."""
    budget = "" if spec.eps is None else f", eps {NORMS[spec.norm].text(spec.eps, '.4g')}"
    front = f", {front_title(spec)}" if any(one.defenses for one in (spec, *others)) else ""
    seed = f", seed {spec.seed}" if len({one.seed for one in others}) > 1 else ""
    return f"{ATTACKS[spec.attack].info.title}{budget}{front}{seed}"


def readable(found: Sequence[Matrix]) -> pandas.DataFrame:
    """The matrices one below the other as a paper would have them: short names, a column a target."""
    import pandas

    attacks = [matrix.attack for matrix in found]
    names = short((*found[0].sources, *found[0].targets))
    return pandas.DataFrame([{"attack": attack_title(matrix.attack, attacks), "made on": names[source],
                              **{names[cell.target]: cell.fooled.rate for cell in row}}
                             for matrix in found for source, row in zip(matrix.sources, matrix.cells, strict=True)])


def percent(value: float) -> str:
    return f"{value:.0%}".replace("%", " %")


def within(share: Share) -> str:
    """A share with its interval."""
    low, high = share.interval
    return f"{percent(share.counted / share.of)}, 95 % interval {percent(low)} to {percent(high)}"


def sentences(matrix: Matrix) -> Iterator[str]:
    """For a reader who has never heard of transfer: what an attacker reaches who never saw the model."""
    names = short((*matrix.sources, *matrix.targets))
    unseen = [cell for cell in matrix.pairs if cell.relation is Relation.OTHER and cell.fooled.of]
    if not unseen:
        return
    worst = max(unseen, key=lambda cell: (cell.fooled.rate or 0, cell.fooled.of))
    yield (f"An attacker who has {names[worst.source]} and never saw {names[worst.target]} changes the diagnosis in "
           f"{worst.fooled.counted} of the {worst.fooled.of} images that {names[worst.target]} read correctly "
           f"({within(worst.fooled)}){_beside(matrix, worst, names)}.")
    if len(unseen) > 1:
        mean = matrix.elsewhere
        yield (f"Over the {mean.pairs} pairs of what the attacker has and a model never seen it is "
               f"{percent(mean.rate or 0)} on average (95 % interval {percent(mean.low)} to {percent(mean.high)}).")
    most = max(matrix.everyone, key=lambda one: (len(one.rows), one.of))
    if len(matrix.targets) > 1 and most.of:
        yield (f"Of the {most.of} images that all models read correctly, {len(most.rows)} made on "
               f"{names[most.source]} fool all of them at once.")


def _beside(matrix: Matrix, cell: Cell, names: Mapping[str, str]) -> str:
    """What the same attack reaches on the model itself."""
    own = next((one.fooled for one in matrix.pairs
                if one.relation is Relation.ITSELF and one.source == cell.target and one.fooled.of), None)
    return "" if own is None else f"; who has {names[cell.target]} itself, in {own.counted} of {own.of}"


def remarks(asked: Transfer, runs: Sequence[Rows]) -> Iterator[str]:
    """What the runs warn of, each with the pair that it is about."""
    names = short((*asked.sources, *asked.targets))
    for attack, spec in enumerate(asked.attacks):
        for source, maker in enumerate(asked.sources):
            for target, model in enumerate(asked.targets):
                for line in runs[asked.run(attack, source, target)].warnings:
                    yield (f"{attack_title(spec, asked.attacks)}, made on {names[maker]}, shown to {names[model]}: "
                           f"{line}")


def explained(alignment: Alignment, matrix: Matrix | None) -> str:
    """Why the gradients' alignment says who fools whom, with what was measured; empty where nothing was."""
    pairs = [(alignment.mean(*pair), alignment.models[pair[0]], alignment.models[pair[1]])
             for pair in alignment.pairs]
    known = [(cosine, one, other) for cosine, one, other in pairs if cosine.mean is not None]
    if not known:
        return ""
    names = short(alignment.models)
    why = ("An attack follows the source's gradient: the more another model's gradient points the same way, the more "
           "of the attack works there, too.")
    most = max(known, key=lambda pair: pair[0].mean or 0)
    least = min(known, key=lambda pair: pair[0].mean or 0)
    if len(known) == 1:
        return (f"{why} Between {names[most[1]]} and {names[most[2]]} the cosine is {_cosine(most[0])}: 1 would be the "
                "same direction, 0 none in common.")
    return (f"{why} Most alike are {names[most[1]]} and {names[most[2]]}, with a cosine of {_cosine(most[0])}"
            f"{_fooling(matrix, most[1], most[2])}; least {names[least[1]]} and {names[least[2]]}, with "
            f"{_cosine(least[0])}{_fooling(matrix, least[1], least[2])}.")


def _cosine(cosine: Cosine) -> str:
    return f"{cosine.mean:.2f} on average (95 % interval {cosine.low:.2f} to {cosine.high:.2f})"


def _fooling(matrix: Matrix | None, one: str, other: str) -> str:
    """How often what is made on one of the two fools the other, both ways together."""
    cells = [] if matrix is None else [cell.fooled for cell in matrix.pairs if cell.fooled.of
                                       and {cell.source, cell.target} == {one, other} and JOINT not in cell.source]
    if not cells:
        return ""
    rates = [share.counted / share.of for share in cells]
    return f", which fool each other in {percent(sum(rates) / len(rates))}"
