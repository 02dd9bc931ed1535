"""Two or more runs beside each other: what differs in what was asked for, and in what came of it.

All of it is a function of specs and of rows. Does not import torch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import digest
from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows
from engine.errors import EngineError
from engine.experiments.evaluation.evaluate import AFTER, matrix
from engine.metrics.rates import Share

if TYPE_CHECKING:
    import pandas

_FEW = 12  # values that are written out; of more, how many there are, the first and last, and a digest of all
_DIGEST = re.compile(r"[0-9a-f]{64}")


# ---- specs


@dataclass(frozen=True)
class Difference:
    """A setting, and what each of the compared says of it; "" where one has no such setting."""

    setting: str
    values: tuple[str, ...]


def differences(specs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """The settings in which specs (as JSON) differ, in their order. Attacks are compared by their names, wherever in a
    list they stand."""
    flat = [dict(settings(spec)) for spec in specs]
    names = dict.fromkeys(name for own in flat for name in own)
    rows = (Difference(name, tuple(own.get(name, "") for own in flat)) for name in names)
    return [row for row in rows if len(set(row.values)) > 1]


def settings(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Everything in a spec (as JSON), as a name and a text."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from settings(inner, f"{place} {name}".strip())
    elif isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
        for name, inner in _by_name(value):
            yield from settings(inner, f"{place} {name}".strip())
    else:
        yield place, _text(value)


def _by_name(listed: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """What is listed under the attack it is about, with all values that a setting takes there, or else by number."""
    if not all(isinstance(one, Mapping) and isinstance(one.get("attack"), str) for one in listed):
        yield from ((str(number), one) for number, one in enumerate(listed, 1))
        return
    attacks: dict[str, dict[str, list[str]]] = {}
    for one in listed:
        known = attacks.setdefault(one["attack"], {})
        for name, text in settings({**one, "eps": _size(one)}):
            if name != "attack":
                known.setdefault(name, []).append(text)
    for attack, known in attacks.items():
        yield attack, {name: list(dict.fromkeys(texts)) for name, texts in known.items()}


def _size(spec: Mapping[str, Any]) -> Any:
    """An attack's eps as people write it."""
    eps, norm = spec.get("eps"), str(spec.get("norm"))
    return NORMS[norm].text(eps) if isinstance(eps, int | float) and norm in NORMS else eps


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        texts = [_text(one) for one in value]
        if len(texts) > _FEW:
            return f"{len(texts)}: {texts[0]}, {texts[1]}, ... {texts[-1]} ({digest.of_spec({'all': texts})[:8]})"
        return ", ".join(texts)
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value[:12] if isinstance(value, str) and _DIGEST.fullmatch(value) else str(value)


# ---- numbers


def accuracy(rows: Rows, predicted: np.ndarray) -> Share:
    """Of all images those that the prediction is right for."""
    return Share(int((predicted == rows.labels).sum()), len(rows.labels))


def success(rows: Rows) -> Share:
    """Of the images that could be attacked those on which the attack reached its goal."""
    return Share(int(rows.success.sum()), int(rows.attacked.sum()))


def readings(runs: Sequence[Rows], names: Sequence[str] = ()) -> list[str]:
    """How each run is to be read. Where the same was asked for more than once, the runs are readings of it in the order
    of `names`, or else numbered."""
    seen: Counter[tuple[str, str]] = Counter()
    places = []
    for rows in runs:
        asked = rows.provenance.model, repr(rows.spec)
        places.append(seen[asked])
        seen[asked] += 1
    if not names and not any(places):
        return [""] * len(runs)
    return [names[place] if place < len(names) else str(place + 1) for place in places]


def overview(runs: Sequence[Rows], names: Sequence[str] = ()) -> pandas.DataFrame:
    """A row a run: what was done to what, and what came of it; shares with their 95 % intervals. `names` are those of
    the `readings`."""
    import pandas

    return pandas.DataFrame([_line(rows, reading) for rows, reading in zip(runs, readings(runs, names), strict=True)])


def _line(rows: Rows, reading: str) -> dict[str, Any]:
    spec = rows.spec
    clean, attacked = accuracy(rows, rows.predicted_clean), accuracy(rows, rows.predicted_adversarial)
    saved, reached = accuracy(rows, rows.predicted_8bit), success(rows)
    return {"model": rows.provenance.model, "attack": spec.attack,
            "eps": "" if spec.eps is None else NORMS[spec.norm].text(spec.eps), "norm": spec.norm, "seed": spec.seed,
            "reading": reading,
            **{name: getattr(spec, name) for name in ("surrogate", "defenses", "mask")},
            "attacker": spec.attacker if spec.defenses else "",
            "n": len(rows.labels), "accuracy_clean": clean.rate, "accuracy_adversarial": attacked.rate,
            "low": attacked.interval[0], "high": attacked.interval[1], "accuracy_8bit": saved.rate,
            "success": reached.rate, "success_low": reached.interval[0], "success_high": reached.interval[1],
            "success_of": reached.of, "l2_mean": float(rows.l2.mean()), "linf_max": float(rows.linf.max()),
            "queries_mean": float(rows.queries.mean()), "gradients_mean": float(rows.gradients.mean())}


# ---- curves


