"""The Training page as Streamlit runs it, without a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine.experiments.trainings import first
from engine.experiments.trainings.training import training_task
from engine.training.defenses import applied
from engine.training.unfinished import all_unfinished
from engine.work.jobs import State, jobs
from engine.zoo import keeping
from engine.zoo.registry import model_card, trained_path
from pages.learning import outcome
from pages.ui import own
from pages.ui.links import of_training
from tests import stripes
from tests.app.test_data_page import done, pressed, said
from tests.app.test_mishaps import lose
from tests.app.visits import opened

LINK = {"dataset": "stripes", "arch": "small-cnn", "epochs": "3", "full_size_epochs": "2", "lr": "0.03",
        "precision": "float32"}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    with stripes.registered(monkeypatch):
        yield


def run_of(app: AppTest) -> AppTest:
    return next(one for one in app.button if one.label == "Run")


def test_it_opens_with_a_finished_example_and_a_first_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first, "FIRST", {**LINK, "epochs": "1"})
    app = opened("training")
    assert "how phantom-cxr/resnet18 learned" in said(app) and len(app.get("plotly_chart")) >= 2 and not app.error
    app = pressed(app, "A first model")
    assert app.query_params["epochs"] == "1"


def test_what_was_trained_is_shown_with_its_mistakes_and_the_way_on() -> None:
    app = done(opened("training", **LINK))
    assert "80 pictures, 3 epochs: about" in said(app) and not run_of(app).disabled
    app = done(pressed(app, "Run"))
    assert model_card("my/stripes-small-cnn").command.endswith("--precision float32")
    assert "my/stripes-small-cnn is right about" in said(app) and "worst mistakes" in said(app)
    assert "Attack it in Evaluate" in [link.proto.label for link in app.get("page_link")]
    # Other settings are a model of another name.
    app.number_input(key="training.epochs 30").set_value(2).run()
    assert next(one.value for one in app.text_input if one.label.startswith("Name")) == "my/stripes-small-cnn-2"
    keeping.discard("my/stripes-small-cnn")
    app.run()
    assert not app.exception and "deleted or renamed" in said(app)
    keeping.restore(keeping.discarded()[0])
    taken = opened("training", **{**LINK, "epochs": "2", "name": "my/stripes-small-cnn"})
    assert "there is a model 'my/stripes-small-cnn' already" in said(taken).lower() and run_of(taken).disabled


def test_a_stopped_training_is_offered_and_goes_on() -> None:
    app = pressed(opened("training", **{**LINK, "epochs": "200", "name": "my/net"}), "Run")
    job = next(job for job in jobs()._jobs.values() if job.task.kind == "training" and not job.state.over)
    while not all_unfinished():
        job.over.wait(0.02)
    app.run()
    assert any("images a second" in line.value for line in app.caption)
    jobs().cancel(job)
    job.watchers.clear()
    job.wait(60)
    fresh = opened("training")
    assert "my/net: " in said(fresh) and "of 200 epochs" in said(fresh)
    fresh = pressed(fresh, "Set the page to it")
    assert fresh.query_params["name"] == "my/net" and "Goes on after epoch" in said(fresh)
    pressed(fresh, "Forget")
    assert not all_unfinished() and not trained_path("my/net").exists()


@pytest.mark.parametrize(("link", "says"), [
    ({"arch": "inception_v3"}, "cannot look at pictures as small as 32 x 32"), ({"name": "a b"}, "cannot be called"),
    ({"split": "no"}, "too few images"), ({"arch": "vit_b_16", "size": "64"}, "224 x 224 only"),
])
def test_what_cannot_be_trained_says_why(link: dict[str, str], says: str) -> None:
    app = done(opened("training", **{**LINK, **link}))
    assert says in said(app) and ("name" in link or run_of(app).disabled)


def test_visitors_of_a_shared_server_train_where_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(own.SHARED, "1")
    app = opened("training", **LINK)
    assert "hoever runs this server" in said(app) and run_of(app).disabled


def test_a_restarted_server_goes_on_with_what_the_one_before_was_training() -> None:
    task = training_task(stripes.spec(epochs=2))
    lose(task, earlier=True)
    opened("training")
    assert jobs()._jobs[task.key].wait(60).state is State.DONE


def test_a_defense_is_chosen_applied_and_told_with_its_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "warnings_of", lambda history: ["It collapsed."])
    app = opened("training", **{**LINK, "epochs": "1"})
    app.selectbox(key="training.defense").set_value("at").run()
    app.selectbox(key="training.defense.at.attack").set_value("fgsm").run()
    assert "Madry" in said(app) and app.query_params["defense.attack"] == "fgsm"
    assert "how kermany/mobilenet_v3_small-at learned" in said(app), "the example has the defense, too"
    assert next(one.value for one in app.selectbox if one.label == "Best epoch by") == "robust", "what suits it"
    app = done(pressed(done(app), "Run"))
    card = model_card("my/stripes-small-cnn-at")
    assert card.training["defense"]["written"] == "at:attack=fgsm"
    assert "--defense at:attack=fgsm" in card.command and "--select" not in card.command
    assert "accuracy under PGD-10" in str(app.get("plotly_chart")[0].proto)
    assert "It collapsed." in [one.value for one in app.warning]


def test_the_address_of_a_training_names_its_defense() -> None:
    texts = of_training(applied(stripes.spec(defense="at:eps=8/255,attack=fgsm", select="robust")))
    app = opened("training", **texts)
    assert not app.error and app.query_params["defense.eps"] == str(8 / 255) and not app.warning
    app = opened("training", **{**texts, "defense.eps": "0.5"})
    assert ["hardly anything" in one.value for one in app.warning] == [True]


@pytest.mark.parametrize(("link", "says"), [
    ({"defense": "jpeg"}, "unknown defense at training time"), ({"defense": "ant"}, "undefended model"),
    ({"defense": "noise", "select": "robust"}, "obust accuracy"),
    ({"defense": "noise", "defense.sigma": "9"}, "sigma"),
])
def test_a_defense_that_makes_no_sense_says_why(link: dict[str, str], says: str) -> None:
    assert says in said(opened("training", **{**LINK, **link}))
