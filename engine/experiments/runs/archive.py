"""A run as one file, to be kept elsewhere or given to somebody: a zip of JSON, Parquet and plain arrays.

What comes back as such a file comes from anywhere. Nothing of it is believed: sizes are limited before anything is
read, no name in it is a path, no array is a pickle, everything is checked against what it ought to be, and the run is
kept under a key that is made from all of it and that no work here asks for, so that it is never taken for what was
computed here. Figures in it are for people and not read at all: those of an imported run are drawn from its rows.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import platform
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import IO, Any

import numpy as np

from engine import digest
from engine.attacks.rows import COLUMNS, Rows
from engine.attacks.spec import AttackSpec, spec_from_facts
from engine.disk import MAX_JSON, read_array, read_json
from engine.errors import EngineError, shortened
from engine.experiments.defending.again import Again
from engine.experiments.defending.judging import Defended, defended_of
from engine.experiments.gathered import runs_of
from engine.experiments.queries.walks import walks_of
from engine.experiments.runs.kept import ARRAYS, IMPORTED, Kept, run_kinds
from engine.experiments.runs.pictures import PICTURES, Pictures, is_pictures, name_of, table_of
from engine.work.entries import encodable
from engine.work.kinds import KINDS
from engine.work.specs import from_json, to_json
from engine.work.store import Payload, Store

SUFFIX = ".perturbscope.zip"
_FORMAT = 1
_SPEC, _FACTS, _VERSIONS, _ROWS = "spec.json", "facts.json", "versions.json", "rows.parquet"
MOST_BYTES, MOST_UNPACKED, MOST_MEMBERS = 10**9, 2 * 10**9, 5000
_RATIO, _SMALL = 100, 50 * 10**6  # by so much may a file grow when it is unpacked, beyond so many bytes
_KNOWN = re.compile(r"(?:spec|facts|versions)\.json|rows\.parquet|arrays/[A-Za-z0-9_]{1,60}\.npy"
                    r"|pictures/[0-9]{1,6}-[0-9]{1,9}\.npy|figures/[A-Za-z0-9_-]{1,80}\.(?:svg|png|csv|tex)")
_IMPORTED = "imported"  # what is said in the facts of a run that came from elsewhere
_WRONG = "this is no run exported by Perturbscope"
log = logging.getLogger(__name__)


# ---- to a file


def export(store: Store, kept: Kept, file: IO[bytes], pictures: Iterable[Pictures] = (),
           figures: Mapping[str, bytes] | None = None) -> None:
    """Write a run as a file: what was asked for, its rows (as a table for other programs, and exactly), versions, and
    the images and figures that are given. Raises EngineError."""
    entry, payload = kept.entry, store.get(kept.entry.key)
    if payload is None:
        raise EngineError(f"the run {shortened(entry.key, 20)} cannot be read; compute it again")
    about = {"format": _FORMAT, "kind": entry.kind, "title": entry.title, "name": entry.label.name,
            "note": entry.label.note, "created": entry.created, "spec": entry.spec}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, said in ((_SPEC, about), (_FACTS, _own(payload.facts)), (_VERSIONS, _versions(kept))):
            archive.writestr(name, json.dumps(said, indent=2) + "\n")
        with archive.open(_ROWS, "w") as member:
            table = io.BytesIO()
            table_of(kept).to_parquet(table, index=False)
            member.write(table.getbuffer())
        for name, values in payload.arrays.items():
            if _KNOWN.fullmatch(f"arrays/{name}.npy") and not is_pictures(name):
                _write_array(archive, f"arrays/{name}.npy", values)
        for some in pictures:
            _write_array(archive, f"pictures/{some.run}-{some.start}.npy", some.images)
        for name, data in (figures or {}).items():
            archive.writestr(f"figures/{name}", data)


def _own(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the work said, without what was added when it came from elsewhere."""
    return {name: value for name, value in facts.items() if name not in (_IMPORTED, PICTURES)}


