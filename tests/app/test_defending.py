"""The choice of what stands in front of the model: its controls, its address, and what pages make of it."""

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from engine.attacks.spec import AttackSpec, make_spec
from engine.errors import EngineError
from pages.ui import defending

RND, JPEG = "rnd(sigma=0.05)", "jpeg(quality=75)"
DRAWN = '''
import streamlit as st
from pages.ui import defending
from pages.ui.address import Address
from pages.ui.scope import Scope

address = Address(Scope("any"), "defense")
facing = {call}
st.session_state["facing"] = facing
address.check_names()
for line in address.problems:
    st.error(line)
address.write()
'''
SEVERAL = DRAWN.format(call='defending.several(address, ["pgd", "square"])')
ONE = DRAWN.format(call='defending.front(address, "pgd")')


def drawn(script: str, **texts: str) -> AppTest:
    app = AppTest.from_string(script)
    for name, text in texts.items():
        app.query_params[name] = text
    return app.run(timeout=20)


def specs(attacks: tuple[str, ...] = ("pgd", "square"), **texts: str) -> list[AttackSpec]:
    """The runs of a page with that address."""
    app = drawn(SEVERAL, **texts)
    assert not app.exception and not app.error
    facing = app.session_state["facing"]
    return [make_spec(attack, eps=0.01, defenses=one.defenses, attacker=one.attacker, draws=one.draws)
            for attack in attacks for one in facing.fronts(attack)]


def faced(found: list[AttackSpec], attack: str) -> list[tuple[str, str, int]]:
    return [(spec.defenses, spec.attacker, spec.draws) for spec in found if spec.attack == attack]


def test_nothing_stands_there_at_first() -> None:
    assert faced(specs(), "pgd") == [("", "oblivious", 1)]


def test_a_stack_stands_beside_the_bare_model_before_both_attackers() -> None:
    found = specs(defense="rnd,jpeg", **{"defense.rnd.sigma": "0.05"})
    stack = f"{RND}, {JPEG}"
    expected = [("", "oblivious", 1), (stack, "oblivious", 1), (stack, "adaptive", 10)]
    assert faced(found, "pgd") == faced(found, "square") == expected


@pytest.mark.parametrize("texts", [
    {}, {"defense": "rnd,jpeg", "defense.rnd.sigma": "0.05"},
    {"defense": "jpeg,rnd", "defense.as": "each", "defense.bare": "no", "draws": "1"},
    {"defense": "jpeg", "attacker": "oblivious"}, {"defense": "rnd", "attacker": "adaptive", "draws": "3"}])
def test_runs_lead_back_to_the_address_that_asked_for_them(texts: dict[str, str]) -> None:
    found = specs(**texts)
    assert specs(**defending.texts(found)) == found
    one = [spec for spec in found if spec.attack == "pgd"][-1]
    front = drawn(ONE, **defending.texts([one], several=False)).session_state["facing"]
    assert (front.defenses, front.attacker, front.draws) == (one.defenses, one.attacker, one.draws)


def test_what_the_controls_cannot_say_is_told() -> None:
    found = [make_spec("pgd", eps=0.01, defenses=one) for one in (f"{RND}, {JPEG}", "median")]
    with pytest.raises(EngineError, match="cannot set these defenses together"):
        defending.texts(found)


@pytest.mark.parametrize(("texts", "says"), [
    ({"defense": "<script>alert(1)</script>"}, "unknown defense"),
    ({"defense": "rnd,rnd"}, "can stand there once"),
    ({"defense": "rnd", "defense.rnd.sigma": "1e99"}, "sigma must lie between"),
    ({"defense": "rnd", "defense.rnd.up": "1"}, "unknown setting"),
    ({"defense": "rnd", "attacker": "nosy"}, "unknown attacker"),
    ({"defense": "rnd", "draws": "-1"}, "draws must lie between"),
    ({"defense": "rnd,jpeg", "defense.as": "pile"}, "unknown")])
def test_an_address_that_makes_no_sense_is_told_and_not_used(texts: dict[str, Any], says: str) -> None:
    app = drawn(SEVERAL, **texts)
    assert not app.exception and [says in error.value for error in app.error] == [True]
