"""The Evaluate page as Streamlit runs it, without a browser."""

import tomllib
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine.cli import main
from engine.experiments.sweeps import performed, steps_of
from engine.progress import Progress
from engine.work.jobs import Job, State, jobs
from engine.work.kinds import Bench, Task
from pages.ui.options import settings_of_sweep
from tests.app.test_pages import SECONDS
from tests.app.visits import finished, opened

pytestmark = pytest.mark.usefixtures("module_home")
SMALL = {"images": "each 2", "attacks": "fgsm", "eps": "1/255,4/255"}


@pytest.fixture(scope="module")
def small(module_home: Path) -> AppTest:
    """Six images under FGSM at two budgets; tests must not change it."""
    return finished(opened("evaluate", **SMALL))


def markdown(app: AppTest) -> str:
    return "\n".join(block.value for block in (*app.markdown, *app.caption, *app.warning))


def test_what_costs_little_starts_by_itself() -> None:
    app = opened("evaluate", images="11")
    job = next(job for job in jobs()._jobs.values() if job.task.kind == "evaluation")
    assert len(job.task.spec.indices) == 11 and job.task.spec.dataset == "phantom-cxr"
    jobs().cancel(job, job.owner)
    assert job.wait(SECONDS).state.over and not app.error


def test_what_costs_much_waits_for_a_click() -> None:
    app = opened("evaluate", images="all")
    assert not [job for job in jobs()._jobs.values() if len(getattr(job.task.spec, "indices", ())) == 450]
    assert any("Press **Run**" in info.value for info in app.info)


def test_the_sentence_for_the_clinician_comes_first(small: AppTest) -> None:
    first = next(block.value for block in small.markdown if "before" in block.value)
    assert first.startswith("**Of ") and "images of Pneumonia found before" in first and "at 1/255" in first


def test_every_section_is_there(small: AppTest) -> None:
    assert [block.value for block in small.subheader] == [
        "What it says of what", "Scores", "All attacks and models", "How sure, and how often right",
        "Where predictions go", "Most and least robust images", "By subgroup", "To take away"]
    assert len(small.get("plotly_chart")) == 6 and not small.error


def test_rare_classes_are_told(small: AppTest) -> None:
    assert "Few images show Normal (2), Pneumonia (2), COVID-19 (2)" in markdown(small)


def test_the_images_behind_a_cell(small: AppTest) -> None:
    app = finished(opened("evaluate", **SMALL, when="clean", shows="0", says="0"))
    assert app.query_params["when"] == ["clean"] or app.query_params["when"] == "clean"
    assert "show Normal and are said to show Normal before the attack." in markdown(app)
    shown = [block.proto.body for block in app.get("html") if "Perturbed" in block.proto.body]
    assert shown, "no picture is shown"
    app.selectbox(key="evaluate.says").set_value("-1").run()
    assert "0 images of Normal got no answer before the attack." in markdown(app)


def test_what_there_is_so_far_is_true_of_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that has done the first of two batches under the first of two attacks, and goes on."""
    def held(task: Task, owner: str = "", here: bool = False) -> Job:
        job = Job(task, state=State.RUNNING, fraction=0.25)
        at = Bench("cpu", jobs().store, Progress(), lambda task: task.kept(jobs().store), publish=job.publish)
        next(performed(steps_of(task.spec.plan(), "cpu"), at))
        jobs()._jobs[job.key] = job
        return job

    monkeypatch.setattr(jobs(), "submit", held)
    app = opened("evaluate", images="20", attacks="fgsm", eps="1/255,4/255")
    job = next(job for job in jobs()._jobs.values() if job.state is State.RUNNING)
    assert [len(rows.labels) if rows else None for rows in job.found.runs()] == [16, None]
    assert "So far 16 of 20 images" in markdown(app) and not app.error
    assert len(app.get("plotly_chart")) == 5, "one attack alone is not compared"
    assert "The pictures can be opened once all are computed." in markdown(app)
    job.end(State.CANCELLED)


def test_models_stand_side_by_side_on_the_same_images() -> None:
    app = finished(opened("evaluate", images="#0 #1 #2 #3", models="phantom-cxr/resnet18,phantom-cxr/densenet121",
                          attacks="fgsm", eps="4/255"))
    offered = app.selectbox(key="evaluate.run").options
    assert offered[1:] == ["FGSM at 4/255 · phantom-cxr/resnet18", "FGSM at 4/255 · phantom-cxr/densenet121"]
    app.selectbox(key="evaluate.run").set_value("2").run()
    assert not app.exception and app.query_params["run"] in ("2", ["2"])
    table = next(frame.value for frame in app.dataframe if "fooled" in frame.value.columns)
    assert table["attacked"].max() == 2


def test_pictures_that_cost_much_wait_for_a_click(small: AppTest) -> None:
    app = finished(opened("evaluate", **SMALL))
    assert all(toggle.value for toggle in app.toggle)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pages.evaluating.parts.MADE_AGAIN", 5)
        app = opened("evaluate", **SMALL)
    assert app.toggle and not any(toggle.value for toggle in app.toggle)
    assert not [block for block in app.get("html") if "Perturbed" in block.proto.body]


def test_another_attack_is_looked_at(small: AppTest) -> None:
    app = finished(opened("evaluate", **SMALL, run="1"))
    assert app.selectbox(key="evaluate.run").value == "1"
    assert ", by a change that nobody sees." in markdown(app) and "at 1/255, which nobody sees" not in markdown(app)


@pytest.mark.parametrize("query", [{"run": "9"}, {"form": "shares"}, {"says": "7"}, {"models": "no/such"}])
def test_what_the_address_asks_wrongly_is_told(small: AppTest, query: dict[str, str]) -> None:
    app = opened("evaluate", **SMALL, **query)
    name, value = next(iter(query.items()))
    assert any(value in error.value for error in app.error), name


def test_its_file_repeats_it_on_the_command_line(small: AppTest, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    from engine.experiments.config import config_text

    app = finished(opened("evaluate", images="#3 #8", attacks="pgd,fgsm", eps="0.3/255,2/255", seeds="4,7",
                          **{"set.pgd.steps": "3"}))
    assert not app.error
    task = next(job.task for job in jobs()._jobs.values()
                if job.task.kind == "evaluation" and job.task.spec.indices == (3, 8))
    text = config_text("evaluate", settings_of_sweep(task.spec))
    assert tomllib.loads(text)["set"] == ["pgd.steps=3"]
    (tmp_path / "sweep.toml").write_text(text)
    before = {entry.key for entry in jobs().store.recent("attack")}
    assert main(["evaluate", "--config", str(tmp_path / "sweep.toml"), "--json"]) == 0
    assert '"eps": 0.00784' in capsys.readouterr().out
    assert {entry.key for entry in jobs().store.recent("attack")} == before, "something was computed anew"
