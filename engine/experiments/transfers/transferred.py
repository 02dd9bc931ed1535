"""Who fools whom, as it is read from the rows of a transfer. Does not import torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.attacks.rows import Rows
from engine.attacks.spec import AttackSpec
from engine.experiments import defended
from engine.experiments.transfers.transfer import Transfer, members
from engine.metrics.rates import Share

if TYPE_CHECKING:
    import pandas

RESAMPLED = 1000  # times, for the interval of a mean over pairs that share their images


class Relation(Enum):
    """What the target is to the source: the very model, one of its ensemble, or one that the attacker never saw."""

    ITSELF = "white-box"
    MEMBER = "in the ensemble"
    OTHER = "transfer"


@dataclass(frozen=True)
class Cell:
    """One source and one target. `fooled` is counted over the images that the target classified right before, `both`
    over those that all models of the source classified right, too (None: what they said is not known)."""

    source: str
    target: str
    relation: Relation
    fooled: Share
    both: Share | None


@dataclass(frozen=True)
class Everyone:
    """Made on one source: the numbers of the `rows` that fool every target, of the `of` that every target classified
    right before."""

    source: str
    rows: tuple[int, ...]
    of: int

    @property
    def share(self) -> Share:
        return Share(len(self.rows), self.of)


@dataclass(frozen=True)
class Mean:
    """The mean of the success in `pairs` pairs, with the 95 % interval over other images of the same kind."""

    rate: float | None
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Matrix:
    """One attack: `cells` are rows by source, columns by target; `elsewhere` is the mean over the targets that the
    attacker never saw: off the diagonal; `defended` is what is said besides of targets behind defenses."""

    attack: AttackSpec
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    elsewhere: Mean
    everyone: tuple[Everyone, ...]
    defended: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pairs(self) -> list[Cell]:
        """All cells, source by source."""
        return [cell for row in self.cells for cell in row]

    def summary(self) -> dict[str, Any]:
        """JSON-able."""
        def table(value: Any) -> list[list[Any]]:
            return [[value(cell) for cell in row] for row in self.cells]

        spec = self.attack
        return {
            "attack": spec.attack, "eps": spec.eps, "norm": spec.norm, "seed": spec.seed, "params": dict(spec.params),
            "sources": list(self.sources), "targets": list(self.targets),
            "success": table(lambda cell: cell.fooled.rate),
            "low": table(lambda cell: cell.fooled.interval[0]),
            "high": table(lambda cell: cell.fooled.interval[1]),
            "fooled": table(lambda cell: cell.fooled.counted),
            "counted": table(lambda cell: cell.fooled.of),
            "both_right": table(lambda cell: None if cell.both is None else cell.both.facts()),
            "white_box": table(lambda cell: cell.relation is Relation.ITSELF),
            "member": table(lambda cell: cell.relation is Relation.MEMBER),
            "off_diagonal": {"mean": self.elsewhere.rate, "low": self.elsewhere.low, "high": self.elsewhere.high,
                             "pairs": self.elsewhere.pairs},
            "fools_all": [{"source": one.source, **one.share.facts(), "rows": list(one.rows)} for one in self.everyone],
            **self.defended,
        }


def wide(found: Sequence[Matrix]) -> pandas.DataFrame:
    """The matrices one below the other, a row a source and a column a target; None where nothing was counted."""
    import pandas

    attacks = [matrix.attack for matrix in found]
    return pandas.DataFrame([{**_named_by(matrix.attack, attacks), "source": source,
                              **{cell.target: cell.fooled.rate for cell in row}}
                             for matrix in found for source, row in zip(matrix.sources, matrix.cells, strict=True)])


def long(found: Sequence[Matrix]) -> pandas.DataFrame:
    """A row a cell, with all that is known of it."""
    import pandas

    attacks = [matrix.attack for matrix in found]
    return pandas.DataFrame([{**_named_by(matrix.attack, attacks), **_cell_facts(cell)}
                             for matrix in found for cell in matrix.pairs])


def _named_by(attack: AttackSpec, others: Sequence[AttackSpec]) -> dict[str, Any]:
    return {"attack": attack.attack, "eps": attack.eps, "norm": attack.norm, "seed": attack.seed,
            **defended.columns(attack, others)}


def _cell_facts(cell: Cell) -> dict[str, Any]:
    low, high = cell.fooled.interval
    both = cell.both or Share(0, 0)
    return {"source": cell.source, "target": cell.target, "relation": cell.relation.value,
            "success": cell.fooled.rate, "low": low, "high": high, "fooled": cell.fooled.counted,
            "counted": cell.fooled.of, "success_both_right": both.rate, "both_right": both.of}


def matrices(transfer: Transfer, runs: Sequence[Rows | None]) -> list[Matrix]:
    """A matrix for each attack, of the rows there are so far: None where there are none yet."""
    return [_matrix(transfer, attack, runs) for attack in range(len(transfer.attacks))]


def _matrix(transfer: Transfer, attack: int, runs: Sequence[Rows | None]) -> Matrix:
    rows = [[runs[transfer.run(attack, source, target)] for target in range(len(transfer.targets))]
            for source in range(len(transfer.sources))]
    cells = tuple(tuple(_cell(name, transfer.targets, place, own) for place in range(len(own)))
                  for name, own in zip(transfer.sources, rows, strict=True))
    unseen = [one for names, own in zip(cells, rows, strict=True) for cell, one in zip(names, own, strict=True)
              if cell.relation is Relation.OTHER and one is not None]
    return Matrix(transfer.attacks[attack], transfer.sources, transfer.targets, cells, _mean(unseen),
                  tuple(_everyone(name, own) for name, own in zip(transfer.sources, rows, strict=True)),
                  _defended(transfer.attacks[attack], rows))


def _defended(attack: AttackSpec, rows: Sequence[Sequence[Rows | None]]) -> dict[str, Any]:
    """What `defended.facts` says of each run, as tables; nothing of bare targets."""
    if not attack.defenses:
        return {}
    known = [[{} if one is None else defended.facts(one) for one in own] for own in rows]
    return {**defended.named(attack), **{name: [[one.get(name) for one in own] for own in known]
                                         for name in ("accuracy_clean_defended", "refused", "seconds_per_query")}}


def _cell(source: str, targets: Sequence[str], place: int, own: Sequence[Rows | None]) -> Cell:
    """`own` are the rows of every target that was shown what was made on `source`."""
    rows, target = own[place], targets[place]
    relation = relation_of(source, target)
    if rows is None:
        return Cell(source, target, relation, Share(0, 0), None)
    known = dict(zip(targets, own, strict=True))
    makers = [known.get(member) for member in members(source)]
    both = None
    if None not in makers:
        right = np.logical_and.reduce([rows.attacked, *(one.attacked for one in makers if one is not None)])
        both = Share(int((rows.success & right).sum()), int(right.sum()))
    return Cell(source, target, relation, Share(int(rows.success.sum()), int(rows.attacked.sum())), both)


def relation_of(source: str, target: str) -> Relation:
    """What the target is to the source."""
    if target == source:
        return Relation.ITSELF
    return Relation.MEMBER if target in members(source) else Relation.OTHER


def _everyone(source: str, own: Sequence[Rows | None]) -> Everyone:
    known = [rows for rows in own if rows is not None]
    if not known:
        return Everyone(source, (), 0)
    right = np.logical_and.reduce([rows.attacked for rows in known])
    fooled = right & np.logical_and.reduce([rows.success for rows in known])
    return Everyone(source, tuple(np.flatnonzero(fooled).tolist()), int(right.sum()))


def _mean(runs: Sequence[Rows]) -> Mean:
    """The mean success of these pairs; its interval is of other images of the same kind: all pairs saw the same."""
    images: dict[tuple[str, int], int] = {}
    columns = [[images.setdefault(name, len(images)) for name in _named(rows)] for rows in runs]
    right, fooled = (np.zeros((len(runs), len(images)), np.float32) for _ in range(2))
    for pair, (rows, own) in enumerate(zip(runs, columns, strict=True)):
        right[pair, own], fooled[pair, own] = rows.attacked, rows.success
    counted = right.any(axis=1)
    if not counted.any():
        return Mean(None, 0.0, 1.0, 0)
    right, fooled = right[counted], fooled[counted]
    drawn = np.random.default_rng(0).multinomial(len(images), np.full(len(images), 1 / len(images)), RESAMPLED)
    low, high = np.quantile(_means(drawn.astype(np.float32), fooled, right), (0.025, 0.975))
    mean = _means(np.ones((1, len(images)), np.float32), fooled, right)
    return Mean(float(mean[0]), float(low), float(high), len(right))


def _named(rows: Rows) -> list[tuple[str, int]]:
    """Every image by its digest, and which of those with that digest it is."""
    seen: Counter[str] = Counter()
    names = []
    for name in rows.digests:
        names.append((name, seen[name]))
        seen[name] += 1
    return names


def _means(weights: np.ndarray, fooled: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The mean success [B] of pairs, for weights [B, N] of the images; pairs that count none of them are left out."""
    of = weights @ right.T
    rates = np.divide(weights @ fooled.T, of, out=np.full(of.shape, np.nan, np.float32), where=of > 0)
    known = ~np.isnan(rates)
    return np.where(known, rates, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
