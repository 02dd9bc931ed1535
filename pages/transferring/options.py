"""A transfer of the page as the options of the command line that repeats it."""

from collections.abc import Iterable

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.spec import AttackSpec
from engine.experiments.config import Setting
from engine.experiments.transfer import JOINT, OTHERS, TOGETHER, Transfer
from engine.params import params_of


def settings_of_transfer(asked: Transfer) -> dict[str, Setting]:
    """The options of `python -m engine transfer`."""
    specs, first = asked.attacks, asked.attacks[0]
    single = [source for source in asked.sources if JOINT not in source]
    together = [source for source in asked.sources if JOINT in source]
    budgets = _once(f"{spec.eps * NORMS[spec.norm].factor:.10g}{NORMS[spec.norm].unit}" for spec in specs
                    if spec.eps is not None)
    changed = _once(line for spec in specs for line in _changed(spec, alone=len({s.attack for s in specs}) == 1))
    found: dict[str, Setting] = {
        "dataset": asked.dataset, "split": asked.split, "index": list(asked.indices), "models": list(asked.targets),
        "sources": list(single), "attack": list(_once(spec.attack for spec in specs)), "norm": first.norm,
        "seed": [int(seed) for seed in _once(str(spec.seed) for spec in specs)], "batch": first.batch,
        "numerics": first.numerics}
    if budgets:
        found["eps"] = list(budgets)
    if together:
        found["ensemble"] = TOGETHER if together == [JOINT.join(single)] else OTHERS
    if changed:
        found["set"] = list(changed)
    return found


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _changed(spec: AttackSpec, alone: bool) -> list[str]:
    """Settings that are not the default; for their attack alone where there are others."""
    default = {p.name: p.default for p in params_of(ATTACKS[spec.attack])}
    attack = "" if alone else f"{spec.attack}."
    return [f"{attack}{name}={value}" for name, value in spec.params.items() if value != default[name]]
