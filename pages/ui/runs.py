"""A run outside the page: as a file that can be opened again, as an address, as a command line."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from engine.attacks import ATTACKS
from engine.attacks.spec import AttackSpec, spec_from_facts
from engine.disk import read_json
from engine.errors import EngineError
from engine.experiments import defended
from engine.experiments.onepicture.explored import Explored
from engine.experiments.sources import Source, opened
from engine.experiments.units import Unit, further_of
from engine.params import params_of
from engine.work import specs
from engine.work.kinds import Task
from pages.ui import defending
from pages.ui.controls import SCALES


@dataclass(frozen=True)
class Settings:
    """What the sidebar says; `company` numbers the images of the batch that the picture was attacked in, where that is
    to be repeated to the last digit, and `further` the attacker's further images, where they were not those that belong
    to the company."""

    source: Source
    model: str
    attack: AttackSpec
    device: str
    company: tuple[int, ...] = ()
    further: tuple[int, ...] = ()


def of_unit(unit: Unit, device: str) -> Settings:
    """What shows the unit's picture as it came out there; raises EngineError where its data are not here."""
    usual = further_of(unit.seen, unit.indices, unit.attack) if unit.further else ()
    return Settings(unit.source, unit.model, unit.attack, device, () if unit.shown is None else unit.indices,
                    () if unit.further == usual else unit.further)


def to_json(settings: Settings, explored: Explored) -> str:
    """A run as a file."""
    return json.dumps({"source": asdict(settings.source), "model": settings.model, "device": settings.device,
                       "company": settings.company, "further": settings.further, **specs.to_json(explored)},
                      indent=2, ensure_ascii=False) + "\n"


def address_of(data: bytes) -> dict[str, str]:
    """The address of the run in a file made by `to_json`; raises EngineError."""
    try:
        facts = read_json(data)
    except EngineError as error:
        raise EngineError(f"{_NO_RUN}: {error}; {_CHOOSE}") from None
    return address_of_facts(facts)


def address_of_facts(facts: Any) -> dict[str, str]:
    """The address of the run that a saved file's facts describe; raises EngineError."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    if (error := best_match(Draft202012Validator(SAVED_RUN).iter_errors(facts))) is not None:
        where = error.json_path.removeprefix("$.").removeprefix("$") or "it"
        raise EngineError(f"{_NO_RUN}: {where} {_wanted(error.validator, error.validator_value)}; {_CHOOSE}")
    run, classes = facts["run"], facts["run"]["classes"]
    spec = spec_from_facts(run)
    if spec.target is not None and spec.target >= len(classes):
        raise EngineError(f"{_NO_RUN}: its target is class {spec.target}, and there are {len(classes)}; {_CHOOSE}")
    source = Source(**{name: value for name, value in facts["source"].items()
                       if name in SAVED_RUN["properties"]["source"]["properties"]})
    source = replace(source, index=int(source.index), frame=int(source.frame))
    return texts(Settings(source, facts["model"], spec, facts.get("device", "auto"),
                          *(tuple(map(int, facts.get(name, ()))) for name in ("company", "further"))), classes)


def about_a_picture(task: Task) -> bool:
    """Whether Explore asks for such work: all else is about whole data sets."""
    return isinstance(task.spec if isinstance(task.spec, Unit) else getattr(task.spec, "unit", None), Unit)


def address_of_task(task: Task) -> dict[str, str]:
    """Explore's address for work that is `about_a_picture`; raises EngineError where its data are not here."""
    spec = task.spec if isinstance(task.spec, Unit) else task.spec.unit
    classes = opened(spec.source.dataset, spec.source.split).classes
    return texts(of_unit(spec, task.device), classes)


_NO_RUN, _CHOOSE = "this is not a run saved by Perturbscope", "choose the .json saved below a result"


def _wanted(rule: str, value: Any) -> str:
    """What a rule of the schema asks for, in words; never what the file says, which may be anything."""
    if rule == "type":
        return f"must be {_TYPES.get(str(value), str(value))}"
    return {"required": f"must have {', '.join(value) if rule == 'required' else ''}",
            "additionalProperties": "has a setting that is not known",
            "maxLength": f"is longer than {value} characters"}.get(rule, f"does not fit ({rule}: {value})")


_TYPES = {"object": "an object", "string": "text", "integer": "a whole number", "number": "a number",
          "array": "a list"}


def _object(required: dict[str, Any], more: bool = True, **optional: Any) -> dict[str, Any]:
    """The schema of an object with these members; others are left alone where `more` is allowed."""
    return {"type": "object", "properties": {**required, **optional}, "required": list(required),
            "additionalProperties": more}


