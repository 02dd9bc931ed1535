"""The Black box page without a browser: what it shows by itself, what is asked of it, what it refuses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine.experiments.queries.walks import walks_of
from engine.work.jobs import State, jobs
from tests.app.test_pages import APP, SECONDS, address

FEW = {"images": "#160 #9", "queries": "5, 20", "attacks": "hopskipjump", "norm": "l2"}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of one test's is known to the next, or goes on meanwhile."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    yield
    for job in list(jobs()._jobs.values()):
        job.cancelled.set()
        job.wait(SECONDS)


def opened(**query: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=SECONDS)
    app.run()
    app.query_params.clear()
    for name, value in {**FEW, **query}.items():
        app.query_params[name] = value
    app.switch_page("pages/blackbox.py").run()
    assert not app.exception, app.exception
    return app


def finished(app: AppTest) -> AppTest:
    for job in list(jobs()._jobs.values()):
        if job.task.kind == "query-curve":
            job.wait(SECONDS)
            assert job.state is State.DONE, job.error
    app.run()
    assert not app.exception, app.exception
    return app


def said(app: AppTest) -> str:
    return " ".join(block.value for block in [*app.markdown, *app.caption, *app.info, *app.error])


def test_a_small_example_is_walked_by_itself_and_told() -> None:
    app = finished(opened())
    text = said(app)
    assert not app.error
    assert "After at most 20 questions an image, HopSkipJump" in text and "It saw the diagnosis" in text
    assert "Norm against queries" in text and "Success against queries" in text and "On the way" in text
    numbers = next(frame.value for frame in app.dataframe)
    assert numbers["queries"].tolist() == [5, 20]
    strips = [block.proto.body for block in app.get("html") if "Original" in block.proto.body]
    assert strips and "10 queries" in strips[0]
    assert "not quite a run with so few" in text


def test_counts_and_sizes_are_read_from_the_same_walk() -> None:
    app = finished(opened())
    before = len(jobs()._jobs)
    for label, value in (("Queries an image", "3, 7, 20"), ("Success is told at changes of at most", "0.1, 30")):
        app = next(box for box in app.text_input if box.label == label).set_value(value).run()
    numbers = next(frame.value for frame in app.dataframe)
    assert not app.exception and numbers["queries"].tolist() == [3, 7, 20]
    assert {"at most 0.1", "at most 30"} <= set(numbers.columns)
    assert len(jobs()._jobs) == before
    app = next(box for box in app.selectbox if box.label == "Size of the change, measured as").set_value("linf").run()
    assert next(frame.value for frame in app.dataframe)["median"].iloc[-1].endswith(("/255", "-"))
    assert address(app).items() >= {"measure": "linf", "queries": "3, 7, 20", "within.l2": "0.1, 30"}.items()


def test_what_takes_long_waits_for_run_and_says_so() -> None:
    app = opened(images="12", queries="1000")
    assert not [job for job in jobs()._jobs.values() if job.task.kind == "query-curve"]
    assert "12,000 queries" in said(app) and "takes minutes" in said(app)


def test_only_attacks_that_ask_are_offered() -> None:
    app = opened()
    offered = next(box for box in app.multiselect if box.label == "Attacks").options
    assert any("HopSkipJump" in title for title in offered) and not any("PGD" in title for title in offered)
    assert not any(box.label == "Queries" for box in app.number_input), "there are two places for the queries"


@pytest.mark.parametrize(("name", "value", "line"), [
    ("queries", "many", "whole numbers"), ("queries", "0", "from 1"), ("within.l2", "-3", "sizes from 0"),
    ("measure", "l7", "l7"), ("attacks", "pgd", "pgd"),
])
def test_what_the_address_asks_wrongly_is_told(name: str, value: str, line: str) -> None:
    app = opened(**{name: value})
    assert any(line in error.value for error in app.error)


def test_the_result_is_that_of_the_command_line() -> None:
    finished(opened())
    job, = (job for job in jobs()._jobs.values() if job.task.kind == "query-curve")
    assert job.payload is not None
    walks, = walks_of(job.payload)
    assert walks.limit == 20 and len(walks.labels) == 2 and walks.spec.batch == 16
