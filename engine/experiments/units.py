"""Units of work: one attack, one budget, one model, some images. What runs on many images runs on units of them, and
what is kept of a unit is its rows. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import digest
from engine.attacks import ATTACKS
from engine.attacks.rows import COLUMNS, Provenance, Rows, Tally
from engine.attacks.spec import AttackSpec, attack_of
from engine.data import Dataset
from engine.data.classmap import class_map_of
from engine.data.marks import MARKS, marked
from engine.defenses.base import defenses_from, learners
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.further import chosen_others, chosen_reference, training_split
from engine.experiments.sources import Source, picture, seen, unmarked
from engine.work.kinds import Bench, Task, kind
from engine.work.specs import canonical, from_json
from engine.work.store import Payload
from engine.zoo.registry import model_digest

if TYPE_CHECKING:
    from engine.attacks.result import AttackResult


@dataclass(frozen=True)
class Unit:
    """An attack on the images `indices` of a split (or on an upload), by name what it needs, and digests by which it is
    seen to be the same later.

    `names` are what the model calls the data set's classes, where they are called otherwise; `further` numbers the
    further images that the attacker has, in the split that they come from; `reference` is the digest of the clean
    images from which defenses learn, where they do. `shown` is the place among the images of the one that somebody
    looks at, where all are attacked together for the sake of the last digits. `frame` and `window` are those of the
    upload's Source.
    """

    dataset: str
    split: str
    indices: tuple[int, ...]
    model: str
    attack: AttackSpec
    images: str
    weights: str
    upload: str = ""
    surrogates: tuple[str, ...] = ()
    further: tuple[int, ...] = ()
    others: str = ""
    mask: str = ""
    reference: str = ""
    files: tuple[tuple[str, str], ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    shown: int | None = None
    frame: int = 0
    window: str = ""

    def canonical(self) -> dict[str, Any]:
        """The digests decide, not the names: an image is the same in whatever folder it lies."""
        return {"attack": canonical(self.attack), "images": self.images, "model": self.model, "weights": self.weights,
                "surrogates": list(self.surrogates), "others": self.others, "mask": self.mask,
                "files": dict(self.files), "names": dict(self.names),
                **({"reference": self.reference} if self.reference else {}),
                **({} if self.shown is None else {"shown": self.shown})}

    @property
    def source(self) -> Source:
        """The image that is looked at, or the first one, or the upload."""
        return Source(self.dataset, self.split, self.indices[self.shown or 0] if self.indices else 0, self.upload,
                      self.frame, self.window)

    @property
    def whole(self) -> Unit:
        """The same, whichever of its images is looked at."""
        return replace(self, shown=None)

    @property
    def seen(self) -> Dataset:
        """The split with the model's classes; raises EngineError."""
        return seen(self.dataset, self.split, self.model, self.names, some=bool(self.upload))

    @property
    def title(self) -> str:
        """For people."""
        one = len(self.indices) < 2 or self.shown is not None
        what = picture(self.source).name if one else f"{self.dataset}/{self.split}"
        return f"{ATTACKS[self.attack.attack].info.title} on {what} with {self.model}"


def unit_of(source: Source, model: str, attack: AttackSpec, company: Sequence[int] = (),
            further: Sequence[int] = ()) -> Unit:
    """That attack on that picture, as they are now; raises EngineError for what can be seen without computing.

    `company` numbers the images of a batch, the picture among them, that are attacked together: networks round
    differently for other batches, and this is how the picture came out in that one. `further` are the attacker's
    further images there (default: those that belong to the images attacked).
    """
    chosen = picture(source)
    if (reason := unmarked(attack.mask, chosen)) is not None:
        raise EngineError(f"{reason}; choose another picture, or another part that may change")
    if len(company) > attack.batch:
        raise EngineError(f"{len(company)} images cannot be attacked together in batches of {attack.batch}")
    if not source.upload:
        unit = units_of(source.dataset, source.split, company or [source.index], model, attack,
                        further=further or None)[0]
        return unit if not company else replace(unit, shown=unit.indices.index(source.index))
    dataset = seen(source.dataset, source.split, model, some=True)
    common = common_of(dataset, source.dataset, model, attack, further_of(dataset, [], attack))
    return replace(common, images=chosen.digest, upload=source.upload, frame=source.frame, window=source.window)


def units_of(dataset: str, split: str, indices: Sequence[int], model: str, attack: AttackSpec,
             names: Sequence[tuple[str, str]] = (), further: Sequence[int] | None = None,
             size: int | None = None) -> list[Unit]:
    """The units of an attack on the images `indices` of a split, a batch each, or `size` images where that is less, in
    that order; raises EngineError.

    The `further` images that the attacker has are the same for all (default: those that belong to `indices`).
    """
    chosen = seen(dataset, split, model, names)
    if further is None:
        further = further_of(chosen, indices, attack)
    common = common_of(chosen, dataset, model, attack, further)
    size = attack.batch if size is None else min(size, attack.batch)
    return [_on(indices[start:start + size], common, chosen) for start in range(0, len(indices), size)]


def further_of(dataset: Dataset, indices: Sequence[int], attack: AttackSpec) -> tuple[int, ...]:
    """The numbers of the further images of an attack on the images `indices`; raises EngineError."""
    each = ATTACKS[attack.attack].info.others
    return chosen_others(dataset, indices, each)[1] if each else ()