def _write_array(archive: zipfile.ZipFile, name: str, values: np.ndarray) -> None:
    with archive.open(name, "w") as member:
        np.lib.format.write_array(member, np.ascontiguousarray(values), allow_pickle=False)


def _versions(kept: Kept) -> dict[str, Any]:
    """With what each run was computed, and with what this file was written."""
    runs = [{"model": rows.provenance.model, "device": rows.provenance.device, **rows.provenance.versions}
            for rows in kept.runs]
    return {"computed": [run for number, run in enumerate(runs) if run not in runs[:number]],
            "written": {"python": platform.python_version(), "numpy": np.__version__}}


# ---- from a file


@dataclass(frozen=True, eq=False)
class Found:
    """A run in a file, checked; `pictures` are the images that came with it."""

    kind: str
    title: str
    name: str
    note: str
    created: float
    spec: dict[str, Any]
    payload: Payload
    runs: list[Rows]
    pictures: tuple[Pictures, ...]

    @property
    def key(self) -> str:
        """Made from all that decides what is seen of it; no task has such a key."""
        arrays = {name: digest.of_arrays(values) for name, values in self.arrays().items()}
        return digest.of_spec({"kind": self.kind, "spec": self.spec, "facts": self.payload.facts,
                               "arrays": arrays}) + IMPORTED

    def arrays(self) -> dict[str, np.ndarray]:
        """All of them, by the names under which they are kept."""
        return {**self.payload.arrays, **{some.name: some.images for some in self.pictures}}


def imported(store: Store, found: Found) -> str:
    """Keep what was found in a file, beside everything else; its key. Raises EngineError where it is here already."""
    key = found.key
    if store.has(key):
        raise EngineError(f"this run was imported before: {key[:12]}")
    facts = {**found.payload.facts, _IMPORTED: {"created": found.created},
             PICTURES: [[some.run, some.start] for some in found.pictures]}
    store.put(key, found.kind, found.title, found.spec, Payload(facts, found.arrays()))
    if found.name or found.note:
        store.call(key, found.name, found.note)
    return key


def open_archive(file: IO[bytes]) -> Found:
    """The run in a file from anywhere; raises EngineError, saying what is wrong with it."""
    try:
        return _opened(file)
    except EngineError as error:
        raise EngineError(f"{_WRONG}: {error}") from None
    except OSError as error:
        raise EngineError(f"the file cannot be read ({error.strerror or error})") from None


def _opened(file: IO[bytes]) -> Found:
    _check_size(file)
    try:
        with zipfile.ZipFile(file) as archive:
            members = _members(archive)
            return _found(archive, members)
    except EngineError:
        raise
    except MemoryError:
        raise EngineError("it is too large for this machine's memory") from None
    except Exception as error:  # whatever a file that was cut short, changed or made up brings about
        log.warning("a run's file cannot be read (%s: %s)", type(error).__name__, error)
        raise EngineError(f"it is damaged or was cut short ({shortened(str(error), 80)})") from None


_END, _END_64 = b"PK\x05\x06", b"PK\x06\x07"
_END_SIZE, _LOCATOR_SIZE, _COMMENT = 22, 20, 2**16


