"""What is known of attacked images, a row an image, and everything that is counted from rows.

Runs in pieces give the rows of the whole: every number and every warning is a function of rows and of what adds up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from engine import digest
from engine.attacks.spec import AttackSpec
from engine.metrics.rates import interval


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from."""

    model: str
    model_digest: str
    device: str
    versions: dict[str, str]
    batches: tuple[int, ...]
    surrogate_digest: str = ""
    mask_digest: str = ""
    others_digest: str = ""
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tally:
    """What a run warns of, in numbers that add up: gradients that were 0 everywhere or held NaN or infinity, and of
    how many images each note speaks. `said` are lines that are true of every piece of a run, or of none."""

    zero_gradients: int = 0
    bad_gradients: int = 0
    notes: Mapping[str, int] = field(default_factory=dict)
    said: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """N attacked images in columns. Logits [N, K] come from the unmodified model, behind its defenses where it has any,
    for the clean image, the adversarial one and that after rounding to 8 bits, as a PNG would keep it.

    `identities` name the images, `digests` are those of their values. A defended model may refuse an image: it then
    predicts nothing (-1, logits NaN), which is neither right nor wrong. A refused adversarial image is no success, for
    it got no wrong answer; a refused clean one is not classified correctly, so nothing is attacked there; and none
    counts as accurate. `refusals` [N] counts, of the attack's `queries`, those that were refused. `success` counts only
    where the clean prediction was right (`attacked`). Norms are in [0,1] intensity; `l0` counts pixels that differ,
    whatever the number of channels. Arrays are read-only; what is counted from them is counted once.
    """

    spec: AttackSpec
    provenance: Provenance
    classes: tuple[str, ...]
    identities: tuple[str, ...]
    digests: tuple[str, ...]
    labels: np.ndarray
    logits_clean: np.ndarray
    logits_adversarial: np.ndarray
    logits_8bit: np.ndarray
    refused_clean: np.ndarray
    refused_adversarial: np.ndarray
    refused_8bit: np.ndarray
    linf: np.ndarray
    l2: np.ndarray
    l0: np.ndarray
    queries: np.ndarray
    gradients: np.ndarray
    refusals: np.ndarray
    tally: Tally
    seconds: float

    def __post_init__(self) -> None:
        lock(self)

    @cached_property
    def predicted_clean(self) -> np.ndarray:
        return _locked(predicted(self.logits_clean, self.refused_clean))

    @cached_property
    def predicted_adversarial(self) -> np.ndarray:
        return _locked(predicted(self.logits_adversarial, self.refused_adversarial))

    @cached_property
    def predicted_8bit(self) -> np.ndarray:
        return _locked(predicted(self.logits_8bit, self.refused_8bit))

    @cached_property
    def attacked(self) -> np.ndarray:
        """The images that count: classified correctly before, and not of the target class already. Bool [N]."""
        right = self.predicted_clean == self.labels
        return _locked(right if self.spec.target is None else right & (self.labels != self.spec.target))

    def _reached(self, predicted: np.ndarray) -> np.ndarray:
        moved = predicted != self.labels if self.spec.target is None else predicted == self.spec.target
        return _locked(self.attacked & moved & (predicted >= 0))

    @cached_property
    def success(self) -> np.ndarray:
        """Whether the attack reached its goal, bool [N]; False where `attacked` is False."""
        return self._reached(self.predicted_adversarial)

    @cached_property
    def success_8bit(self) -> np.ndarray:
        return self._reached(self.predicted_8bit)

    @property
    def open(self) -> np.ndarray:
        """The images whose prediction could be driven off: all that have one, or those not taken for the target class
        already."""
        return ~self.refused_clean & (self.spec.target is None or self.predicted_clean != self.spec.target)

    @property
    def fooled(self) -> np.ndarray:
        """Whether the prediction, right or not, was driven elsewhere, or to the target: what the fooling rate of the
        papers on universal perturbations counts, over those that are `open`. Bool [N]."""
        then = self.predicted_adversarial
        driven = then != self.predicted_clean if self.spec.target is None else then == self.spec.target
        return self.open & driven & (then >= 0)

    @property
    def data_digest(self) -> str:
        """Identifies the images and their classes."""
        return digest.of_spec({"images": self.digests, "labels": self.labels.tolist()})

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know besides, one line each."""
        return (*self.tally.said, *self._warnings())

    def _warnings(self) -> Iterator[str]:
        total = len(self.labels)
        yield from troubles(int(self.gradients.sum()), self.tally.zero_gradients, self.tally.bad_gradients)
        for text, count in self.tally.notes.items():
            yield f"{count} of {total} images: {text}"
        if lost := int((self.success & ~self.success_8bit).sum()):
            yield f"{lost} of {int(self.success.sum())} successes vanish when the image is saved with 8 bits"
        if refused := int(self.refused_adversarial.sum()):
            yield f"{refused} of {total} adversarial images got no answer: the defended model refused them"
        if not self.attacked.any():
            yield "no image was classified correctly before the attack, so there was nothing to succeed on"

    def summary(self) -> dict[str, Any]:
        """The numbers of the command line's contract, JSON-able."""
        attacked, fooled, open_ = int(self.attacked.sum()), int(self.fooled.sum()), int(self.open.sum())
        return {
            "n": len(self.labels),
            "accuracy_clean": float((self.predicted_clean == self.labels).mean()),
            "accuracy_adversarial": float((self.predicted_adversarial == self.labels).mean()),
            "accuracy_adversarial_8bit": float((self.predicted_8bit == self.labels).mean()),
            "attacked": attacked,
            "success_rate": float(self.success.sum() / attacked) if attacked else None,
            "success_rate_8bit": float(self.success_8bit.sum() / attacked) if attacked else None,
            "fooling_rate": fooled / open_ if open_ else None,
            "fooling_interval": list(interval(fooled, open_)),
            "fooling_of": open_,
            "linf_max": float(self.linf.max()),
            "l2_mean": float(self.l2.mean()),
            "l2_median": float(np.median(self.l2)),
            "l0_mean": float(self.l0.mean()),
            "queries_mean": float(self.queries.mean()),
            "gradients_mean": float(self.gradients.mean()),
            "refused": int(self.refusals.sum()),
            "refused_clean": int(self.refused_clean.sum()),
            "refused_adversarial": int(self.refused_adversarial.sum()),
            "refused_8bit": int(self.refused_8bit.sum()),
            "seconds": self.seconds,
            "seed": self.spec.seed,
            "eps": self.spec.eps,
            "warnings": list(self.warnings),
        }

    def facts(self) -> dict[str, Any]:
        """Summary, spec and provenance, JSON-able: enough to run it again."""
        provenance = {**asdict(self.provenance), "data_digest": self.data_digest}
        return {**self.summary(), "spec": asdict(self.spec), "provenance": provenance, "classes": list(self.classes)}


