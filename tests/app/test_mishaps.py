"""After a server was killed or its index was damaged, the page says so once, and offers what can be done."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from engine.attacks.spec import make_spec
from engine.experiments.epsilon.minimal import minimal_task
from engine.experiments.onepicture.explore import explore_task
from engine.experiments.sources import Source
from engine.experiments.sweeps import evaluation_task, sweep_of
from engine.home import home
from engine.work.jobs import State, jobs
from engine.work.journal import Accepted, Journal, _write
from engine.work.kinds import Task
from engine.work.store import Payload
from tests.app.test_pages import SECONDS, address, opened, settled

MODEL = "phantom-cxr/resnet18"
SOURCE = Source("phantom-cxr", "validation", 5)
SPEC = make_spec("bim", eps=3 / 255, seed=4, params={"steps": 2})


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home that no other test has lost anything in."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path))
    yield


def lose(lost: Task, *, earlier: bool = False, **changes: object) -> None:
    """The journal of a server that was killed while it worked on `lost`; `earlier`: before this one started."""
    if not earlier:
        jobs().take_up()
    folder = home() / "runs" / "journal"
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"key": lost.key, "title": lost.title, "task": lost.to_json(), "submitted": 1.0}
    _write(folder / f"{lost.key}.json", [Accepted(**{**facts, **changes})])  # type: ignore[arg-type]


def warnings(app: AppTest) -> list[str]:
    return [element.value for element in app.warning]


def button(app: AppTest, label: str) -> Button:
    return next(button for button in app.button if button.label == label)


@pytest.mark.parametrize("open_on", ["pgd", "hopskipjump"])
def test_lost_work_is_named_and_run_again_with_its_settings(open_on: str) -> None:
    lose(task := explore_task(SOURCE, MODEL, SPEC))
    app = opened(attack=open_on)
    assert warnings(app) == [f"The server stopped while it worked on: {task.title}."]
    button(app, "Run it again").click().run()
    assert not app.error and warnings(app) == [] and task.key in jobs()._jobs
    app = settled(app)
    assert not app.error
    wanted = {"split": "validation", "index": "5", "attack": "bim", "eps": "3/255", "seed": "4", "set.steps": "2"}
    assert wanted.items() <= address(app).items()
    assert app.session_state["explore shown"].key == task.key
    assert jobs().store.get(task.key) is not None
    assert warnings(opened()) == []


def test_lost_work_can_be_forgotten() -> None:
    lose(task := explore_task(SOURCE, MODEL, SPEC))
    lost = task.key
    app = opened()
    before = address(app)
    button(app, "Forget").click().run()
    assert warnings(app) == [] and warnings(opened()) == [] and address(app) == before
    assert not any(path.stem == lost for path in (home() / "runs" / "journal").iterdir())


def test_a_lost_search_starts_again_once_its_attack_is_there() -> None:
    lose(task := minimal_task(SOURCE, MODEL, SPEC))
    app = opened()
    button(app, "Run it again").click().run()
    app = settled(app)
    deadline = time.monotonic() + SECONDS
    while not jobs().store.has(task.key) and time.monotonic() < deadline:
        app.run()
    assert jobs().store.has(task.key)


def lost_otherwise(task: Task, **source: object) -> dict:
    """The task as its journal would say it if it were of another picture."""
    facts = task.to_json()
    return {**facts, "spec": {**facts["spec"], **source}}


@pytest.mark.parametrize("change", [{"dataset": "gone"}, {"dataset": []}, {"split": "x"}])
def test_what_cannot_be_asked_for_again_is_one_line_and_starts_nothing(change: dict) -> None:
    task = explore_task(SOURCE, MODEL, SPEC)
    lose(task, task=lost_otherwise(task, **change))
    app = opened(attack="hopskipjump")
    app.session_state["explore started"] = True  # what a page starts by itself when it opens is not meant here
    button(app, "Run it again").click().run()
    assert len(app.error) == 1 and "\n" not in app.error[0].value
    assert warnings(app) == [] and jobs()._jobs == {}


def sweep() -> Task:
    return evaluation_task(sweep_of(SOURCE.dataset, SOURCE.split, (5, 6), (MODEL,), (make_spec("fgsm", eps=3 / 255),)))


def test_a_lost_sweep_is_run_again_where_it_stands() -> None:
    lose(task := sweep())
    app = opened(attack="hopskipjump")
    assert warnings(app) == [f"The server stopped while it worked on: {task.title}."]
    button(app, "Run it again").click().run()
    assert not app.error and not app.exception and warnings(app) == []
    assert jobs()._jobs[task.key].wait(SECONDS).state is State.DONE


def test_a_sweep_that_goes_on_leads_to_the_runs() -> None:
    lose(task := sweep(), earlier=True)
    app = opened(attack="hopskipjump")
    assert any(f"The server stopped while it worked on: {task.title}." in e.value for e in app.caption)
    assert "Runs" in [link.proto.label for link in app.get("page_link")]
    assert jobs()._jobs[task.key].wait(SECONDS).state is State.DONE


def test_what_was_under_way_when_the_server_stopped_goes_on_by_itself() -> None:
    lose(task := explore_task(SOURCE, MODEL, SPEC), earlier=True)
    app = opened(attack="hopskipjump")
    assert f"The server stopped while it worked on: {task.title}. It goes on." in [e.value for e in app.caption]
    assert jobs()._jobs[task.key].wait(SECONDS).state is State.DONE
    app.run()
    button(app, "Show").click().run()
    assert app.session_state["explore shown"].key == task.key and address(app)["eps"] == "3/255"
    assert not any("The server stopped" in element.value for element in opened().caption)


def test_the_page_notes_what_it_works_on_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[str] = []
    accept = Journal.accept
    monkeypatch.setattr(Journal, "accept", lambda self, job: (noted.append(job.task["kind"]), accept(self, job)))
    app = settled(opened(seed=7))
    assert noted[0] == "explore" and app.session_state["explore shown"] is not None
    (own,) = (home() / "runs" / "journal").glob("*.json")
    assert json.loads(own.read_text()) == []


def test_a_mended_index_is_told_until_somebody_has_read_it() -> None:
    store = jobs().store
    settled(opened())
    (store.folder / "index.sqlite").write_bytes(b"x" * 4096)
    store.recent()
    app = opened()
    assert len(warnings(app)) == 1 and "was damaged" in warnings(app)[0] and "set aside" in warnings(app)[0]
    button(app, "Close").click().run()
    assert warnings(app) == [] and warnings(opened()) == []


@pytest.mark.parametrize(("kind", "fact"), [
    pytest.param("explore", "layers", marks=pytest.mark.slow), ("explore", "steps"), ("heatmaps", "shift")])
def test_a_kept_result_of_another_form_is_computed_again(kind: str, fact: str) -> None:
    app = settled(opened(seed=7))  # not the example that came with the program
    store = jobs().store
    (entry,) = store.recent(kind)
    whole = store.get(entry.key)
    assert whole is not None and fact in whole.facts
    other = Payload({name: value for name, value in whole.facts.items() if name != fact}, whole.arrays)
    store.put(entry.key, kind, entry.title, entry.spec, other)
    jobs()._jobs.clear()
    again = settled(opened(**{name.replace(".", "__"): value for name, value in address(app).items()}))
    assert not again.error
    mended = store.get(entry.key)
    assert mended is not None and mended.facts.keys() == whole.facts.keys() and mended.facts[fact] == whole.facts[fact]
