"""The choice of what stands in front of the model: its controls, its address, and what pages make of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from engine.attacks.spec import AttackSpec, make_spec
from engine.data import phantom
from engine.errors import EngineError
from engine.experiments.onepicture.answers import Answered, answers_task
from engine.experiments.onepicture.explore import explore_task
from engine.experiments.sources import Source, picture
from engine.work.jobs import State, jobs
from pages.exploring import spread
from pages.exploring.run import Run
from pages.exploring.verdict import says, sentence
from pages.ui import defending
from pages.ui.runs import Settings
from tests import nets
from tests.app.test_pages import opened as explored
from tests.app.test_pages import verdict
from tests.app.visits import finished, opened
from tests.defended import registered

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
SPREAD = """
import streamlit as st
from pages.exploring import spread

spread.say(st.session_state["run"])
spread.show(st.session_state["run"])
"""
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
    {"defense": "jpeg,rnd,jpeg", "defense.jpeg.2.quality": "30", "draws": "2"},
    {"defense": "rnd,rnd", "defense.rnd.sigma": "0.05", "defense.as": "each", "draws": "2"},
    {"defense": "jpeg", "attacker": "oblivious"}, {"defense": "rnd", "attacker": "adaptive", "draws": "3"}])
def test_runs_lead_back_to_the_address_that_asked_for_them(texts: dict[str, str]) -> None:
    found = specs(**texts)
    assert specs(**defending.texts(found)) == found
    one = [spec for spec in found if spec.attack == "pgd"][-1]
    front = drawn(ONE, **defending.texts([one], several=False)).session_state["facing"]
    assert (front.defenses, front.attacker, front.draws) == (one.defenses, one.attacker, one.draws)


def test_one_defense_can_be_chosen_twice_and_the_first_taken_away_again() -> None:
    app = drawn(ONE, defense="jpeg", attacker="oblivious", **{"defense.jpeg.quality": "50"})
    assert "JPEG (2)" in app.multiselect[0].options
    app.multiselect[0].set_value(["jpeg", "jpeg#2"]).run()
    assert app.session_state["facing"].defenses == "jpeg(quality=50), jpeg(quality=75)"
    assert "JPEG (3)" in app.multiselect[0].options
    app.multiselect[0].set_value(["jpeg#2"]).run()
    assert app.session_state["facing"].defenses == "jpeg(quality=75)" and app.query_params["defense"] == "jpeg"
    assert "Query limit (2)" not in drawn(ONE, defense="query-limit").multiselect[0].options


def test_what_the_controls_cannot_say_is_told() -> None:
    found = [make_spec("pgd", eps=0.01, defenses=one) for one in (f"{RND}, {JPEG}", "median")]
    with pytest.raises(EngineError, match="cannot set these defenses together"):
        defending.texts(found)


@pytest.mark.parametrize(("texts", "says"), [
    ({"defense": "<script>alert(1)</script>"}, "unknown defense"),
    ({"defense": "query-limit,query-limit"}, "once only"),
    ({"defense": ",".join(["rnd"] * 9)}, "at most 8"),
    ({"defense": "rnd", "defense.rnd.2.sigma": "0.1"}, "unknown setting"),
    ({"defense": "rnd", "defense.rnd.sigma": "1e99"}, "sigma must lie between"),
    ({"defense": "rnd", "defense.rnd.up": "1"}, "unknown setting"),
    ({"defense": "rnd", "attacker": "nosy"}, "unknown attacker"),
    ({"defense": "rnd", "draws": "-1"}, "draws must lie between"),
    ({"defense": "rnd,jpeg", "defense.as": "pile"}, "unknown")])
def test_an_address_that_makes_no_sense_is_told_and_not_used(texts: dict[str, Any], says: str) -> None:
    app = drawn(SEVERAL, **texts)
    assert not app.exception and [says in error.value for error in app.error] == [True]


# ---- on the pages -------------------------------------------------------------------------------------------------


def words(app: AppTest) -> str:
    return "\n".join(block.value for block in (*app.markdown, *app.caption))


@pytest.mark.slow
@pytest.mark.usefixtures("module_home")
def test_explore_shows_a_random_defense_as_many_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "DRAWS", 8)
    app = finished(explored(attack="fgsm", index="3", defense="rnd", **{"defense.rnd.sigma": "0.3"}))
    assert "Behind RND (sigma 0.3), attacker does not know it" in verdict(app)
    job = next(job for job in jobs()._jobs.values() if job.task.kind == "answers")
    for when in ("before", "after"):
        given = job.payload.arrays[when]
        assert len(np.unique(given, axis=0)) == 8
        most = np.bincount(given.argmax(axis=1)).max()
        assert f"{when.capitalize()} the attack {most} of 8 answers say" in words(app)
    assert "--defense rnd:sigma=0.3" in app.code[0].value


@pytest.mark.usefixtures("module_home")
def test_the_price_counts_draws() -> None:
    app = opened("evaluate", images="200", attacks="fgsm", eps="1/255", defense="rnd", draws="3")
    price = next(block.value for block in app.info if "Costs" in block.value)
    assert f"{200 * (1 + 1 + 3):,} gradients, with 3 draws" in price  # the bare model, oblivious, adaptive


@pytest.mark.usefixtures("module_home")
@pytest.mark.parametrize(("every", "verdict_says"), [(1, "refused to answer before any attack"), (0, "")])
def test_many_answers_are_shown_and_refusals_told_as_such(every: int, verdict_says: str, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """By the very work behind the page, on a small network."""
    monkeypatch.setattr(spread, "DRAWS", 20)
    nets.register(monkeypatch)
    nets.kept(tmp_path / "net.safetensors", classes=phantom.CLASSES, mean=(0.4,) * 3, std=(0.2,) * 3)
    source, model = Source("phantom-cxr", "test", 3), str(tmp_path / "net.safetensors")
    with registered():
        spec = make_spec("fgsm", eps=0.01, defenses=f"noise(sigma=0.5, every={every})")
        job = jobs().submit(explore_task(source, model, spec, "cpu"), "somebody")
        assert job.wait(20).state is State.DONE, job.error
        run = Run(Settings(source, model, spec, "cpu"), picture(source), job)
        app = AppTest.from_string(SPREAD, default_timeout=20)
        app.session_state["run"] = run
        app.run()
        asked = jobs().find(answers_task(job.task, 20))
        assert asked.wait(20).state is State.DONE, asked.error
        app.run()
    given = Answered.of(asked.payload)
    assert verdict_says in sentence(run.explored) and len(app.get("plotly_chart")) == 1 and not app.exception
    if every:
        assert not given.before.any() and str(says(run.classes, run.explored.probabilities.clean)) == "refused"
        assert words(app).count("20 of 20 answers give no answer") == 2
    else:
        assert len(np.unique(given.after, axis=0)) == 20
        most = np.bincount(given.after.argmax(axis=1)).max()
        assert f"After the attack {most} of 20 answers say" in words(app)
