"""The Epsilon page as Streamlit runs it, without a browser: curves, danger zone, pictures along the curve, files."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine.experiments.epsilon.eyes import eyes_of, eyes_task
from engine.experiments.gathered import runs_of
from engine.work.jobs import jobs
from tests.app.test_pages import address
from tests.app.visits import finished, opened

pytestmark = pytest.mark.usefixtures("module_home")
SMALL = {"images": "4", "attacks": "fgsm", "eps": "0/255,1/255,4/255,16/255"}


@pytest.fixture(scope="module")
def shown(module_home: Path) -> AppTest:
    """A small sweep, finished; tests must not change it."""
    return finished(opened("epsilon", **SMALL))


def texts(app: AppTest) -> str:
    return "\n".join(block.value for kind in ("subheader", "markdown", "caption") for block in getattr(app, kind))


def test_opened_it_computes_by_itself_and_says_what_came_of_it(shown: AppTest) -> None:
    runs = runs_of(jobs().find(shown.session_state["epsilon shown task"]).payload)  # type: ignore[union-attr, arg-type]
    worst = runs[len(runs) // 2:]
    fooled, attacked = int(worst[-1].success.sum()), int(worst[-1].attacked.sum())
    said = f"of the {attacked} images that the model read correctly, {fooled} are flipped within 16/255"
    assert said in texts(shown)
    assert "FGSM: spent 4 gradients instead of the 16 of separate runs (25.0 %)" in texts(shown)


def test_both_readings_stand_side_by_side(shown: AppTest) -> None:
    assert "Worst case within the budget" in texts(shown) and "Independent runs" in texts(shown)
    assert len(shown.get("plotly_chart")) == 4, "two curves, the zone, the histogram"


def test_the_danger_zone_is_said_as_a_number(shown: AppTest) -> None:
    task = shown.session_state["epsilon shown task"]
    sweep = task.spec.sweep
    eye = eyes_of(jobs().find(eyes_task(sweep.dataset, sweep.split, sweep.indices)).payload)  # type: ignore[union-attr, arg-type]
    assert len(eye) == 4 and "flip before the eye would see anything" in texts(shown)


def test_the_slider_moves_along_the_curve(shown: AppTest) -> None:
    app = finished(opened("epsilon", **SMALL))
    slider = next(one for one in app.select_slider if one.label == "Along the curve")
    assert slider.options == ["0/255", "1/255", "4/255", "16/255"]
    slider.set_value("16/255").run()
    assert any("exact, scaled to 16/255" in block.proto.body for block in app.get("html"))


def test_the_pictures_behind_a_point_are_those_that_flip(shown: AppTest) -> None:
    app = finished(opened("epsilon", **SMALL))
    next(one for one in app.selectbox if one.label == "Epsilon").set_value("16/255").run()
    next(one for one in app.toggle if one.label == "Show them").set_value(True).run()
    app = finished(app)
    runs = runs_of(jobs().find(app.session_state["epsilon shown task"]).payload)  # type: ignore[union-attr, arg-type]
    flipped = int(runs[-1].success.sum())
    links = [link for link in app.get("page_link") if link.proto.label == "Open in Explore"]
    assert flipped and len(links) == min(6, flipped)


def test_the_address_repeats_the_page(shown: AppTest) -> None:
    kept = address(finished(opened("epsilon", **SMALL, axis="log", measure="AUC", reading="worst")))
    assert SMALL.items() <= kept.items() and (kept["axis"], kept["measure"], kept["reading"]) == ("log", "AUC", "worst")
    app = finished(opened("epsilon", **kept))
    assert not app.error
    assert "AUC against epsilon" in texts(app) and "Independent runs" not in texts(app)


@pytest.mark.parametrize(("name", "value", "line"), [
    ("attacks", "deepfool", "unknown attack"), ("attacks", "", "at least one attack"),
    ("reading", "best", "unknown reading"), ("axis", "polar", "unknown axis"), ("eps", "two", "must be a number"),
    ("images", "many", "a number of images"), ("nonsense", "1", "unknown setting")])
def test_what_an_address_gets_wrong_is_one_line(name: str, value: str, line: str) -> None:
    app = opened("epsilon", **(SMALL | {name: value}))
    assert len(app.error) == 1 and line in app.error[0].value


def test_a_certificate_of_too_few_draws_is_refused_in_words_and_one_of_enough_is_offered_with_its_price() -> None:
    app = finished(opened("epsilon", **SMALL, certify="yes", **{"certify.draws": "9"}))
    assert ["at least 10" in error.value for error in app.error] == [True] and not app.exception
    app = finished(opened("epsilon", **SMALL, certify="yes", **{"certify.draws": "20", "certify.choosing": "5"}))
    assert "25 copies of each of 4 images: 104 passes through the model" in texts(app) and not app.error
    assert address(app)["certify"] == "yes" and "Prove it" in [button.label for button in app.button]
