"""A run outside the page: as a file that can be opened again, as an address, as a command line."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.attacks import ATTACKS
from engine.attacks.spec import AttackSpec, spec_from_facts
from engine.errors import EngineError
from engine.experiments.explore import Source
from engine.params import params_of
from pages.ui.controls import SCALES


@dataclass(frozen=True)
class Settings:
    """What the sidebar says."""

    source: Source
    model: str
    attack: AttackSpec
    device: str


def to_json(settings: Settings, facts: dict[str, Any]) -> str:
    """A run as a file."""
    return json.dumps({"source": asdict(settings.source), "model": settings.model, "device": settings.device, **facts},
                      indent=2, ensure_ascii=False) + "\n"


def address_of(data: bytes) -> dict[str, str]:
    """The address of the run in a file made by `to_json`; raises EngineError."""
    try:
        facts = json.loads(data)
        source, model, classes = Source(**facts["source"]), str(facts["model"]), list(facts["run"]["classes"])
        spec = spec_from_facts(facts["run"])
        return texts(Settings(source, model, spec, str(facts.get("device", "auto"))), classes)
    except EngineError:
        raise
    except (ValueError, KeyError, TypeError, IndexError):
        raise EngineError("this is not a run saved by Perturbscope; choose the .json saved below a result") from None


def texts(settings: Settings, classes: Sequence[str]) -> dict[str, str]:
    """The settings as the page's address names them."""
    source, spec = settings.source, settings.attack
    mask, _, drawing = spec.mask.partition(":")
    named = {"dataset": source.dataset, "split": source.split, "index": str(source.index), "model": settings.model,
             "attack": spec.attack, "seed": str(spec.seed), "norm": spec.norm, "numerics": spec.numerics,
             "device": settings.device, "surrogate": spec.surrogate, "mask": mask}
    if drawing:
        named["drawing"] = drawing
    if ATTACKS[spec.attack].info.bounded:
        scale = SCALES[spec.norm]
        named[scale.setting] = scale.text(spec.eps * scale.factor)
    if source.upload:
        named["upload"] = source.upload
    if spec.target is not None:
        named["target"] = classes[spec.target]
    return {**named, **{f"set.{name}": str(value) for name, value in spec.params.items()}}


def command(settings: Settings, classes: Sequence[str]) -> str:
    """The command that repeats the run; options that have their default are left out."""
    source, spec = settings.source, settings.attack
    info = ATTACKS[spec.attack].info
    options = {"dataset": source.dataset, "split": source.split, "index": str(source.index), "model": settings.model,
               "attack": spec.attack}
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
    defaults = {p.name: p.default for p in params_of(ATTACKS[spec.attack])}
    changed = [shlex.quote(f"{name}={value}") for name, value in spec.params.items() if value != defaults[name]]
    words += [f"--set {' '.join(changed)}"] if changed else []
    return " ".join(["python -m engine attack", *words, f"--seed {spec.seed}"])
