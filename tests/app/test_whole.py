"""Explore's last part: what the chosen attack does to a sample of the split, beside what it did to the one picture."""

from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from engine.attacks.spec import make_spec
from engine.experiments.onepicture.explore import warm_task
from engine.experiments.sources import Source
from engine.work.jobs import Job, State, jobs
from engine.work.kinds import Task
from pages.exploring import whole
from pages.ui.runs import Settings
from tests.app.test_pages import SECONDS, opened, settled
from tests.rows import rows


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home in which nothing was computed yet, and a sample that is soon attacked, once that is asked for."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(whole, "IMAGES", 6)


def click(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    for job in list(jobs()._jobs.values()):
        job.wait(SECONDS)
    return app.run()


def captions(app: AppTest) -> str:
    return "\n".join(caption.value for caption in app.caption)


def labels(app: AppTest) -> list[str]:
    return [link.proto.label for link in app.get("page_link")]


def test_the_sample_is_attacked_when_asked_and_the_matrices_say_what_came_of_it() -> None:
    app = settled(opened(attack="fgsm", eps="4/255", index="8"))
    assert "What the model says of 6 images" in captions(app)
    app = click(app, "Attack a sample")
    assert "Of 6 images it reads" in captions(app) and "Open in Evaluate" in labels(app)
    app = click(app, "Draw the curve")
    assert "Worst case within the budget" in captions(app) and "Open in Epsilon" in labels(app)
    app.select_slider(key="explore.eps").set_value(8.0).run()
    assert "Of 6 images it reads" in captions(app), "the curve has left the rows of this epsilon"


def test_a_sample_that_began_by_itself_gives_way_and_begins_again_but_not_once_it_is_stopped(
        monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(warm_task("phantom-cxr/resnet18", "cpu"))

    class Queue:
        def find(self, task: Task) -> Job:
            return job

        def cancel(self, job: Job, owner: str) -> None:
            job.state = State.CANCELLED

    session: dict[str, object] = {whole.BEGUN: job}
    monkeypatch.setattr(whole.st, "session_state", session)
    monkeypatch.setattr(whole, "jobs", Queue)
    monkeypatch.setattr(whole.shell, "owner", lambda: "somebody")
    assert not whole._may_begin(job.task), "it has begun"
    whole.make_way()
    assert job.state is State.CANCELLED and whole._may_begin(job.task)
    session[whole.GAVE_WAY] = set()
    assert not whole._may_begin(job.task), "the visitor has stopped it"


def test_the_matrices_are_there_at_once_for_an_epsilon_that_was_looked_at_before() -> None:
    app = click(settled(opened(attack="fgsm", eps="4/255", index="8")), "Attack a sample")
    slider = next(slider for slider in app.select_slider if slider.label.startswith("Epsilon"))
    app = slider.set_value(2.0).run()
    assert "Attack a sample" in [button.label for button in app.button]
    slider = next(slider for slider in app.select_slider if slider.label.startswith("Epsilon"))
    app = slider.set_value(4.0).run()
    assert "Of 6 images it reads" in captions(app)


def test_an_attack_without_epsilon_has_no_curve() -> None:
    app = settled(opened(attack="deepfool", index="8"))
    assert "This attack has no epsilon, and so no curve." in captions(app)


def test_the_links_carry_the_settings() -> None:
    spec = make_spec("pgd", eps=3 / 255, seed=7, params={"steps": 4})
    asked = whole.texts(Settings(Source("phantom-cxr", "test", 3), "phantom-cxr/resnet18", spec, "cpu"))
    assert asked == {"dataset": "phantom-cxr", "split": "test", "images": "6", "models": "phantom-cxr/resnet18",
                     "attacks": "pgd", "seeds": "7", "numerics": "fast", "device": "cpu", "norm": "linf",
                     "eps": "3/255", "set.pgd.steps": "4"}


def test_a_curve_begins_at_the_clean_accuracy_and_marks_the_chosen_epsilon() -> None:
    runs = [rows([0, 0, 1, 1], [0, 0, 1, 0], after, spec=make_spec("pgd", eps=eps / 255))
            for eps, after in ((1, [0, 1, 1, 0]), (4, [1, 1, 0, 0]))]
    figure = whole.curve(runs, make_spec("pgd", eps=2.5 / 255), 0)
    accuracy = next(trace for trace in figure.data if trace.name == "accuracy")
    assert np.allclose(accuracy.x, [0, 1, 4]) and np.allclose(accuracy.y, [0.75, 0.5, 0.0])
    recall = next(trace for trace in figure.data if (trace.name or "").startswith("recall"))
    assert np.allclose(recall.y, [1.0, 0.5, 0.0])
    assert figure.layout.shapes[0].x0 == 2.5
