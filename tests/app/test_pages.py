"""The pages as Streamlit runs them, without a browser: controls, address, verdict, bad input."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from engine.attacks import ATTACKS
from engine.attacks.spec import make_spec
from engine.defenses import DEFENSES
from engine.experiments.onepicture import pace
from engine.experiments.onepicture.explore import explore_task, warm_task
from engine.experiments.sources import Source, picture
from engine.params import params_of
from engine.training.defenses import TRAINING_DEFENSES
from engine.work.jobs import Job, State, jobs
from pages.exploring import against_eps, following
from pages.exploring.run import Run
from pages.ui.runs import Settings

APP = Path(__file__).resolve().parents[2] / "app.py"
SECONDS = 120


def opened(**query: str) -> AppTest:
    """The page as a link opens it, drawn once: nothing is computed yet."""
    app = AppTest.from_file(str(APP), default_timeout=SECONDS)
    for name, value in query.items():
        app.query_params[name.replace("__", ".")] = value
    app.run()
    assert not app.exception, app.exception
    return app


def settled(app: AppTest) -> AppTest:
    """The page once everything that runs is over. AppTest has no clock of its own for fragments that poll."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        app.run()
        assert not app.exception, app.exception
        if verdict(app) and not app.get("progress"):
            return app
        time.sleep(0.2)
    raise AssertionError("the page never came to rest")


def verdict(app: AppTest) -> str:
    return next((block.proto.body for block in app.get("html") if 'class="ps-verdict"' in block.proto.body), "")


def run_button(app: AppTest) -> Button:
    return next(button for button in app.button if button.label == "Run")


def address(app: AppTest) -> dict[str, str]:
    return {name: values[0] if isinstance(values, list) else values for name, values in app.query_params.items()}


@pytest.fixture(scope="module")
def first() -> Iterator[AppTest]:
    """The first visit, attack included; tests must not change it."""
    yield settled(opened())