def _text(longest: int = 200) -> dict[str, Any]:
    return {"type": "string", "maxLength": longest}


def _whole(high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": high}


_LONGEST_PATH, _LONGEST_DRAWING = 4096, 20_000
MOST_COMPANY = 256  # images that are attacked together
MOST_FURTHER = 4096  # and that the attacker has besides
# What of a saved run is read again. Names and numbers are checked further where the page takes them from its address.
SAVED_RUN: dict[str, Any] = _object({
    "source": _object({"dataset": _text(_LONGEST_PATH), "split": _text(), "index": _whole(10**9),
                       "upload": {"type": "string", "pattern": "^([0-9a-f]{64})?$"}},
                      frame=_whole(10**6), window=_text()),
    "model": _text(_LONGEST_PATH),
    "run": _object({
        "classes": {"type": "array", "items": _text(), "minItems": 2, "maxItems": 10_000},
        "spec": _object({
            "attack": _text(), "norm": _text(), "eps": {"type": ["number", "null"]}, "seed": _whole(2**31 - 1),
            "params": {"type": "object", "maxProperties": 100, "propertyNames": _text(),
                       "additionalProperties": {"type": ["boolean", "number", "string"], "maxLength": _LONGEST_PATH}},
        }, more=False, target={"type": ["integer", "null"], "minimum": 0}, batch=_whole(10**6), numerics=_text(),
            max_queries={"type": ["integer", "null"]}, surrogate=_text(_LONGEST_PATH), mask=_text(_LONGEST_DRAWING),
            defenses=_text(_LONGEST_PATH), attacker=_text(), draws=_whole(1000)),
    }),
}, device=_text(), company={"type": "array", "items": _whole(10**9), "maxItems": MOST_COMPANY},
    further={"type": "array", "items": _whole(10**9), "maxItems": MOST_FURTHER})


def texts(settings: Settings, classes: Sequence[str]) -> dict[str, str]:
    """The settings as the page's address names them; raises EngineError where it has no controls for them."""
    source, spec = settings.source, settings.attack
    mask, _, drawing = spec.mask.partition(":")
    named = {"dataset": source.dataset, "split": source.split, "index": str(source.index), "model": settings.model,
             "attack": spec.attack, "seed": str(spec.seed), "numerics": spec.numerics,
             "device": settings.device, "surrogate": spec.surrogate, "mask": mask}
    if drawing:
        named["drawing"] = drawing
    info = ATTACKS[spec.attack].info
    if len(info.norms) > 1:  # otherwise the page has no control that would know it
        named["norm"] = spec.norm
    if info.bounded:
        scale = SCALES[spec.norm]
        named[scale.setting] = scale.text(spec.eps * scale.factor)
    if source.upload:
        named["upload"] = source.upload
    if source.frame:
        named["frame"] = str(source.frame)
    if source.window:
        named["window"] = source.window
    for name, numbers in (("company", settings.company), ("further", settings.further)):
        if numbers:
            named[name] = ".".join(map(str, numbers))
    if spec.target is not None:
        named["target"] = classes[spec.target]
    named |= defending.texts([spec], several=False)
    return {**named, **{f"set.{name}": str(value) for name, value in spec.params.items()}}


def command(settings: Settings, classes: Sequence[str]) -> str:
    """The command that repeats the run; options that have their default are left out."""
    source, spec = settings.source, settings.attack
    info = ATTACKS[spec.attack].info
    options = {"dataset": source.dataset, "split": source.split, "model": settings.model, "attack": spec.attack}
    if info.bounded:
        scale = SCALES[spec.norm]
        options["eps"] = scale.text(spec.eps * scale.factor)
    if spec.norm != info.norms[0]:
        options["norm"] = spec.norm
    if spec.surrogate:
        options["surrogate"] = spec.surrogate
    if spec.mask:
        options["mask"] = spec.mask
    if spec.target is not None:
        options["target"] = classes[spec.target]
    if spec.numerics != "fast":
        options["numerics"] = spec.numerics
    if settings.device != "auto":
        options["device"] = settings.device
    words = [f"--{name} {shlex.quote(value)}" for name, value in options.items()]
    words += defended.words([spec])
    words.insert(2, f"--index {' '.join(map(str, settings.company or [source.index]))}")
    defaults = {p.name: p.default for p in params_of(ATTACKS[spec.attack])}
    changed = [shlex.quote(f"{name}={value}") for name, value in spec.params.items() if value != defaults[name]]
    words += [f"--set {' '.join(changed)}"] if changed else []
    return " ".join(["python -m engine attack", *words, f"--seed {spec.seed}"])