@dataclass(frozen=True)
class Point:
    """Accuracy on so many images at one eps, with its 95 % interval."""

    eps: float
    accuracy: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Line:
    """Accuracy against eps for one attack with its settings on one model; `points` by eps, from the clean images on."""

    model: str
    attack: str
    norm: str
    settings: str
    points: tuple[Point, ...]

    @property
    def name(self) -> str:
        return ", ".join(filter(None, (self.attack, self.model, self.settings)))


def curves(runs: Sequence[Rows], names: Sequence[str] = ()) -> list[Line]:
    """A line for every attack with its settings on every model that saw more than one eps, in each of its `readings`,
    which are called `names`."""
    groups: dict[tuple[str, Hashable, str], list[Rows]] = {}
    for rows, reading in zip(runs, readings(runs, names), strict=True):
        if rows.spec.eps is not None:
            groups.setdefault((rows.provenance.model, _unbounded(rows), reading), []).append(rows)
    drawn = {key: members for key, members in groups.items() if len({rows.spec.eps for rows in members}) > 1}
    told = _telling([(members[0], reading) for (_, _, reading), members in drawn.items()])
    return [_curve(members, words) for members, words in zip(drawn.values(), told, strict=True)]


def _unbounded(rows: Rows) -> Hashable:
    spec = replace(rows.spec, eps=None, params={})
    return spec.attack, repr(spec), tuple(sorted(rows.spec.params.items()))


def _curve(members: Sequence[Rows], settings: str) -> Line:
    first = members[0]
    points = {rows.spec.eps or 0.0: _point(rows.spec.eps or 0.0, accuracy(rows, rows.predicted_adversarial))
              for rows in members}
    points.setdefault(0.0, _point(0.0, accuracy(first, first.predicted_clean)))
    return Line(first.provenance.model, first.spec.attack, first.spec.norm, settings,
                tuple(points[eps] for eps in sorted(points)))


def _point(eps: float, share: Share) -> Point:
    return Point(eps, share.rate or 0.0, *share.interval, share.of)


_OTHERWISE = ("surrogate", "defenses", "mask", "attacker", "draws", "numerics")


def _telling(firsts: Sequence[tuple[Rows, str]]) -> list[str]:
    """Besides model and attack, what tells each from the others of the same model and attack; given are the first run
    of each, and its reading."""
    each = [{"seed": rows.spec.seed, "reading": reading, **{name: getattr(rows.spec, name) for name in _OTHERWISE},
             **rows.spec.params} for rows, reading in firsts]
    told = []
    for (rows, _), own in zip(firsts, each, strict=True):
        alike = [other for (one, _), other in zip(firsts, each, strict=True)
                 if (one.provenance.model, one.spec.attack) == (rows.provenance.model, rows.spec.attack)]
        differing = [name for name in own if any(other.get(name) != own[name] for other in alike)]
        told.append(", ".join(f"{name} {_text(own[name]) or 'none'}" for name in differing))
    return told


# ---- matrices


@dataclass(frozen=True, eq=False)
class Subtracted:
    """The second run's matrix less the first's: in images where both saw the same ones (`same`), else in shares of each
    true class."""

    classes: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray
    same: bool


def subtracted(first: Rows, second: Rows) -> Subtracted:
    """What is predicted of the attacked images more (or less, below 0) in `second` than in `first`; raises EngineError
    where their classes differ."""
    if first.classes != second.classes:
        raise EngineError("these runs tell different classes apart, so their matrices cannot be subtracted")
    before, after = (matrix(rows, AFTER) for rows in (first, second))
    same = first.data_digest == second.data_digest
    one, other = (_wide(m.whole if same else m.shares, len(first.classes)) for m in (before, after))
    columns = max(before.columns, after.columns, key=len)
    return Subtracted(first.classes, columns, (other - one)[:, :len(columns)], same)


def _wide(values: np.ndarray, size: int) -> np.ndarray:
    return np.pad(values, ((0, 0), (0, size + 1 - values.shape[1])))


# From the strictest to the loosest: by what runs of two results can belong together.
_ALIKE: tuple[Callable[[Rows], Hashable], ...] = (
    lambda rows: (rows.provenance.model, repr(rows.spec)),
    lambda rows: repr(rows.spec),
    lambda rows: (rows.provenance.model, rows.spec.attack, rows.spec.norm, rows.spec.eps),
    lambda rows: (rows.spec.attack, rows.spec.norm, rows.spec.eps),
    lambda rows: (rows.provenance.model, rows.spec.norm, rows.spec.eps),
    lambda rows: (rows.spec.norm, rows.spec.eps),
)


def pairs(first: Sequence[Rows], second: Sequence[Rows]) -> list[tuple[Rows, Rows]]:
    """The runs of two results that belong together: by model and all settings, or else by as much of them as tells
    them apart; of two that are alone, these."""
    for key in _ALIKE:
        ours, theirs = ({(key(rows), reading): rows for rows, reading in zip(runs, readings(runs), strict=True)}
                        for runs in (first, second))
        both = [name for name in ours if name in theirs]
        if both and len(ours) == len(first) and len(theirs) == len(second):
            return [(ours[name], theirs[name]) for name in both]
    return [(first[0], second[0])] if len(first) == len(second) == 1 else []
