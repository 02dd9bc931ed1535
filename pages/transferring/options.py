"""A transfer of the page as the options of the command line that repeats it."""

from engine.attacks.norms import NORMS
from engine.experiments import defended
from engine.experiments.config import Setting
from engine.experiments.runs.repeating import asked as said
from engine.experiments.transfers.transfer import Transfer, as_asked


def settings_of_transfer(asked: Transfer) -> dict[str, Setting]:
    """The options of `python -m engine transfer`."""
    first, what = asked.attacks[0], said(asked)
    assert what is not None, "a transfer is what can be asked for"
    single, ensemble = as_asked(asked.sources)
    found: dict[str, Setting] = {
        "dataset": asked.dataset, "split": asked.split, "index": list(asked.indices), "models": list(asked.targets),
        "sources": list(single), "attack": list(what.names), "norm": first.norm, "seed": list(what.seeds),
        "batch": first.batch, "numerics": first.numerics}
    if what.budgets:
        found["eps"] = [NORMS[first.norm].text(eps, ".10g") for eps in what.budgets]
    if ensemble:
        found["ensemble"] = ensemble
    found |= defended.options(asked.attacks)
    if changed := [f"{attack}.{name}={value}" for attack, own in what.changed().items() for name, value in own.items()]:
        found["set"] = list(changed)
    return found
