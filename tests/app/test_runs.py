"""The Runs page as Streamlit runs it, without a browser: found, seen, named, compared, deleted, taken in."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine.attacks.spec import make_spec
from engine.experiments.gathered import payload_of_runs, runs_of
from engine.experiments.runs.again import repeating_task
from engine.experiments.runs.archive import export
from engine.experiments.runs.kept import IMPORTED, read
from engine.experiments.sweeps import evaluation_task, sweep_of
from engine.progress import Progress
from engine.work.entries import Label
from engine.work.jobs import jobs
from engine.work.kinds import Bench
from engine.work.room import LIMIT
from engine.work.specs import to_json
from engine.work.store import Store
from pages.ui import own
from tests.made import keep, ladder, made

APP = Path(__file__).resolve().parents[2] / "app.py"
NASTY = "<script>alert(1)</script> **bold** [link](http://evil.example) :smile: $x$"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(LIMIT, raising=False)
    return Store(tmp_path / "home" / "runs")


def opened(**query: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=120)
    for name, value in query.items():
        app.query_params[name] = value
    app.switch_page("pages/runs.py").run()
    assert not app.exception, app.exception
    return app


def said(app: AppTest) -> str:
    """Everything that the page says in words."""
    return "\n".join(str(block.value) for kind in ("subheader", "caption", "markdown", "error", "info", "success",
                                                                "warning")
                     for block in getattr(app, kind))


def button(app: AppTest, label: str) -> Callable[[], AppTest]:
    def press() -> AppTest:
        after = next(one for one in app.button if one.label == label).click().run()
        assert not after.exception, after.exception
        return after

    return press


def listed(app: AppTest) -> list[str]:
    return list(app.dataframe[0].value["Name"]) if "Name" in app.dataframe[0].value else []


def test_where_nothing_was_run_the_page_says_what_to_do(store: Store) -> None:
    app = opened()
    assert "Nothing was run yet" in said(app) and not app.error


def test_runs_are_listed_and_found(store: Store) -> None:
    store.call(keep(store), "Figure 3", "for the reviewer")
    keep(store, ladder(attack="fgsm"), contents="b" * 64)
    app = opened()
    assert len(listed(app)) == 2 and listed(app)[1] == "Figure 3" and "2 runs." in said(app)
    app.text_input(key="runs.text").set_value("REVIEWER pgd").run()
    assert listed(app) == ["Figure 3"] and "REVIEWER pgd" in app.query_params["text"]
    app.text_input(key="runs.text").set_value("nothing like it").run()
    assert "No run is like that" in said(app)
    assert listed(opened(text="fgsm")) != ["Figure 3"] and len(listed(opened(text="fgsm"))) == 1
    assert "No run is like that" in said(opened(starred="yes"))


def test_a_link_opens_a_run_with_all_that_it_found(store: Store) -> None:
    key = keep(store)
    app = opened(runs=key[:16])
    assert "evaluation: pgd on 4 images" in said(app) and "The command that repeats it" in said(app)
    command = next(block.value for block in app.code)
    assert command.startswith("python -m engine evaluate --dataset phantom-cxr --split test") and (
        "--eps 1/255,2/255,4/255" in command and "--index 0 1 2 3" in command)
    overview = next(table.value for table in app.dataframe if "accuracy_adversarial" in table.value)
    assert list(overview["accuracy_adversarial"]) == [0.75, 0.5, 0.0] and "surrogate" not in overview
    assert len(app.get("plotly_chart")) == 3  # the curve, and the matrices before and after
    app.selectbox(key=f"runs.matrix {key[:12]}").set_value(2).run()
    assert not app.exception
    assert said(opened(runs="0000")).count("Choose one") == 1


def test_a_run_is_named_starred_deleted_and_had_back(store: Store) -> None:
    key = keep(store)
    app = opened(runs=key[:16])
    next(one for one in app.text_input if one.label == "Name").set_value("Figure 3")
    next(one for one in app.text_area).set_value("a note")
    button(app, "Keep")()
    assert store.entry(key).label == Label("Figure 3", "a note") and listed(app) == ["Figure 3"]
    button(app, "Star")()
    assert store.entry(key).starred
    button(app, "Unstar")()
    assert not store.entry(key).starred
    button(app, "Delete")()
    assert not store.has(key) and "1 run deleted just now" in said(app) and "Nothing was run yet" in said(app)
    button(app, "Undo")()
    assert store.entry(key).called == "Figure 3" and listed(app) == ["Figure 3"] and "deleted" not in said(app)
    assert any(block.value == "Figure 3" for block in app.subheader)  # and is chosen again


def test_a_run_is_started_anew_and_told_how_it_came_out(store: Store) -> None:
    sweep = sweep_of("phantom-cxr", "test", (5, 0), ("phantom-cxr/resnet18",), (make_spec("fgsm", eps=8 / 255),))
    task = evaluation_task(sweep, "cpu")
    rows = runs_of(Bench("cpu", store, Progress(), lambda one: None).result(task))[0]
    app = opened(runs=task.key[:16])
    for turn, outcome in enumerate(("the same bytes came of it, on all 2 rows", "2 of 2 predictions of attacked")):
        button(app, "Re-run")()
        jobs().find(repeating_task(read(store, task.key), turn)).wait(60)  # type: ignore[union-attr]
        app.run()
        assert outcome in said(app)
        wrong = replace(rows, logits_adversarial=-rows.logits_adversarial, logits_8bit=-rows.logits_8bit)
        store.put(task.key, task.kind, task.title, to_json(sweep), payload_of_runs([wrong]))


def test_two_runs_are_compared(store: Store) -> None:
    labels = [0, 1, 2, 1]
    other = [made(labels, labels, [1, 1, 0, 0], spec=rows.spec, model="phantom-cxr/densenet121") for rows in ladder()]
    keys = [keep(store), keep(store, other, contents="b" * 64)]
    app = opened(runs=".".join(key[:16] for key in keys))
    assert "2 runs compared" in said(app) and "What was asked for differently" in said(app)
    table = next(table.value for table in app.dataframe if "setting" in table.value)
    assert {"phantom-cxr/resnet18", "phantom-cxr/densenet121"} <= set(table[table["setting"] == "models"].iloc[0])
    assert len(app.get("plotly_chart")) == 2  # curves over each other, matrices subtracted
    button(app, "Delete these 2")()
    assert store.search().total == 0 and "2 runs deleted just now" in said(app)
    button(app, "Undo")()
    assert store.search().total == 2


def test_a_file_is_taken_in_and_what_is_wrong_with_another_is_one_line(store: Store, tmp_path: Path) -> None:
    elsewhere, file = Store(tmp_path / "elsewhere"), io.BytesIO()
    key = keep(elsewhere)
    elsewhere.call(key, "from a colleague")
    export(elsewhere, read(elsewhere, key), file)
    app = opened()
    app.file_uploader[0].upload("run.zip", file.getvalue(), "application/zip").run()
    assert not app.exception and "from a colleague was imported" in said(app) and "IMPORTED" in said(app)
    entry, = store.search().entries
    assert entry.key.endswith(IMPORTED)
    app.file_uploader[0].upload("wrong.zip", b"no zip", "application/zip").run()
    assert not app.exception and "wrong.zip: this is no run exported by Perturbscope" in said(app)
    assert store.search().total == 1


def test_texts_from_outside_are_shown_as_they_are(store: Store) -> None:
    key = keep(store, [made([0, 1], [0, 1], [1, 1], model=NASTY, classes=(NASTY, "yes"))])
    store.call(key, NASTY, NASTY)
    other = keep(store, contents="b" * 64)
    for chosen in (key[:16], f"{key[:16]}.{other[:16]}"):
        app = opened(runs=chosen)
        assert not app.exception
        for text in (said(app).splitlines()):
            assert "<script" not in text and "**bold**" not in text and "[link](" not in text


def test_the_limit_is_set(store: Store) -> None:
    keep(store)
    app = opened()
    next(one for one in app.text_input if one.label == "Keep at most").set_value("20 GB")
    button(app, "Set")()
    assert store.limit.bytes == 20 * 10**9
    next(one for one in app.text_input if one.label == "Keep at most").set_value("plenty")
    button(app, "Set")()
    assert "'plenty' is no size" in said(app)


@pytest.mark.parametrize("query", [{"kind": "no such"}, {"order": "x"}, {"runs": "ü"}, {"runs": ".".join("abcdefghij")},
                                   {"other": "1"}])
def test_an_address_that_asks_for_what_is_not_there_is_told(store: Store, query: dict[str, str]) -> None:
    keep(store)
    app = opened(**query)
    assert any("The address asks for" in block.value for block in app.error) and len(listed(app)) == 1


def test_a_report_is_made_by_a_click(store: Store, undrawn: None) -> None:
    key = keep(store)
    app = opened(runs=key[:16])
    button(app, "Make the HTML")()
    assert [one.proto.label for one in app.get("download_button") if "HTML" in one.proto.label] == ["Download the HTML"]
    button(app, "Make the PDF")()
    assert [one.proto.label for one in app.get("download_button") if "Download the" in one.proto.label] == [
        "Download the HTML", "Download the PDF"]


# ---- a server for several people


def test_on_a_shared_server_a_visitor_sees_own_runs_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [keep(store), keep(store, ladder(attack="fgsm"), contents="b" * 64)]
    assert "2 runs." in said(opened())
    monkeypatch.setenv(own.SHARED, "1")
    assert "Nothing was run yet" in said(opened())
    link = opened(runs=keys[1])
    assert "Nothing was run yet" in said(link) and not link.dataframe
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.session_state[own._KEYS] = {keys[0]}
    app.switch_page("pages/runs.py").run()
    assert not app.exception and "1 run." in said(app) and len(app.dataframe[0].value) == 1
