"""The Transfer page as Streamlit runs it, without a browser."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine.work.jobs import Job, jobs
from tests.app.test_pages import address
from tests.app.visits import finished, opened

pytestmark = pytest.mark.usefixtures("module_home")
SMALL = {"attacks": "fgsm", "eps": "4/255", "images": "#8 #18 #93"}


@pytest.fixture(scope="module")
def done(module_home: Path) -> AppTest:
    return finished(opened("transfer", **SMALL))


def running() -> list[Job]:
    return [job for job in jobs()._jobs.values() if not job.state.over]


def words(app: AppTest) -> str:
    return " ".join(block.value for block in (*app.markdown, *app.caption))


def plots(app: AppTest) -> list[str]:
    return [element.proto.spec for element in app.get("plotly_chart")]


def cards(app: AppTest) -> list[str]:
    return [block.proto.body for block in app.get("html") if "Perturbed" in block.proto.body]


def test_a_small_example_runs_by_itself_and_says_what_it_means(done: AppTest) -> None:
    assert not done.error
    assert "An attacker who has" in words(done) and "and never saw" in words(done)
    assert len(plots(done)) == 2 and "white-box" in plots(done)[0]
    assert "An attack follows the source" in words(done) and "cosine" in words(done)


def test_the_pictures_of_a_pair_are_there_and_open_in_explore_with_the_surrogate(done: AppTest) -> None:
    assert cards(done)
    links = [link.proto.query_string for link in done.get("page_link")]
    assert links and all("surrogate=phantom-cxr%2Fresnet18" in link and "model=phantom-cxr%2Fdensenet121" in link
                         for link in links)


def test_another_pair_has_other_pictures(done: AppTest) -> None:
    before = cards(done)
    done.selectbox(key="transfer pair").set_value(0).run()
    assert not done.exception and cards(done) != before
    done.selectbox(key="transfer pair").set_value(1).run()
    assert cards(done) == before


def test_the_address_says_all_and_is_read() -> None:
    asked = {**SMALL, "models": "phantom-cxr/densenet121", "sources": "phantom-cxr/resnet18,phantom-cxr/densenet121",
             "ensemble": "together"}
    app = finished(opened("transfer", **asked))
    assert not app.error
    assert asked.items() <= address(app).items()
    heat = plots(app)[0]
    assert "resnet18 + densenet121" in heat and "in the ensemble" in heat


def test_what_costs_more_waits_for_a_click() -> None:
    app = opened("transfer", attacks="pgd", images="200")
    assert any("Press **Run**. Costs at most" in info.value for info in app.info)
    assert not running()


@pytest.mark.parametrize(("name", "value", "line"), [
    ("models", "phantom-cxr/resnet18", "two models"), ("models", "no/such", "no/such"),
    ("sources", "kermany/densenet121", "kermany/densenet121"), ("attacks", "square", "square"),
    ("ensemble", "others", "3 models at least"), ("ensemble", "some", "some"),
])
def test_what_the_address_asks_wrongly_is_told(name: str, value: str, line: str) -> None:
    app = opened("transfer", **{**SMALL, name: value})
    assert any(line in error.value for error in app.error), [error.value for error in app.error]


def test_a_path_that_a_link_names_is_not_opened_without_a_question() -> None:
    app = opened("transfer", models="phantom-cxr/resnet18,/nowhere/x.safetensors")
    assert any("This link or run asks for /nowhere/x.safetensors" in block.value for block in app.warning)
    # What stands there meanwhile is an example that came with the program: its pictures are made, and nothing else.
    assert {job.task.kind for job in running()} <= {"images"}, "what the link did not ask for does not run by itself"


def test_a_data_set_with_one_model_says_how_to_come_by_another(data_home: Path) -> None:
    app = opened("transfer", dataset="covid-ct", models="covid-ct/densenet121")
    assert any("choose another, or train one" in error.value for error in app.error)
    assert app.multiselect(key="transfer.models covid-ct").value == ["covid-ct/densenet121"]