def test_the_first_drawing_needs_no_slow_library() -> None:
    import subprocess
    import sys

    code = ("import sys; from streamlit.testing.v1 import AppTest; "
            f"app = AppTest.from_file({str(APP)!r}, default_timeout=60).run(); assert not app.exception; "
            "assert any('ps-verdict' in it.proto.body for it in app.get('html')), 'nothing to see'; "
            "slow = {'torch', 'skimage', 'sklearn', 'scipy.stats'}; "
            "sys.exit(bool(slow & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code], cwd=APP.parent, check=False).returncode == 0


def test_the_first_visit_shows_an_attack_that_worked(first: AppTest) -> None:
    assert "The attack worked" in verdict(first)
    assert "Still fools it saved as 8-bit PNG" in verdict(first)
    assert "would not see it" in verdict(first) or "would hardly see it" in verdict(first)
    assert not first.error


def test_the_standing_line_is_there(first: AppTest) -> None:
    assert any("not for diagnosis" in block.proto.body for block in first.get("html"))


def test_a_sample_of_the_split_stands_below_the_picture_at_once(first: AppTest) -> None:
    said = [caption.value for caption in first.caption]
    assert sum("A stored example that came with Perturbscope" in line for line in said) == 3, "picture, matrices, curve"
    assert any(line.startswith("Of 48 images it reads") for line in said), "renew it: python -m engine examples"


def test_the_command_line_repeats_the_run(first: AppTest) -> None:
    command = next(block.value for block in first.code if "engine attack" in block.value)
    for part in ("--dataset phantom-cxr", "--split test", "--model phantom-cxr/resnet18", "--index ", "--seed 0"):
        assert part in command


def test_the_address_names_every_choice(first: AppTest) -> None:
    assert {"dataset", "split", "index", "model", "attack", "eps", "seed"} <= address(first).keys()


def test_every_attack_draws_a_control_for_every_setting() -> None:
    app = opened()
    for name in ATTACKS:
        cls = ATTACKS[name]
        app.selectbox(key="explore.attack").set_value(name).run()
        assert not app.exception, name
        drawn = {w.key for kind in ("number_input", "selectbox", "toggle", "text_input") for w in getattr(app, kind)}
        assert {f"explore.set.{name}.{p.name}" for p in params_of(cls)} <= drawn
        assert address(app)["attack"] == name


def test_a_link_reopens_the_same_view() -> None:
    link = {"dataset": "phantom-cxr", "split": "validation", "index": "7", "attack": "bim", "eps": "0.37/255",
            "set__steps": "3", "seed": "5", "target": "Normal"}
    app = opened(**link)
    assert not app.error
    assert app.selectbox(key="explore.split").value == "validation"
    assert app.session_state["explore.index"] == 7
    assert app.selectbox(key="explore.attack").value == "bim"
    assert app.select_slider(key="explore.eps").value == pytest.approx(0.37)
    assert app.number_input(key="explore.set.bim.steps").value == 3
    assert app.number_input(key="explore.seed").value == 5
    assert {name.replace("__", "."): value for name, value in link.items()}.items() <= address(app).items()


@pytest.mark.parametrize(("name", "value", "line"), [
    ("eps", "300/255", "between 0 and 255/255"),
    ("eps", "much", "must be a number"),
    ("attack", "fgms", "did you mean: fgsm"),
    ("split", "tset", "did you mean: test"),
    ("index", "99999", "images 0 to"),
    ("index", "one", "whole number"),
    ("model", "phantom-cxr/resnet81", "did you mean: phantom-cxr/resnet18"),
    ("model", "net.onnx", "files of the kind .onnx are not taken"),
    ("model", "kermany/densenet121", "choose another model"),
    ("mask", "zzz", "there are: cam, drawn, lesion, lung, none"),
    ("surrogate", "zzz", "none, phantom-cxr/densenet121"),
    ("dataset", "phantom", "did you mean: phantom-ct, phantom-cxr"),
    ("dataset", "folder:" + "a" * 5000, "no folder"),
    ("dataset", "folder:nul\0byte", "no folder"),
    ("model", "a" * 5000 + ".pt", "no checkpoint"),
    ("upload", "a" * 5000, "upload the picture again"),
    ("target", "Fracture", "unknown class"),
    ("seed", "-1", "between 0 and"),
    ("set__steps", "0", "between"),
    ("upload", "xyz", "upload the picture again"),
    ("epsilon", "1/255", "unknown setting 'epsilon'"),
])
def test_what_an_address_gets_wrong_is_one_line_and_falls_back(name: str, value: str, line: str,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURBSCOPE_FOLDERS", os.sep)  # otherwise the page asks before it looks at a path
    query = {"attack": "pgd", "seed": "3"} | {name: value}
    app = opened(**query)
    assert len(app.error) == 1 and line in app.error[0].value and "\n" not in app.error[0].value
    assert run_button(app).label == "Run" and not run_button(app).disabled
    if name != "seed":
        assert app.number_input(key="explore.seed").value == 3


def test_an_exact_epsilon_moves_the_slider_and_the_address() -> None:
    app = opened()
    app.number_input(key="explore.eps exact").set_value(0.33).run()
    assert app.select_slider(key="explore.eps").value == pytest.approx(0.33)
    assert address(app)["eps"] == "0.33/255"


def test_changed_settings_wait_for_run(first: AppTest) -> None:
    app = settled(opened(follow="off"))
    before = verdict(app)
    app.select_slider(key="explore.eps").set_value(0.0).run()
    assert "press **Run**" in app.info[0].value
    assert verdict(app) == before
    run_button(app).click().run()
    app = settled(app)
    assert not app.info and "held" in verdict(app) and "Largest pixel change 0/255" in verdict(app)


def test_a_quick_attack_follows_epsilon_until_the_visitor_turns_that_off(first: AppTest,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    known = {("phantom-cxr/resnet18", "auto"): pace.Pace(1e-3)}
    monkeypatch.setattr(pace, "learn", lambda *spent: None)
    monkeypatch.setattr(pace, "_known", known)
    monkeypatch.setattr(against_eps, "AT_ONCE", 0.0)
    app = settled(opened())
    app.select_slider(key="explore.eps").set_value(0.1).run()
    app = settled(app)
    assert "Largest pixel change 0.1/255" in verdict(app) and not app.info and "follow" not in address(app)
    app.number_input(key="explore.seed").set_value(7).run()
    assert "press **Run**" in app.info[0].value, "not only epsilon has changed"
    app.number_input(key="explore.seed").set_value(0).run()
    app.toggle(key="explore.follow").set_value(False).run()
    app.select_slider(key="explore.eps").set_value(0.2).run()
    assert "press **Run**" in app.info[0].value and address(app)["follow"] == "off"
    app.select_slider(key="explore.eps").set_value(0.1).run()
    assert "Largest pixel change 0.1/255" in verdict(app) and not app.info, "what is known is there at once"
    app.toggle(key="explore.follow").set_value(True).run()
    known["phantom-cxr/resnet18", "auto"] = pace.Pace(1.0)
    app.select_slider(key="explore.eps").set_value(0.2).run()
    assert "press **Run**" in app.info[0].value and app.toggle(key="explore.follow").disabled, "it takes long"


def test_an_epsilon_that_was_moved_on_from_before_its_turn_makes_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_known", {("phantom-cxr/resnet18", "cpu"): pace.Pace(1e-3)})
    source = Source("phantom-cxr", "test", 3)

    def settings(eps: float, attack: str = "fgsm") -> Settings:
        return Settings(source, "phantom-cxr/resnet18", make_spec(attack, eps=eps), "cpu")

    def gives_way(to: Settings, state: State) -> bool:
        waiting = Run(settings(0.01), picture(source), Job(warm_task("phantom-cxr/resnet18"), state=state))
        following.make_way(to, waiting)
        return waiting.job.cancelled.is_set()

    assert gives_way(settings(0.02), State.QUEUED)
    assert not gives_way(settings(0.02), State.RUNNING), "it has begun"
    assert not gives_way(settings(0.02, "bim"), State.QUEUED), "another attack was asked for by a click"


def test_a_second_visit_computes_nothing(first: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(jobs()), "submit", lambda self, task, owner="": pytest.fail(f"{task.kind} computed again")
                        if task.kind == "explore" else jobs().find(task))
    app = opened(**{name.replace(".", "__"): value for name, value in address(first).items()})
    assert verdict(app) == verdict(first)


def test_an_attack_that_ends_while_the_page_is_drawn_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(attack="fgsm", index="3")
    wait, missed = Job.wait, Job(warm_task("phantom-cxr/resnet18"))

    def late(job: Job, seconds: float | None = None) -> Job:
        if job.task.kind != "explore":
            return wait(job, seconds)
        wait(job, SECONDS)
        # Whoever is ready to wait is told that it is not over; a moment later it is.
        return missed if seconds else job

    monkeypatch.setattr(Job, "wait", late)
    run_button(app).click().run()
    assert not app.exception
    assert "After the attack it says" in verdict(app)


def test_a_saved_run_is_an_address_again(first: AppTest) -> None:
    from pages.ui import runs

    shown = first.session_state["explore shown"]
    saved = runs.to_json(shown.settings, shown.explored)
    texts = runs.address_of(saved.encode())
    assert address(first).items() <= texts.items()
    again = opened(**{name.replace(".", "__"): value for name, value in texts.items()})
    assert not again.error and again.session_state["explore shown"].settings == shown.settings
    assert json.loads(saved)["run"]["provenance"]["versions"]["torch"]


def test_a_link_from_a_table_shows_the_picture_as_it_came_out_in_its_batch() -> None:
    link = {"index": "5", "company": "3.5.8", "attack": "fgsm", "eps": "3/255"}
    app = settled(opened(**link))
    assert address(app)["company"] == "3.5.8" and not app.error
    assert any("Attacked together with the 2 others" in caption.value for caption in app.caption)
    assert "--index 3 5 8 " in app.code[0].value
    shown = app.session_state["explore shown"]
    task = explore_task(Source("phantom-cxr", "test", 5), shown.settings.model, shown.settings.attack,
                        company=(3, 5, 8))
    assert shown.job.key == task.key and shown.explored.run.n == 1


@pytest.mark.parametrize(("company", "line"), [
    ("3.8", "among them the chosen one"), ("x", "image numbers such as"), ("5.100000", "has images 0 to"),
    (".".join(map(str, range(20))), "cannot be attacked together in batches of 16")])
def test_a_company_that_cannot_be_is_told(company: str, line: str) -> None:
    app = opened(index="5", company=company, attack="fgsm")
    assert any(line in error.value for error in app.error)


def test_about_explains_everything_that_is_registered() -> None:
    app = AppTest.from_file(str(APP), default_timeout=SECONDS).run()
    app.switch_page("pages/about.py").run()
    assert not app.exception
    labels = " ".join(expander.label for expander in app.expander)
    assert all(cls.info.title in labels
               for cls in (*ATTACKS.values(), *DEFENSES.values(), *TRAINING_DEFENSES.values()))
    assert "phantom-cxr/resnet18" in labels
    assert any("not for diagnosis" in block.value for block in app.markdown)


def test_run_computes_the_stored_example_on_this_machine() -> None:
    app = settled(opened())
    lacking = "pictures of its steps are left out"
    assert any(lacking in caption.value for caption in app.caption)
    run_button(app).click().run()
    settled(app)
    job = app.session_state["explore shown"].job
    assert job.state is State.DONE and job.example is None and job.payload is not None
    assert len(job.payload.arrays["snapshots"]) == 11
    assert verdict(app) and not any(lacking in caption.value for caption in app.caption)
