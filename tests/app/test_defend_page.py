"""The Defend page without a browser: a judgement as it is told, and what the page refuses or says before it runs."""

from collections.abc import Sequence

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from engine.attacks.rows import Rows
from engine.attacks.spec import AttackSpec, make_spec
from engine.experiments.defended import fronts, read_stack
from engine.experiments.defending.facing import Face
from engine.experiments.defending.judging import Checked, Defended, defend_task, payload_of, with_checks
from engine.experiments.runs.repeating import _as_chosen, asked
from engine.experiments.sweeps import sweep_of
from engine.work.jobs import jobs
from engine.work.specs import to_json
from pages.ui.links import texts
from pages.ui.sweeping import Known
from tests.app.test_pages import address
from tests.app.visits import opened
from tests.rows import rows

pytestmark = pytest.mark.usefixtures("own_home")

MODEL = "phantom-cxr/resnet18"
IMAGES = (9, 160)
ASKED = {"images": "#9 #160", "attacks": "pgd", "eps": "2/255", "defense": "rnd,jpeg"}


def specs() -> tuple[AttackSpec, ...]:
    stacks = ["", read_stack("rnd"), read_stack("jpeg")]
    return with_checks([make_spec("pgd", eps=2 / 255, norm="linf", defenses=one.defenses, attacker=one.attacker,
                                  draws=one.draws) for one in fronts("pgd", stacks, ["oblivious", "adaptive"])])


def run(spec: AttackSpec, classes: Sequence[str] = ("Normal", "Pneumonia", "COVID-19")) -> Rows:
    """All is read correctly, and who does not know of a defense fails."""
    after = [0, 0] if spec.attacker == "oblivious" and spec.defenses else [1, 1]
    return rows([0, 0], [0, 0], after, spec=spec, model=MODEL, classes=classes)


def kept() -> None:
    """What the page asks for, as if it had been computed."""
    task = defend_task(sweep_of("phantom-cxr", "test", IMAGES, [MODEL], specs()))
    faces = [Face(MODEL, spec.defenses, 0.01, 0.02, (), (), np.zeros((0, 0), np.int64)) for spec in specs()]
    found = Defended(tuple(Checked.of_rows(run(spec)) for spec in specs()), tuple(faces))
    jobs().store.put(task.key, task.kind, task.title, to_json(task.spec), payload_of(found))


def said(app: AppTest) -> str:
    return " ".join(block.value for block in [*app.markdown, *app.caption, *app.info, *app.warning, *app.error,
                                              *app.success])


def test_what_was_judged_is_told_drawn_and_in_the_table_with_its_price() -> None:
    kept()
    app = opened("defend", **ASKED)
    text = said(app)
    assert not app.error and "None of these defenses is seen to be worth its price" in text
    assert "ResNet-18, 2 pictures, within 2/255" in text
    assert "Its price: none in accuracy" in text and "an answer takes 2 times as long" in text
    assert len(app.get("plotly_chart")) == 1
    table = app.dataframe[0].value
    assert table["defense"].tolist() == ["no defense", "RND", "JPEG"]
    assert table["holds, attacker unaware"].str.startswith("100").tolist() == [False, True, True]
    assert table["holds, attacker aware"].str.startswith("0 %").all()
    assert table["time"].tolist() == ["20 ms", "2 ×", "2 ×"]
    assert address(app)["defense"] == "rnd,jpeg"


def test_what_was_shown_before_is_said_to_be_of_an_earlier_choice() -> None:
    kept()
    app = opened("defend", **ASKED)
    head = "Phantom chest X-rays"
    assert not any(head in one.value for one in app.warning)
    next(one for one in app.multiselect if one.label.startswith("Epsilon")).set_value(["4/255"]).run()
    line = next(one.value for one in app.warning if head in one.value)
    assert line.startswith("Of an earlier choice") and "ResNet-18, 2 pictures, within 2/255" in line


def shown(share: float, checks: bool = True) -> str:
    """What is said of results when so much is done."""
    made = [spec for spec in specs() if checks or (spec.attack, spec.eps) == ("pgd", 2 / 255)]
    sweep = sweep_of("phantom-cxr", "test", IMAGES, [MODEL], made)
    found = Defended(tuple(Checked.of_rows(run(spec)) for spec in made), ())

    app = AppTest.from_string("import streamlit as st\nfrom pages.defending import outcome\n"
                              "outcome.show(st.session_state['known'])", default_timeout=20)
    app.session_state["known"] = Known(defend_task(sweep), found, share)
    return said(app.run())


def test_nothing_is_said_of_checks_before_they_are_made() -> None:
    growing, whole = shown(0.5), shown(1.0)
    assert "Not checked yet" in growing and "No sign that" not in growing and "**So far: None of these" in growing
    assert "Not checked yet" not in whole and "So far" not in whole
    assert "Not all was checked" in shown(1.0, checks=False) and "No sign that" not in shown(1.0, checks=False)


@pytest.mark.parametrize(("query", "says"), [
    ({"defense": ""}, "choose a defense, or a second model"),
    ({"defense": "rnd", "defense.rnd.sigma": "0.9"}, "expect clean accuracy near chance"),
    ({"defense": "rnd", "attacks": "square", "queries": "5"}, "too few"),
    ({"defense": "rnd", "attacks": "square", "queries": "50"}, "hardly enough for an attack to start"),
    ({"defense": "query-limit", "defense.query-limit.most": "0"}, "answers nobody"),
])
def test_what_cannot_be_judged_or_is_worth_nothing_is_said_before_it_runs(query: dict[str, str], says: str) -> None:
    app = opened("defend", **{**ASKED, **query})
    assert says.lower() in said(app).lower()
    assert not [job for job in jobs()._jobs.values() if job.task.kind == "defend"]


def test_a_run_leads_back_with_or_without_checks_as_it_was_made() -> None:
    chosen = (make_spec("pgd", eps=2 / 255, norm="linf"),)
    for attacks, checks in ((chosen, "no"), (with_checks(chosen), None)):
        what = _as_chosen("defend", asked(sweep_of("phantom-cxr", "test", IMAGES, [MODEL], attacks)))
        assert what is not None
        named = texts(what, "auto", asks=True)
        assert named.get("checks") == checks and (named["attacks"], named["eps"]) == ("pgd", "2/255")