COLUMNS = tuple(f.name for f in fields(Rows) if f.type == "np.ndarray")


def sizes(clean: np.ndarray, adversarial: np.ndarray) -> dict[str, np.ndarray]:
    """The columns linf, l2 and l0 for images [N, C, H, W]."""
    change = (adversarial - clean).reshape(len(clean), -1)
    differs = (adversarial != clean).any(axis=1).reshape(len(clean), -1)
    return {"linf": np.abs(change).max(axis=1), "l2": np.linalg.norm(change.astype(np.float64), axis=1),
            "l0": differs.sum(axis=1)}


def joined(pieces: Sequence[Rows]) -> Rows:
    """The rows of a run that was made in `pieces`, in their order; the same as if it had been made in one."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    origins = [piece.provenance for piece in pieces]
    masks = [origin.mask_digest for origin in origins]
    provenance = replace(first.provenance, batches=tuple(size for origin in origins for size in origin.batches),
                         mask_digest=digest.of_spec({"pieces": masks}) if any(masks) else "")
    columns = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in COLUMNS}
    return Rows(spec=first.spec, provenance=provenance, classes=first.classes,
                identities=tuple(name for piece in pieces for name in piece.identities),
                digests=tuple(name for piece in pieces for name in piece.digests),
                tally=added([piece.tally for piece in pieces]), seconds=sum(piece.seconds for piece in pieces),
                **columns)


def added(tallies: Sequence[Tally]) -> Tally:
    """What all of them warn of together."""
    notes: Counter[str] = Counter()
    for tally in tallies:
        notes.update(tally.notes)
    return Tally(sum(t.zero_gradients for t in tallies), sum(t.bad_gradients for t in tallies), dict(notes),
                 tuple(dict.fromkeys(line for tally in tallies for line in tally.said)))


# What has become of the images, among the columns.
OUTCOME = ("logits_adversarial", "logits_8bit", "refused_adversarial", "refused_8bit", "linf", "l2", "l0")


def within(runs: Sequence[Rows], untouched: Rows) -> list[Rows]:
    """The worst case within each budget, from `runs` at ascending eps and from the images as they are (`untouched`).

    The attacker may use less than the budget, and uses what works: an image is what fooled the model at the smallest
    eps, and stays as it is where nothing has yet. So accuracy cannot rise with eps. What was spent stays each run's
    own.
    """
    best = {name: getattr(untouched, name).copy() for name in OUTCOME}
    fooled, found = np.zeros(len(untouched.labels), bool), []
    for run in runs:
        run = replace(run, logits_clean=untouched.logits_clean, refused_clean=untouched.refused_clean)
        new = run.success & ~fooled
        for name, column in best.items():
            column[new] = getattr(run, name)[new]
        fooled |= new
        found.append(replace(run, **{name: column.copy() for name, column in best.items()}))
    return found


def troubles(total: int, zero: int, bad: int, when: str = "") -> Iterator[str]:
    """What to tell the user of gradients that were of no use."""
    if zero:
        yield f"{when}{zero} of {total} gradients were zero everywhere: the attack could not see which way to go"
    if bad:
        yield f"{when}{bad} of {total} gradients held NaN or infinity; those entries were taken as 0"


def predicted(logits: np.ndarray, refused: np.ndarray) -> np.ndarray:
    """The classes [N] of logits [N, K]; -1 where the model refused to answer."""
    return np.where(refused, -1, logits.argmax(axis=1))


def _locked(values: np.ndarray) -> np.ndarray:
    values.setflags(write=False)
    return values


def lock(instance: object) -> None:
    """Make the arrays of a data class read-only, as it is kept and shown more than once."""
    for value in vars(instance).values():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
