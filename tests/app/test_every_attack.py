"""Every attack there is, run from the page (`make slow`; one of each family always): on the phantoms, and on real
pictures where PERTURBSCOPE_APP_DATASETS names data sets (kermany,covid-ct)."""

import os

import pytest

from engine.attacks import ATTACKS
from engine.params import params_of
from tests.app.test_pages import opened, run_button, settled, verdict

DATASETS = {"phantom-cxr": "resnet18", "kermany": "densenet121", "covid-ct": "densenet121"}
CHOSEN = ["phantom-cxr", *filter(None, os.environ.get("PERTURBSCOPE_APP_DATASETS", "").split(","))]
# As little of everything as lets an attack begin and end.
SMALL = {"steps": 2, "queries": 80, "epochs": 1, "copies": 2, "neighbours": 2, "restarts": 1, "scales": 2, "masks": 1,
         "iterations": 2, "population": 10, "generations": 2, "probes": 10, "directions": 10, "sample": 2}


# The first of each family; those that learn something beforehand take a minute each.
FIRST = {ATTACKS[name].__module__: name for name in reversed(list(ATTACKS)) 
         if not ATTACKS[name]().learning_cost(1).queries}


@pytest.mark.parametrize("dataset", CHOSEN)
@pytest.mark.parametrize("attack", [pytest.param(name, marks=() if name in FIRST.values() else pytest.mark.slow)
                                    for name in ATTACKS])
def test_every_attack_runs_from_the_page(dataset: str, attack: str) -> None:
    small = {f"set.{p.name}": str(max(SMALL[p.name], p.low or 0)) for p in params_of(ATTACKS[attack])
             if p.name in SMALL}
    app = opened(dataset=dataset, model=f"{dataset}/{DATASETS[dataset]}", attack=attack, **small)
    assert not app.error, [error.value for error in app.error]
    run_button(app).click().run()
    app = settled(app)
    assert not app.error, [error.value for error in app.error]
    assert app.session_state["explore shown"].settings.attack.attack == attack
    assert verdict(app)
    assert any("engine attack" in block.value and f"--attack {attack}" in block.value for block in app.code)
