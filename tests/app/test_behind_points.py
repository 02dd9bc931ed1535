"""Which pictures the Defend page shows behind a point of its plot, at which budget."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Selectbox

from engine.attacks.rows import Rows
from engine.attacks.spec import AttackSpec, make_spec
from engine.experiments.defended import fronts, read_stack
from engine.experiments.defending.judging import Checked, Defended, defend_task
from engine.experiments.sweeps import sweep_of
from pages.ui.sweeping import Known
from pages.ui.text import in_archive
from tests.app.visits import sent
from tests.rows import rows

MODEL = "phantom-cxr/resnet18"
IMAGES = range(8)
PAGE = "import streamlit as st\nfrom pages.defending import outcome\noutcome.show(st.session_state['known'])"


def specs() -> list[AttackSpec]:
    stacks = ["", read_stack("jpeg"), read_stack("median")]
    return [make_spec("pgd", eps=eps / 255, norm="linf", seed=seed, defenses=one.defenses, attacker=one.attacker,
                      draws=one.draws)
            for eps in (1, 2) for seed in (0, 1) for one in fronts("pgd", stacks, ["oblivious", "adaptive"])]


def run(spec: AttackSpec) -> Rows:
    """Twice the budget fools twice as many, and who knows of a defense fools one more."""
    eps = spec.eps or 0.0
    fooled = round(eps * 255) * 2 + (spec.attacker == "adaptive")
    made = rows([0] * 8, [0] * 8, [1] * fooled + [0] * (8 - fooled), spec=spec, model=MODEL)
    return replace(made, linf=np.full(8, eps, np.float32))


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page's part about what was judged, at the larger budget."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    found = Defended(tuple(Checked.of_rows(run(spec)) for spec in specs()), ())
    app = AppTest.from_string(PAGE, default_timeout=20)
    app.session_state["known"] = Known(defend_task(sweep_of("phantom-cxr", "test", IMAGES, [MODEL], specs())), found)
    app.run()
    assert not app.exception and app.button_group[0].value == "1/255"
    return app.button_group[0].set_value("2/255").run()


def box(app: AppTest, label: str) -> Selectbox[object]:
    return next(one for one in app.selectbox if one.label == label)


def chosen(app: AppTest, label: str) -> str:
    it = box(app, label)
    assert it.index is not None
    return it.options[it.index]


def clicked(app: AppTest, standing: int, filled: bool) -> AppTest:
    """A click on that point of the plot, as a browser tells of it."""
    chart = app.get("plotly_chart")[0].proto
    told, = (trace["customdata"][0] for trace in json.loads(chart.spec)["data"]
             if trace.get("customdata", [[None]])[0][0] == standing
             and trace["marker"]["symbol"].endswith("-open") != filled)
    return sent(app, {chart.id: json.dumps({"selection": {"points": [{"customdata": told}], "point_indices": [0],
                                                          "box": [], "lasso": []}})})


@pytest.mark.parametrize(("standing", "filled", "name", "attack"), [
    (1, False, "JPEG, attacker does not know of it", "PGD within 2/255, seed 0"),
    (2, True, "Median filter, attacker knows of it", "PGD within 2/255, attacker knows of it, seed 0"),
    (2, False, "Median filter, attacker does not know of it", "PGD within 2/255, seed 0")])
def test_a_click_shows_the_attacks_of_that_point(judged: AppTest, standing: int, filled: bool, name: str, attack: str
                                                 ) -> None:
    app = clicked(judged, standing, filled)
    assert (chosen(app, "Point"), chosen(app, "Attack")) == (name, attack)
    options = box(app, "Attack").options
    assert len(set(options)) == len(options)
    assert filled or not any("knows of it" in option for option in options)


def test_at_another_budget_the_attacks_are_those_within_it(judged: AppTest) -> None:
    assert chosen(judged, "Attack") == "PGD within 2/255, seed 0" and "Show 4 pictures" in judged.toggle[0].label
    sizes, shown = judged.button_group[0], box(judged, "Attack").id
    sizes.set_value("1/255").run()
    assert not any("within 2/255" in option for option in box(judged, "Attack").options)
    sent(judged, {shown: "PGD within 2/255, seed 0"})  # a browser goes on showing what it was not told to change
    assert chosen(judged, "Attack") == "PGD within 1/255, seed 0" and "Show 2 pictures" in judged.toggle[0].label


@pytest.mark.parametrize(("name", "said"), [("train/NORMAL/IM-1.jpeg", True), ("test/17", False), ("1.png", False)])
def test_a_path_that_seems_to_tell_of_another_split_is_explained(name: str, said: bool) -> None:
    assert bool(in_archive(name, "test")) == said
    assert not said or "these pictures are of the split test" in (in_archive(name, "test") or "")
