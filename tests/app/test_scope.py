"""A second page uses the shared controls after Explore, or two use them at once: neither sees what the other's say."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine.attacks.spec import make_spec
from engine.experiments.epsilon.minimal import minimal_task
from engine.experiments.sources import Source
from engine.work.jobs import jobs
from engine.work.kinds import Task
from tests.app.test_arsenal import drawing
from tests.app.test_pages import SECONDS, address

EXPLORE = str(Path(__file__).resolve().parents[2] / "pages" / "explore.py")
# The link that Explore is opened with.
EXPLORED = {"attack": "bim", "eps": "3/255", "index": "5", "seed": "7", "split": "validation"}
# What a page of another name draws: every shared control, and work that a button starts.
DRAWN = '''
from functools import partial
import streamlit as st
from engine.experiments.epsilon.minimal import minimal_task
from engine.experiments.sources import seen_by
from pages.ui import controls, defending, progress, sources
from pages.ui.address import Address
from pages.ui.scope import Scope


def drawn(name, places):
    """The page's settings as one text, from its own controls."""
    scope = Scope(name)
    address = Address(scope, "dataset")
    for path, texts in address.questions.items():
        sources.ask(scope, path, texts)
    data, split = sources.dataset(address)
    source = sources.source(address, data, split)
    sources.chooser(scope, data, source)
    model = sources.model(address, data.info)
    chosen, labelled = seen_by(model, source)
    attack, device = controls.attack_spec(address, labelled.classes, chosen, "fgsm", sources.others(model), places,
                                          partial(defending.front, address))
    address.check_names()
    for line in filter(None, [*address.problems, sources.trouble(scope)]):
        st.error(f"{name}: {line}")
    if attack.norm == "linf":
        progress.on_request(scope, minimal_task(source, model, attack, device), f"{name} searches", "Search", "search")
    st.text(f"{name} {source.split} {source.index} {attack.attack} {attack.eps * 255:g} {attack.mask} {attack.seed}")
    return address
'''
SECOND = DRAWN + '''
drawn("second", controls.bar()).write()
'''
BOTH = DRAWN + '''
for name in ("left", "right"):
    drawn(name, controls.Bar(*st.columns(5)))
'''
TWO_PAGES = f'''
import streamlit as st
from pages.ui import shell

page = st.navigation([st.Page({EXPLORE!r}, title="Explore", default=True),
                      st.Page("second.py", title="Second")])
token = shell._inside.set(True)
page.run()
shell._inside.reset(token)
'''


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home in which nothing was searched yet."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))


@pytest.fixture
def app(tmp_path: Path) -> AppTest:
    """Explore, open and idle, and a second page to go to."""
    (tmp_path / "app.py").write_text(TWO_PAGES)
    (tmp_path / "second.py").write_text(SECOND)
    app = AppTest.from_file(str(tmp_path / "app.py"), default_timeout=SECONDS)
    app.session_state["explore started"] = True  # what Explore starts by itself when it opens is not meant here
    for name, value in EXPLORED.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception and not app.error
    return app


def go(app: AppTest, page: str) -> None:
    """To another page by the navigation, on which a browser leaves the address behind."""
    app.query_params.clear()
    app.switch_page(page).run()
    assert not app.exception, app.exception


def remembered(app: AppTest, page: str) -> dict[str, object]:
    """What the session holds for a page, beside what its controls say."""
    state = app.session_state.to_dict()
    return {key: value for key, value in state.items() if key.startswith(f"{page} ")}


def said(app: AppTest) -> list[str]:
    return [element.value for element in app.text]


def test_each_page_keeps_its_own_settings_and_its_own_address(app: AppTest) -> None:
    explored, before = address(app), remembered(app, "explore")
    assert EXPLORED.items() <= explored.items()
    go(app, "second.py")
    assert said(app) == ["second test 8 fgsm 2  0"] and not app.error
    app.selectbox(key="second.attack").set_value("pgd").run()
    app.number_input(key="second.seed").set_value(3).run()
    app.number_input(key="second.eps exact").set_value(0.5).run()
    app.selectbox(key="second.mask").set_value("lesion").run()
    app.session_state["second.index"] = 11
    app.run()
    second = ["second test 11 pgd 0.5 lesion 3"]
    seconds = address(app)
    assert said(app) == second and not app.error
    assert {"attack": "pgd", "eps": "0.5/255", "index": "11", "seed": "3", "mask": "lesion"}.items() <= seconds.items()
    assert remembered(app, "explore").items() <= before.items(), "but for widgets, which Streamlit forgets"
    go(app, EXPLORE)
    assert address(app) == explored and not app.error
    assert app.selectbox(key="explore.attack").value == "bim" and app.session_state["explore.index"] == 5
    app.selectbox(key="explore.attack").set_value("fgsm").run()
    go(app, "second.py")
    assert said(app) == second and address(app) == seconds


def test_the_second_page_alone_remembers_nothing_for_explore(tmp_path: Path) -> None:
    app = AppTest.from_string(SECOND, default_timeout=SECONDS).run()
    assert not app.exception and not app.error
    state = app.session_state.to_dict()
    assert remembered(app, "second") and not [key for key in state if "explore" in key]
    assert {key for key in state if not key.startswith(("second ", "second."))} <= {"forced"}


def test_what_a_link_gets_wrong_and_where_it_leads_is_the_pages_own(app: AppTest) -> None:
    app.session_state["second travel"] = {"attack": "fgms", "split": "validation"}
    app.run()
    assert not app.error and address(app)["attack"] == "bim"
    go(app, "second.py")
    assert len(app.error) == 1 and "second: The address asks for attack = fgms" in app.error[0].value
    assert said(app)[0].startswith("second validation")
    app.session_state["second.upload trouble"] = "not a picture"
    go(app, EXPLORE)
    assert not app.error and address(app).items() >= EXPLORED.items()


def search() -> Task:
    """What the second page's button searches when it has just been opened."""
    return minimal_task(Source("phantom-cxr", "test", 8), "phantom-cxr/resnet18", make_spec("fgsm", eps=2 / 255))


def test_a_wish_is_for_one_page(app: AppTest) -> None:
    go(app, "second.py")
    app.session_state["explore again"] = {"main", search().key}
    app.run()
    assert jobs().find(search()) is None and app.button(key="second search")
    app.session_state["second again"] = {search().key}
    app.run()
    started = jobs().find(search())
    assert started is not None
    jobs().cancel(started, started.owner)
    assert app.session_state["explore again"] == {"main", search().key}
    assert started.wait(SECONDS).state.over


def test_two_pages_controls_stand_side_by_side() -> None:
    app = AppTest.from_string(BOTH, default_timeout=SECONDS).run()
    assert not app.exception, app.exception
    assert said(app) == ["left test 8 fgsm 2  0", "right test 8 fgsm 2  0"]
    app.selectbox(key="left.attack").set_value("bim").run()
    app.number_input(key="right.eps exact").set_value(0.25).run()
    app.session_state["left.drawing"] = f"drawn:{drawing()}"
    app.selectbox(key="left.mask").set_value("drawn").run()
    app.session_state["right.index"] = 3
    app.run()
    assert not app.exception, app.exception
    assert said(app) == [f"left test 8 bim 2 drawn:{drawing()} 0", "right test 3 fgsm 0.25  0"]