def common_of(dataset: Dataset, name: str, model: str, attack: AttackSpec, further: Sequence[int]) -> Unit:
    """What all units of a run have in common: a unit without images."""
    class_map = class_map_of(dataset)
    return Unit(
        name, dataset.split, (), model, attack, "", model_digest(model),
        surrogates=tuple(model_digest(other.strip()) for other in attack.surrogate.split(",") if other),
        further=tuple(further),
        others=training_split(dataset).digest_of(further) if further else "",
        reference=reference_digest(dataset) if learners(defenses_from(attack.defenses)) else "",
        files=tuple(attack_of(attack).files().items()),
        names=() if class_map.trivial else tuple(class_map.names.items()),
    )


def reference_digest(dataset: Dataset) -> str:
    """Identifies the clean images from which defenses learn that stand before a model for `dataset`'s split."""
    pool, chosen = chosen_reference(dataset)
    return pool.digest_of(chosen)


def _on(indices: Sequence[int], common: Unit, dataset: Dataset) -> Unit:
    """The unit on these images of `dataset`."""
    return replace(common, indices=tuple(indices), images=dataset.digest_of(indices),
                   mask=_mask_digest(common.attack.mask, dataset, indices))


def _mask_digest(mask: str, dataset: Dataset, indices: Sequence[int]) -> str:
    """Identifies what is marked on the images; the other masks follow from image and model."""
    if mask not in MARKS:
        return ""
    known = [shape for index in indices if (shape := marked(mask, dataset, index)) is not None]
    if len(known) < len(indices):
        raise EngineError(f"nobody marked {MARKS[mask].words} on some of these images; choose others, or another mask")
    return digest.of_arrays(*known)


def unchanged(unit: Unit) -> Unit:
    """`unit`, if what it names is still what it was when it was asked for; raises EngineError."""
    if unit.upload:
        now = unit_of(unit.source, unit.model, unit.attack)
    else:
        dataset = unit.seen
        common = common_of(dataset, unit.dataset, unit.model, unit.attack, unit.further)
        now = replace(_on(unit.indices, common, dataset), shown=unit.shown)
    if now != unit:
        raise EngineError("the images or the model have changed since this was asked for; ask for it again")
    return unit


def payload_of(rows: Rows) -> Payload:
    """Rows as they are kept."""
    facts = {"spec": asdict(rows.spec), "provenance": asdict(rows.provenance), "classes": list(rows.classes),
             "tally": asdict(rows.tally), "seconds": rows.seconds}
    names = {"identities": np.array(rows.identities), "digests": np.array(rows.digests)}
    return Payload(facts, {**names, **{name: getattr(rows, name) for name in COLUMNS}})


def rows_of(payload: Payload) -> Rows:
    """The rows that `payload_of` wrote."""
    facts, arrays = payload.facts, payload.arrays
    return Rows(spec=from_json(AttackSpec, facts["spec"]), provenance=from_json(Provenance, facts["provenance"]),
                classes=tuple(facts["classes"]), identities=tuple(arrays["identities"].tolist()),
                digests=tuple(arrays["digests"].tolist()), tally=from_json(Tally, facts["tally"]),
                seconds=facts["seconds"], **{name: arrays[name] for name in COLUMNS})


LEARNED = "learned_"  # how the names begin of what an attack learned


def learned_arrays(learned: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What an attack learned, under the names it has in payloads and files."""
    return {LEARNED + name: values for name, values in learned.items()}


def images_payload(result: AttackResult) -> Payload:
    """The images of a result as they are kept."""
    return Payload({}, {"adversarial": result.adversarial, **learned_arrays(result.trace.learned)})


def images_of(payload: Payload) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The adversarial images that `images_payload` wrote, and what was learned, under its names."""
    learned = dict(payload.arrays)
    return learned.pop("adversarial"), learned


# ---- kinds of work


@kind("attack", Unit, reads=rows_of)
def _attack(unit: Unit, bench: Bench) -> Payload:
    """The rows of a unit."""
    return payload_of(attacked(unit, bench).rows)


@kind("images", Unit, reads=images_of)
def _images(unit: Unit, bench: Bench) -> Payload:
    """The adversarial images [N, C, H, W] of a unit and what was learned for them, by the name "learned_...". The rows
    are kept as well."""
    result = attacked(unit, bench)
    bench.keep(rows_task(unit, bench.device), payload_of(result.rows))
    return images_payload(result)


def attacked(unit: Unit, bench: Bench, keep_steps: bool = False) -> AttackResult:
    """The whole result of a unit, computed here and now; raises EngineError and Cancelled."""
    bench.progress.report(0.0, "loading PyTorch and the model")
    load_libraries()
    from engine.experiments.attacking import attack_unit

    return attack_unit(unit, bench, keep_steps)


def rows_task(unit: Unit, device: str = "auto") -> Task:
    """The job whose payload `rows_of` turns into the rows of the unit."""
    return Task("attack", unit, unit.title, device)


def images_task(unit: Unit, device: str = "auto") -> Task:
    """The job that gives the adversarial images of the unit."""
    return Task("images", unit, f"images of {unit.title}", device)