def _check_size(file: IO[bytes]) -> None:
    """Refuse what is too large to be looked at, and a list of contents that is too long, before it is read."""
    size = file.seek(0, os.SEEK_END)
    if size > MOST_BYTES:
        raise EngineError(f"it has {size / 1e9:.1f} GB, and at most {MOST_BYTES // 10**9} are read")
    start = max(0, size - _END_SIZE - _COMMENT - _LOCATOR_SIZE)
    file.seek(start)
    tail = file.read()
    file.seek(0)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise EngineError("it is no zip file, or was cut short")
    count, length = int.from_bytes(tail[at + 10:at + 12], "little"), int.from_bytes(tail[at + 12:at + 16], "little")
    if tail[max(0, at - _LOCATOR_SIZE):at].startswith(_END_64) or tail.count(_END) > 1:
        raise EngineError("its list of contents is not one that Perturbscope writes")
    if count > MOST_MEMBERS or length > MOST_MEMBERS * 300:
        raise EngineError(f"it holds more than {MOST_MEMBERS} files")


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files in it by name, once it is known that they can be read."""
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise EngineError(f"it holds more than {MOST_MEMBERS} files")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename
        if not _KNOWN.fullmatch(name):
            raise EngineError(f"it holds '{shortened(name)}', which no such file has")
        if name in members:
            raise EngineError(f"it holds {name} twice")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise EngineError(f"{name} is a link")
        if info.flag_bits & 1:
            raise EngineError(f"{name} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise EngineError(f"{name} is packed in a way that Perturbscope does not use")
        members[name] = info
    whole, packed = (sum(getattr(info, size) for info in infos) for size in ("file_size", "compress_size"))
    if whole > min(MOST_UNPACKED, _SMALL + _RATIO * packed):
        raise EngineError(f"it would take {whole / 1e6:,.0f} MB when it is unpacked, from {packed / 1e6:,.1f}")
    if missing := {_SPEC, _FACTS, *(f"arrays/{name}.npy" for name in ARRAYS)} - members.keys():
        raise EngineError(f"it lacks {', '.join(sorted(missing))}")
    return members


def _found(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> Found:
    about, facts = (_json(archive, members[name]) for name in (_SPEC, _FACTS))
    _check(about, _ABOUT, _SPEC)
    _check(facts, _RUNS, _FACTS)
    kind = about["kind"]
    if kind not in run_kinds():
        raise EngineError(f"it is of the kind '{shortened(kind)}', and there are {', '.join(run_kinds())}; a newer "
                          "Perturbscope may know it")
    _fit(math.isfinite(about["created"]) and all(math.isfinite(run["seconds"]) for run in facts["runs"]), "times")
    arrays = {name[len("arrays/"):-len(".npy")]: _array(archive, info) for name, info in members.items()
              if name.startswith("arrays/") and not is_pictures(name[len("arrays/"):])}
    payload = Payload(_own(facts), arrays)
    spec, runs = from_json(KINDS[kind].spec, about["spec"]), _runs(payload)
    KINDS[kind].reads(payload)
    _check_walks(kind, payload, runs)
    for attack in _attacks_in(spec):
        _check_attack(attack)
    pictures = tuple(_pictures(archive, info, runs) for name, info in members.items() if name.startswith("pictures/"))
    return Found(kind, encodable(about["title"]), about["name"], about["note"], float(about["created"]), to_json(spec),
                 payload, runs, pictures)


def _json(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    if info.file_size > MAX_JSON:
        raise EngineError(f"{info.filename} has {info.file_size / 2**20:.0f} MiB, and at most {MAX_JSON // 2**20} are "
                          "read")
    try:
        return read_json(archive.read(info))
    except EngineError as error:
        raise EngineError(f"{info.filename}: {error}") from None


def _text(most: int = 500) -> dict[str, Any]:
    return {"type": "string", "maxLength": most}


def _object(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def _listed(items: Mapping[str, Any], least: int, most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**53}
_TEXTS = {"type": "object", "propertyNames": _text(), "additionalProperties": _text(4096), "maxProperties": 1000}
_ABOUT = _object({"format": {"const": _FORMAT}, "kind": _text(60), "title": _text(2000), "name": _text(100),
                  "note": _text(5000), "created": {"type": "number", "minimum": 0, "maximum": 1e12},
                  "spec": {"type": "object"}})
_RUNS = _object({"runs": _listed(_object({
    "spec": {"type": "object"}, "classes": _listed(_text(200), 2, 10_000),
    "provenance": _object({"model": _text(4096), "model_digest": _text(64), "device": _text(60), "versions": _TEXTS,
                           "batches": _listed(_COUNT, 0, 10**6)}),
    "tally": _object({"zero_gradients": _COUNT, "bad_gradients": _COUNT,
                      "notes": {"type": "object", "propertyNames": _text(2000), "additionalProperties": _COUNT},
                      "said": _listed(_text(2000), 0, 1000)}),
    "seconds": {"type": "number", "minimum": 0, "maximum": 1e12}, "n": {**_COUNT, "minimum": 1},
}), 1, 20_000)})


def _check(values: Any, schema: Mapping[str, Any], name: str) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    if (error := best_match(Draft202012Validator(schema).iter_errors(values))) is not None:
        where = error.json_path.removeprefix("$").removeprefix(".") or "it"
        wanted = ", ".join(map(str, error.validator_value)) if error.validator == "required" else error.validator_value
        raise EngineError(f"{name}: {shortened(where)} does not fit ({error.validator}: {shortened(str(wanted))})")


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        try:
            return read_array(member, info.file_size)
        except EngineError as error:
            raise EngineError(f"{info.filename} {error}") from None


def _runs(payload: Payload) -> list[Rows]:
    """The rows, once every column is what it ought to be."""
    facts, arrays = payload.facts["runs"], payload.arrays
    total, widest = sum(run["n"] for run in facts), max(len(run["classes"]) for run in facts)
    for name in COLUMNS:
        shape = (total, widest) if name.startswith("logits_") else (total,)
        _fit(arrays[name].shape == shape and arrays[name].dtype.kind in _KINDS.get(name, "iuf"), name)
    names, digests, images = (arrays[name] for name in ("identities", "digests", "images"))
    _fit(names.ndim == digests.ndim == 1 and len(names) == len(digests) and names.dtype.kind == digests.dtype.kind
         == "U" and names.itemsize <= 4 * 4096, "identities")
    _fit(images.shape == (total,) and images.dtype.kind in "iu" and images.min() >= 0 and images.max() < len(names),
         "images")
    _fit(all(encodable(name) == name for name in [*names.tolist(), *digests.tolist()]), "identities")
    runs = runs_of(payload)
    for rows in runs:
        _check_attack(rows.spec)
        size = len(rows.classes)
        _fit(rows.labels.min() >= 0 and rows.labels.max() < size, "labels")
        _fit(rows.spec.target is None or 0 <= rows.spec.target < size, "targets")
        _fit(len(set(rows.classes)) == size and all(encodable(name) == name for name in rows.classes), "classes")
        for which in ("clean", "adversarial", "8bit"):
            logits, refused = getattr(rows, f"logits_{which}"), getattr(rows, f"refused_{which}")
            _fit(bool(np.isfinite(logits[~refused]).all()), f"logits_{which}")
        for name in ("linf", "l2", "l0", "queries", "gradients", "refusals"):
            values = getattr(rows, name)
            _fit(bool(np.isfinite(values).all()) and values.min() >= 0, name)
    return runs


_KINDS = {"labels": "iu", "refused_clean": "b", "refused_adversarial": "b", "refused_8bit": "b", "l0": "iu",
          "queries": "iu", "gradients": "iu", "refusals": "iu",
          **dict.fromkeys(("logits_clean", "logits_adversarial", "logits_8bit", "linf", "l2"), "f")}


def _fit(fits: bool, what: str) -> None:
    if not fits:
        raise EngineError(f"its {what} are not what they must be")


def _check_walks(kind: str, payload: Payload, runs: list[Rows]) -> None:
    """What walks have besides rows: finds in the order of their images, and films that can be shown."""
    if kind not in ("query-curve", "defend"):
        return
    if kind == "defend":
        _check_defended(defended_of(payload))
    for walks in walks_of(payload):
        finds, films = walks.finds, walks.films
        _check_again(walks.verified, len(walks.labels))
        columns = [getattr(finds, field.name) for field in fields(finds)]
        _fit(all(column.shape == finds.image.shape == (len(column),) and column.dtype.kind in "iuf"
                 and bool(np.isfinite(column).all()) and column.min(initial=0) >= 0 for column in columns), "finds")
        _fit(finds.image.dtype.kind in "iu" and bool((np.diff(finds.image) >= 0).all())
             and finds.image.max(initial=0) < len(walks.labels), "finds")
        for film in films:
            _fit(film.frames.ndim == 4 and film.frames.shape[1] in (1, 3) and film.frames.dtype.kind == "f"
                 and bool(((film.frames >= 0) & (film.frames <= 1)).all())
                 and len(film.frames) == len(film.queries) == len(film.sizes)
                 and all(isinstance(count, int) and count >= 0 for count in film.queries)
                 and all(isinstance(size, int | float) and math.isfinite(size) for size in film.sizes), "films")


def _check_again(again: Again | None, images: int) -> None:
    """What was answered about the nearest images, where they were asked about again."""
    if again is None:
        return
    shape = len(again.queries), images
    _fit(isinstance(again.times, int) and again.times > 0
         and all(isinstance(count, int) and count > 0 for count in again.queries)
         and again.fooled.shape == again.bare.shape == again.linf.shape == again.l2.shape == shape
         and again.fooled.dtype.kind in "iu" and again.bare.dtype.kind == "b"
         and all(far.dtype.kind == "f" and bool(np.isfinite(far).all()) for far in (again.linf, again.l2)),
         "images asked again")


def _check_defended(found: Defended) -> None:
    """What a judgement of defenses has besides walks: best images asked again, what models are like unattacked, what
    detectors make of the images, and crowds of honest ones."""
    for crowd in found.crowds:
        _fit(isinstance(crowd.model, str) and isinstance(crowd.defenses, str) and crowd.refused.dtype.kind == "b"
             and crowd.refused.ndim == 1, "honest pictures")
    for run in found.known:
        for one in run.scores:
            _fit(isinstance(one.detector, str) and all(
                isinstance(value, int | float) and math.isfinite(value) for value in (one.allowed, one.threshold))
                and all(scores.shape == run.labels.shape and scores.dtype.kind == "f"
                        and bool(np.isfinite(scores).all()) for scores in (one.clean, one.attacked)),
                "detector's scores")
        _check_again(run.verified, len(run.labels))
    for face in found.faces:
        _fit(isinstance(face.model, str) and isinstance(face.defenses, str)
             and all(isinstance(name, str) for name in face.identities)
             and all(isinstance(value, int | float) and math.isfinite(value) and value > 0
                     for value in (face.bare, face.defended))
             and all(isinstance(eps, int | float) and math.isfinite(eps) and eps >= 0 for eps in face.budgets)
             and face.noisy.shape == (len(face.budgets), len(face.identities)) and face.noisy.dtype.kind in "iu",
             "models without attacks")


def _attacks_in(spec: Any) -> Iterator[AttackSpec]:
    """Every attack's spec in a spec."""
    if isinstance(spec, AttackSpec):
        yield spec
    elif is_dataclass(spec):
        for field in fields(spec):
            yield from _attacks_in(getattr(spec, field.name))
    elif isinstance(spec, tuple | list):
        for one in spec:
            yield from _attacks_in(one)


def _check_attack(spec: AttackSpec) -> None:
    """Raise EngineError for an attack that could not have been asked for here."""
    spec_from_facts({"spec": to_json(spec)})


def _pictures(archive: zipfile.ZipFile, info: zipfile.ZipInfo, runs: list[Rows]) -> Pictures:
    run, start = (int(text) for text in info.filename[len("pictures/"):-len(".npy")].split("-"))
    images = _array(archive, info)
    _fit(run < len(runs) and images.ndim == 4 and images.dtype == np.float32 and images.shape[1] in (1, 3)
         and 0 < len(images) <= len(runs[run].labels) - start, name_of(run, start))
    _fit(bool((images >= 0).all() and (images <= 1).all()), name_of(run, start))
    return Pictures(run, start, images)
