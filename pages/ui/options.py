"""A sweep of the page as the options of the command line that repeats it."""

from collections.abc import Iterable

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.spec import AttackSpec
from engine.experiments import defended
from engine.experiments.config import Setting
from engine.experiments.sweeps import Sweep
from engine.params import params_of


def settings_of_sweep(sweep: Sweep) -> dict[str, Setting]:
    """The options of `python -m engine evaluate` and its like, for attacks that have one norm and numerics, and any
    settings."""
    specs = sweep.attacks
    first = specs[0]
    budgets = {f"{spec.eps * NORMS[spec.norm].factor:.10g}{NORMS[spec.norm].unit}" for spec in specs
               if spec.eps is not None}
    return {
        "dataset": sweep.dataset, "split": sweep.split, "index": list(sweep.indices), "model": list(sweep.models),
        "attack": _once(spec.attack for spec in specs), **({"eps": sorted(budgets, key=_size)} if budgets else {}),
        "norm": first.norm, "seed": [int(seed) for seed in _once(str(spec.seed) for spec in specs)],
        "batch": first.batch, "numerics": first.numerics, **defended.options(specs),
        **({"set": changed} if (changed := _once(line for spec in specs for line in _changed(spec))) else {}),
    }


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _size(text: str) -> float:
    return float(text.split("/")[0].split(" ")[0])


def _changed(spec: AttackSpec) -> list[str]:
    """Settings that are not the default, each for its attack alone."""
    default = {p.name: p.default for p in params_of(ATTACKS[spec.attack])}
    return [f"{spec.attack}.{name}={value}" for name, value in spec.params.items() if value != default[name]]
