"""What the pages about whole data sets share: choosing, running, growing, taking away, the pictures behind a number."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine.experiments.gathered import Gathered
from engine.experiments.sweeps import performed, steps_of
from engine.progress import Progress
from engine.work.jobs import Job, State, jobs
from engine.work.kinds import Bench
from pages.ui.choosing import selection_of
from tests.app.test_pages import SECONDS

PAGE = '''
import pandas as pd
import streamlit as st
from engine.errors import EngineError
from engine.experiments.openings import Opening
from engine.experiments.sweeps import evaluation_task
from pages.ui import choosing, figures, sweeping, thumbs
from pages.ui.address import Address
from pages.ui.choosing import Wants
from pages.ui.scope import Scope

scope = Scope("sweep")
WANTS = Wants(Opening(images=5, attacks=("fgsm",), budgets=(4,)))


def body(known):
    st.text(f"share {known.share:g} of {[len(rows.labels) for rows in known.runs]} seeds "
            f"{[rows.spec.seed for rows in known.runs]}")
    if not known.complete:
        return
    rows = known.runs[0]
    figures.table(scope, pd.DataFrame({"success": [rows.success.mean()]}), "numbers")
    figures.rows_downloads(scope, known.runs, lambda: known.task.spec.images, "evaluation")
    thumbs.show(scope, thumbs.cells_of(known.task.spec, rows, range(len(rows.labels))), "all")


address, task, price = Address(scope, "dataset"), None, ""
with st.sidebar:
    try:
        chosen = choosing.choose(address, WANTS)
        task, price = evaluation_task(chosen.sweep(), chosen.device), chosen.price()
    except EngineError as error:
        st.error(str(error))
address.check_names()
for line in address.problems:
    st.error(line)
sweeping.show(scope, task, body, price=price)
address.write(complete=task is not None)
'''


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))


@pytest.fixture
def app(tmp_path: Path) -> AppTest:
    (tmp_path / "app.py").write_text(f'''
import streamlit as st
from pages.ui import shell
page = st.navigation([st.Page("sweep.py", title="Sweep", default=True),
                      st.Page({str(Path(__file__).resolve().parents[2] / "pages" / "explore.py")!r})])
token = shell._inside.set(True)
page.run()
shell._inside.reset(token)
''')
    (tmp_path / "sweep.py").write_text(PAGE)
    return AppTest.from_file(str(tmp_path / "app.py"), default_timeout=SECONDS)


def click(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def finished(app: AppTest) -> AppTest:
    for job in list(jobs()._jobs.values()):
        job.wait(SECONDS)
    return app.run()


def texts(app: AppTest) -> list[str]:
    return [text.value for text in app.text]


def test_nothing_runs_before_it_is_asked_for(app: AppTest) -> None:
    app.run()
    assert not app.exception and not texts(app)
    assert "Press **Run**. Costs at most 5 gradients" in app.info[0].value


def test_run_gives_the_rows_and_a_changed_setting_leaves_them(app: AppTest) -> None:
    app = finished(click(app.run(), "Run"))
    assert texts(app) == ["share 1 of [5] seeds [0]"]
    app = next(box for box in app.text_input if box.label == "Seeds").set_value("3, 4").run()
    assert texts(app) == ["share 1 of [5] seeds [0]"]
    assert app.info[0].value.startswith("Settings changed")
    app = finished(click(app, "Run"))
    assert texts(app) == ["share 1 of [5, 5] seeds [3, 4]"]


def test_the_pictures_behind_a_number_come_by_themselves(app: AppTest) -> None:
    app = finished(finished(click(app.run(), "Run")))
    assert not app.exception and not app.error
    shown = [element.proto.body for element in app.get("html") if "Perturbed" in element.proto.body]
    assert len(shown) == 5 and all("Difference" in body for body in shown)


def test_the_address_says_all_and_is_read(app: AppTest) -> None:
    asked = {"attacks": "bim,fgsm", "eps": "0.3/255,2/255", "images": "#3 #8", "seeds": "7", "set.bim.steps": "4"}
    for name, value in asked.items():
        app.query_params[name] = value
    app.run()
    assert not app.error and not app.exception
    app = finished(click(app, "Run"))
    assert texts(app) == ["share 1 of [2, 2, 2, 2] seeds [7, 7, 7, 7]"]
    assert {name: app.query_params[name] for name in asked} == asked


@pytest.mark.parametrize(("name", "value", "line"), [
    ("attacks", "nosuch", "nosuch"), ("images", "#999999", "has images 0 to"), ("images", "many", "a number of images"),
    ("eps", "900/255", "must lie between"), ("models", "no/such", "no/such"), ("seeds", "x", "whole numbers"),
])
def test_what_the_address_asks_wrongly_is_told(app: AppTest, name: str, value: str, line: str) -> None:
    app.query_params[name] = value
    app.run()
    assert not app.exception
    assert any(line in error.value for error in app.error)


def test_what_there_is_so_far_is_shown(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that has published the first images of a sweep and goes on."""
    app.run()
    real = jobs().submit

    def held(task: object, owner: str = "", here: bool = False) -> Job:
        job = Job(task)  # type: ignore[arg-type]
        job.state, job.fraction = State.RUNNING, 0.25
        at = Bench("cpu", jobs().store, Progress(), lambda task: task.kept(jobs().store), publish=job.publish)
        units = [unit[:1] for unit in task.spec.plan()]  # type: ignore[attr-defined]
        next(performed(steps_of(units, "cpu"), at))
        assert isinstance(job.found, Gathered)
        jobs()._jobs[job.key] = job
        return job

    monkeypatch.setattr(jobs(), "submit", held)
    app = click(app, "Run")
    assert texts(app) == ["share 0.25 of [5] seeds [0]"]
    assert real is not None and not app.exception


@pytest.mark.parametrize(("text", "chosen"), [
    ("48", {"limit": 48}), ("all", {}), ("each 10", {"per_class": 10}), ("#3 #17", {"indices": (3, 17)}),
    ("#3,17", {"indices": (3, 17)})])
def test_images_are_chosen_in_words(text: str, chosen: dict[str, object]) -> None:
    from engine.experiments.selection import Selection

    assert selection_of(text) == Selection(**chosen)  # type: ignore[arg-type]
